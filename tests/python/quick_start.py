"""Types the commands of a quick start in docs/new-project.md, word for word but for the ports: quick_start.py FOLDER HEADING

FOLDER is empty, but for settings of cargo. Each block of commands gets a shell of its own. The last command of a block keeps running, except in the last
block. The variable PROGRAM is the program `stepladder`, and PACKAGES a folder of installed npm packages. Both `npm install` and
`pip install` install nothing here: they check that the versions that the project asks for are those of this machine.
"""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# seconds; a project in Rust compiles what it depends on
LIMIT = 1200

NPM = """#!{own}
import json, os, pathlib, sys
packages = pathlib.Path({packages!r})
if sys.argv[1:] != ["install"]:
    os.execv({npm!r}, ["npm", *sys.argv[1:]])
asked = json.loads(pathlib.Path("package.json").read_text())
for name, version in {{**asked["dependencies"], **asked["devDependencies"]}}.items():
    found = json.loads((packages / name / "package.json").read_text())["version"]
    if found != version:
        sys.exit(f"{{name}} {{version}} is asked for, and this machine has {{found}}")
pathlib.Path("node_modules").symlink_to(packages)
"""

# a real environment, which also has the packages and programs of the tests' own
PYTHON = """#!{own}
import os, pathlib, subprocess, sys
own, programs = {own!r}, pathlib.Path({own!r}).parent
if sys.argv[1:3] != ["-m", "venv"]:
    os.execv(own, ["python3", *sys.argv[1:]])
subprocess.run([own, "-m", "venv", "--without-pip", *sys.argv[3:]], check=True)
folder = pathlib.Path(sys.argv[3])
found = subprocess.run([own, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], capture_output=True, text=True)
site = next(folder.glob("lib/python*/site-packages"))
(site / "of-this-machine.pth").write_text(found.stdout)
for program in ("uvicorn", "pip"):
    text = "#!/bin/sh\\nexec " + str(folder.resolve() / "bin/python") + f" -m {{program}} \\"$@\\"\\n"
    (folder / "bin" / program).write_text(text)
    (folder / "bin" / program).chmod(0o755)
"""

STEPLADDER = """#!/usr/bin/env bash
if [ "$1" = dev ]; then shift; set -- dev --port {port} --no-discovery -u http://127.0.0.1:{app}/api/inngest "$@"; fi
exec {program} "$@"
"""


def blocks(heading):
    page = (ROOT / "docs/new-project.md").read_text()
    section = re.search(rf"^### {re.escape(heading)}\n(.*?)(?=^##|\Z)", page, re.M | re.S)
    found = re.findall(r"^```sh\n(.*?)^```$", section[1], re.M | re.S) if section else []
    if not found:
        sys.exit(f"the page has no commands under {heading}")
    return [[line for line in block.splitlines() if line.strip()] for block in found]


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def program_file(folder, name, text):
    (folder / name).write_text(text)
    (folder / name).chmod(0o755)


class Terminals:
    """The shells, which are ended together."""

    def __init__(self, folder, port, app):
        self.folder, self.port, self.app, self.servers = folder, port, app, []
        tools = folder / ".tools"
        tools.mkdir()
        npm = subprocess.run(["bash", "-c", "command -v npm"], capture_output=True, text=True).stdout.strip()
        program_file(tools, "npm", NPM.format(own=sys.executable, packages=os.environ["PACKAGES"], npm=npm))
        program_file(tools, "python3", PYTHON.format(own=sys.executable))
        program_file(tools, "stepladder", STEPLADDER.format(port=port, app=app, program=os.environ["PROGRAM"]))
        path = f"{tools}{os.pathsep}{os.environ['PATH']}"
        self.environment = {**os.environ, "PATH": path, "PORT": str(app), "STEPLADDER_URL": f"http://127.0.0.1:{port}",
                            "INNGEST_DEV": f"http://127.0.0.1:{port}", "PIP_NO_INDEX": "1", "NO_PROXY": "127.0.0.1,localhost"}

    def typed(self, command):
        """Returns the command with the ports of this test."""
        if command == "cargo run":
            command = f"cargo run -- --port {self.port} --no-discovery"
        return command.replace("8288", str(self.port)).replace("8000", str(self.app))

    def start(self, commands, folder):
        script = "\n".join(["set -eux", *map(self.typed, commands)])
        log = open(self.folder / f".log{len(self.servers)}", "w+")
        process = subprocess.Popen(["bash", "-c", script], cwd=folder, env=self.environment, stdin=subprocess.DEVNULL, stdout=log,
                                   stderr=subprocess.STDOUT, start_new_session=True)
        return process, log

    def serve(self, commands, folder, port):
        process, log = self.start(commands, folder)
        self.servers.append(process)
        end = time.monotonic() + LIMIT
        while not listens(port):
            if process.poll() is not None or time.monotonic() > end:
                log.seek(0)
                sys.exit(f"`{commands[-1]}` does not listen on port {port}:\n{log.read()}")
            time.sleep(0.05)

    def run(self, commands, folder):
        process, log = self.start(commands, folder)
        status = process.wait(LIMIT)
        log.seek(0)
        shown = log.read()
        if status != 0:
            sys.exit(f"a command ended with {status}:\n{shown}")
        return shown

    def end(self):
        for process in self.servers:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()


def main(folder, heading):
    folder, started = Path(folder), time.monotonic()
    *serving, last = blocks(heading)
    port, app = free_port(), free_port()
    terminals = Terminals(folder, port, app)
    try:
        for number, commands in enumerate(serving):
            is_server = number == len(serving) - 1
            terminals.serve(commands, folder if number == 0 else folder / "shop", port if is_server else app)
        # the server asks an app for its functions when it starts, and every few seconds
        end = time.monotonic() + LIMIT
        while "welcome" not in subprocess.run([folder / ".tools/stepladder", "functions"], env=terminals.environment,
                                              capture_output=True, text=True).stdout:
            if time.monotonic() > end:
                sys.exit("the server does not know the function `welcome`")
            time.sleep(0.1)
        shown = terminals.run(last, folder / "shop")
        if "welcome" not in shown or not re.search("Running|Scheduled", shown):
            sys.exit(f"the last command does not show the run:\n{shown}")
        print(json.dumps({"url": f"http://127.0.0.1:{port}", "seconds": round(time.monotonic() - started, 1)}), flush=True)
        # the test looks at the run, and closes the input when it is done
        sys.stdin.read()
    finally:
        terminals.end()


if __name__ == "__main__":
    main(*sys.argv[1:])
