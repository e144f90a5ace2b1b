"""Installs the packages for this machine as users do, and tries them: release/try.py FOLDER

The wheel is installed into a new virtual environment, the npm packages into a new folder, both
without a network. From each, the local server is started, asked for its health, sent the event
test/hello.world, and stopped. This prints what the commands print.
"""

import os
import platform
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from binary import RUST_CPUS, package

LIMIT = 60  # seconds that a command or the start of the server may take
CPU = "arm64" if platform.machine() in ("arm64", "aarch64") else "x64"
SYSTEM = platform.system().lower()


def run(*command, **options):
    shown = subprocess.run(
        [str(part) for part in command], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=5 * LIMIT, **options
    )
    if shown.returncode != 0:
        sys.exit(f"release/try.py: {' '.join(map(str, command))} exited with {shown.returncode}\n{shown.stdout}{shown.stderr}")
    return shown.stdout


def the_one(folder, pattern):
    found = list(folder.glob(pattern))
    if len(found) != 1:
        sys.exit(f"release/try.py: {len(found)} files in {folder} match {pattern}, not one")
    return found[0].resolve()


def install_wheel(packages, folder):
    cpu = "arm64" if SYSTEM == "darwin" and CPU == "arm64" else RUST_CPUS[CPU]
    wheel = the_one(packages, f"stepladder-*-{'macosx' if SYSTEM == 'darwin' else 'manylinux'}_*_{cpu}*.whl")
    run(sys.executable, "-m", "venv", folder)
    run(folder / "bin/pip", "install", "--quiet", "--no-index", "--no-deps", wheel)
    run(folder / "bin/pip", "check")
    return folder / "bin/stepladder"


def install_npm(packages, folder):
    version = package()["version"]
    folder.mkdir()
    (folder / "package.json").write_text('{"private": true}')
    run(
        "npm", "install", "--offline", "--no-audit", "--no-fund",
        the_one(packages, f"stepladder-{SYSTEM}-{CPU}-{version}.tgz"), the_one(packages, f"stepladder-{version}.tgz"),
        cwd=folder,
    )
    return folder / "node_modules/.bin/stepladder"


def try_program(program, folder):
    folder.mkdir()
    # only the default settings, not those of the person who tries the packages
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("STEPLADDER_", "AWS_"))}
    clean["NO_PROXY"] = "127.0.0.1"
    said = run(program, "--version", env=clean).strip()
    if said != f"stepladder {package()['version']}":
        sys.exit(f"release/try.py: {program} says `{said}`")
    print(said)
    with (folder / "log").open("w+") as log:
        server = subprocess.Popen(
            [program, "dev", "--port", "0", "--no-discovery"],
            cwd=folder, env=clean, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
        )
        try:
            clean["STEPLADDER_URL"] = address(server, folder / "log")
            print(run(program, "health", env=clean), end="")
            event = ["send", "test/hello.world", '{"name":"Ada"}']
            # the binary of functions/ has a function for it; that of a release accepts and stores it
            has_function = event[1] in run(program, "functions", env=clean)
            print(run(program, *event, *["--wait"] * has_function, env=clean), end="")
            # to the process that was started alone, as `kill` and Docker do
            server.send_signal(signal.SIGTERM)
            code = server.wait(LIMIT)
            if code != 0:
                sys.exit(f"release/try.py: the server ended with {code}\n{(folder / 'log').read_text()}")
            print("stopped")
        finally:
            # the program and its launcher, if one is left after a failure
            try:
                os.killpg(server.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass


def address(server, log):
    until = time.monotonic() + LIMIT
    while time.monotonic() < until:
        found = re.search(r"ready: http://localhost:(\d+)", log.read_text())
        if found:
            return f"http://127.0.0.1:{found[1]}"
        if server.poll() is not None:
            break
        time.sleep(0.05)
    sys.exit(f"release/try.py: the server did not start\n{log.read_text()}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    with tempfile.TemporaryDirectory(prefix="stepladder-try-") as work:
        work = Path(work)
        for kind, install in [("wheel", install_wheel), ("npm", install_npm)]:
            print(f"== {kind}")
            try_program(install(Path(sys.argv[1]), work / kind), work / f"{kind}-server")
