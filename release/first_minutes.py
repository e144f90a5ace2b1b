"""Types the quick starts of docs/new-project.md on a new Debian, and prints what a person sees, as Markdown:
release/first_minutes.py PACKAGES [HEADING …]

Each quick start gets a system of its own, in a folder, with Debian's smallest set of packages and what the quick start asks
for. PACKAGES is the folder that release/build.py has filled: what users will install from the registries is installed from
there. npm, pip and cargo download everything else. The ports of the quick starts must be free. This needs root, mmdebstrap,
and Rust for the quick start for Rust.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from binary import package

ROOT = Path(__file__).resolve().parent.parent
SUITE = "trixie"  # has Node.js 20 and Python 3.13
LIMIT = 1800  # seconds that a command may take
LINES = 12  # of a command's output that are printed
HOME = "/home/ada"  # in the new system; printed as ~
VERSION = package()["version"]

# what each system has, beside Debian's smallest set, and how `stepladder` gets there
SYSTEMS = {
    "TypeScript": (["nodejs", "npm"], ["npm install --global stepladder-linux-x64-{v}.tgz stepladder-{v}.tgz"]),
    "Python": (["python3", "python3-venv", "pipx"], ["pipx install stepladder-{v}-*.whl"]),
    "Rust": (["gcc", "libc6-dev"], ["tar -xzf stepladder-{v}-x86_64-unknown-linux-gnu.tar.gz --strip-components 1 -C /usr/local/bin"]),
}
# variables that say how registries are reached
REGISTRIES = ("pip_", "npm_", "node_extra_ca", "ssl_", "cargo_http", "cargo_net", "http", "requests_ca")
PORTS = {"TypeScript": [3000, 8288], "Python": [8000, 8288], "Rust": [8288]}


def blocks(heading):
    page = (ROOT / "docs/new-project.md").read_text()
    section = re.search(rf"^### {heading}\n(.*?)(?=^##|\Z)", page, re.M | re.S)[1]
    found = re.findall(r"^```sh\n(.*?)^```$", section, re.M | re.S)
    return [[line for line in block.splitlines() if line.strip()] for block in found]


def listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def has_function():
    with urllib.request.urlopen("http://127.0.0.1:8288/v1/functions") as answer:
        return b"welcome" in answer.read()


class System:
    """A new Debian in a folder."""

    def __init__(self, folder, heading, packages):
        self.root, self.servers = folder / heading, []
        includes = ["ca-certificates", *SYSTEMS[heading][0]]
        mirror = next(Path("/etc/apt").rglob("*.sources"), None)
        address = re.search(r"^URIs: *(\S+)", mirror.read_text(), re.M)[1] if mirror else "http://deb.debian.org/debian"
        made = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(includes)}", SUITE, self.root, address]
        subprocess.run(made, check=True, stdin=subprocess.DEVNULL, stdout=sys.stderr)
        shutil.copytree(packages, self.root / f"{HOME[1:]}/packages")
        # how this machine reaches the registries
        for file in [Path("/etc/resolv.conf"), Path("/etc/ssl/certs/ca-certificates.crt"), Path("/etc/pip.conf"), Path.home() / ".npmrc", Path.home() / ".config/pip/pip.conf"]:
            if file.exists():
                to = self.root / (HOME[1:] / file.relative_to(Path.home()) if file.is_relative_to(Path.home()) else str(file)[1:])
                to.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file, to)
        self.path = f"{HOME}/.local/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
        if heading == "Rust":
            self.add_rust()

    def add_rust(self):
        """Adds this machine's toolchain, and a clone, because no crate has been published yet."""
        toolchain = subprocess.run(["rustc", "--print", "sysroot"], capture_output=True, text=True, check=True, cwd=ROOT)
        shutil.copytree(toolchain.stdout.strip(), self.root / "opt/rust", symlinks=True, ignore=shutil.ignore_patterns("doc"))
        self.path = f"/opt/rust/bin:{self.path}"
        subprocess.run(["git", "clone", "--quiet", "--depth", "1", f"file://{ROOT}", self.root / f"{HOME[1:]}/clone"], check=True)
        config = self.root / f"{HOME[1:]}/.cargo/config.toml"
        config.parent.mkdir()
        config.write_text(f'[patch.crates-io]\nstepladder = {{ path = "{HOME}/clone/orchestrator/app" }}\n')

    def start(self, command, folder, output):
        kept = {name: value for name, value in os.environ.items() if name.lower().startswith(REGISTRIES)}
        kept |= {"PIP_FIND_LINKS": "", "PIP_PROGRESS_BAR": "off", "PIP_ROOT_USER_ACTION": "ignore"}
        variables = {**kept, "HOME": HOME, "PATH": self.path, "LANG": "C.UTF-8", "NO_PROXY": "127.0.0.1,localhost"}
        script = f"mount -t proc proc /proc && mount -t devtmpfs dev /dev && cd {folder} && {command}"
        inside = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "chroot", self.root, "bash", "-c", script]
        return subprocess.Popen([str(part) for part in inside], env=variables, stdin=subprocess.DEVNULL, stdout=output,
                                stderr=subprocess.STDOUT, start_new_session=True)

    def run(self, command, folder):
        started = time.monotonic()
        with tempfile.TemporaryFile("w+") as output:
            process = self.start(command, folder, output)
            status = process.wait(LIMIT)
            output.seek(0)
            show(command, output.read(), f"{time.monotonic() - started:.1f} s")
        if status != 0:
            sys.exit(f"release/first_minutes.py: `{command}` exited with {status}")

    def serve(self, command, folder, port):
        started, log = time.monotonic(), tempfile.NamedTemporaryFile("w+")
        process = self.start(command, folder, log)
        self.servers.append(process)
        while not listens(port):
            if process.poll() is not None or time.monotonic() - started > LIMIT:
                sys.exit(f"release/first_minutes.py: `{command}` does not listen on {port}:\n{Path(log.name).read_text()}")
            time.sleep(0.05)
        listening = time.monotonic() - started
        time.sleep(1)  # it says more once it listens
        show(command, Path(log.name).read_text(), f"listens after {listening:.1f} s, and keeps running")

    def end(self):
        for process in self.servers:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()


