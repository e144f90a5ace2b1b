"""Types the commands of "Deploy to AWS" in docs/new-project.md, word for word, into a shell: quick_start_aws.py FOLDER PROGRAM

FOLDER is empty, but for settings of cargo; PROGRAM is `stepladder`. The environment contains the emulator's address and
credentials. The project is compiled, but for this machine and without optimisation, because the emulator executes it here.
Prints what a person would see, and the seconds.
"""

import os
import re
import shutil
import sys
import time
from pathlib import Path

import runbook_shell
from quick_start import LIMIT, blocks
from runbook_shell import AWS, FOR_THE_EMULATOR, Shell, set_concurrency_again, until

# `cargo lambda build` of this machine's cargo
CARGO = """#!/usr/bin/env bash
set -euo pipefail
export HOME={home}
case "$1 ${{2:-}}" in
    "lambda build")
        {cargo} build --features lambda
        built=$(dirname "$PWD")/target/lambda/stepladder
        mkdir -p "$built" && cp "$CARGO_TARGET_DIR/debug/stepladder" "$built/bootstrap"
        strip "$built/bootstrap" || true ;;
    "metadata "*) CARGO_TARGET_DIR=$(dirname "$PWD")/target exec {cargo} "$@" ;;
    *) exec {cargo} "$@" ;;
esac
"""

STEPLADDER = """#!/bin/sh
exec {program} "$@"
"""


def tools(folder, program):
    made = folder / ".tools"
    made.mkdir()
    cargo, home = shutil.which("cargo"), Path.home()
    texts = {"cargo": CARGO, "cargo-lambda": CARGO, "aws": AWS, "stepladder": STEPLADDER}
    for name, text in texts.items():
        (made / name).write_text(text.format(cargo=cargo, home=home, program=program, python=sys.executable))
        (made / name).chmod(0o755)
    return made


def main(folder, program):
    folder, started = Path(folder), time.monotonic()
    runbook_shell.LIMIT = LIMIT
    (commands,) = blocks("Deploy to AWS")
    made = tools(folder, program)
    # otherwise SAM would store state in the user's home folder
    os.environ["HOME"] = str(folder)
    shell = Shell(folder, made)
    for command in commands[:-1]:
        shell.type(command, FOR_THE_EMULATOR)
        if command.startswith("sam deploy"):
            set_concurrency_again()
    listed = commands[-1]
    until("the run", lambda: re.search(r"\w{26} +welcome", shell.type(listed)[0]))
    run = re.search(r"(\w{26}) +welcome", shell.type(listed)[0])[1]
    details = listed.replace("runs", f"run {run}")
    until("the run to greet and to sleep", lambda: re.search(r"greet .*Completed.*three-days", shell.type(details)[0], re.S))
    print(f"\n--- done after {time.monotonic() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