def show(command, output, note):
    output = output.replace(HOME, "~")
    # npm warns about the dependencies of dependencies, in hundreds of lines
    lines = [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line.rstrip()) for line in output.replace("\r", "\n").splitlines()
             if line.strip() and not line.startswith("npm WARN")]
    if len(lines) > LINES:
        lines = [*lines[: LINES // 2], f"… {len(lines) - LINES} more lines", *lines[-LINES // 2 :]]
    print("\n".join([f"$ {command}", *lines, f"[{note}]"]), flush=True)


def first_minutes(heading, system):
    started = time.monotonic()
    print(f"\n### {heading} on a new system\n\n```text")
    for command in SYSTEMS[heading][1]:
        system.run(command.format(v=VERSION), f"{HOME}/packages")
    *serving, last = blocks(heading)
    for commands, port in zip(serving, PORTS[heading]):
        print("```\n\n```text" if port != PORTS[heading][0] else "", end="\n" if port != PORTS[heading][0] else "")
        folder = f"{HOME}/shop" if port != PORTS[heading][0] else HOME
        for number, command in enumerate(commands):
            if command.startswith("cd "):
                folder = f"{folder}/{command[3:]}"
                print(f"$ {command}")
            elif number == len(commands) - 1:
                system.serve(command, folder, port)
            else:
                system.run(command, folder)
    print("```\n\n```text")
    # the server asks the app for its functions every few seconds
    until = time.monotonic() + 60
    while not has_function() and time.monotonic() < until:
        time.sleep(0.1)
    for command in last:
        system.run(command, f"{HOME}/shop")
    print(f"```\n\nFrom the first command to the last: {time.monotonic() - started:.0f} s.")


if __name__ == "__main__":
    if len(sys.argv) < 2 or not set(sys.argv[2:]) <= set(SYSTEMS):
        sys.exit(__doc__)
    for heading in sys.argv[2:] or SYSTEMS:
        with tempfile.TemporaryDirectory(prefix="stepladder-first-") as folder:
            system = System(Path(folder), heading, Path(sys.argv[1]).resolve())
            try:
                first_minutes(heading, system)
            finally:
                system.end()
