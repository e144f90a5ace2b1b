"""What a built binary needs of the machine that runs it, read from the file itself.

ELF is read with `readelf` (binutils), for every architecture; the header of Mach-O is read here,
because Linux has no program that does.
"""

import re
import struct
import subprocess
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# the libraries that a manylinux wheel may expect of a machine, of those that a Rust binary links
EXPECTED_LIBRARIES = re.compile(r"(libc|libm|libdl|librt|libpthread|libgcc_s|ld-linux-[a-z0-9-]+)\.so\.\d+")
# the oldest glibc that manylinux tags of today and Rust support
OLDEST_GLIBC = (2, 17)
# marks in the list of glibc's versions that are no version, with the first glibc that has them
GLIBC_MARKS = {"GLIBC_ABI_DT_RELR": (2, 36)}
ELF_MACHINES = {"Advanced Micro Devices X86-64": "x64", "AArch64": "arm64"}
MACHO_MACHINES = {0x01000007: "x64", 0x0100000C: "arm64"}
RUST_CPUS = {"x64": "x86_64", "arm64": "aarch64"}
LC_VERSION_MIN_MACOSX, LC_BUILD_VERSION, MACOS = 0x24, 0x32, 1


class Refused(Exception):
    """The binary cannot be packaged, with the reason."""


@dataclass(frozen=True)
class Binary:
    """A binary, its platform in Node's words, and the oldest system that runs it."""

    path: Path
    os: str  # linux or darwin
    cpu: str  # x64 or arm64
    oldest: tuple[int, int] | None  # of glibc or macOS; None is a static binary

    @property
    def target(self):
        """The target of the Rust compiler."""
        cpu = RUST_CPUS[self.cpu]
        if self.os == "darwin":
            return f"{cpu}-apple-darwin"
        return f"{cpu}-unknown-linux-{'gnu' if self.oldest else 'musl'}"

    @property
    def wheel_tags(self):
        """The platform tags of a wheel: https://packaging.python.org/specifications/platform-compatibility-tags/"""
        if self.os == "darwin":
            major, minor = self.oldest
            if major > 10:  # pip knows only whole versions from 11 on
                major, minor = (major + 1, 0) if minor else (major, 0)
            return [f"macosx_{major}_{minor}_{'arm64' if self.cpu == 'arm64' else 'x86_64'}"]
        cpu = RUST_CPUS[self.cpu]
        if self.oldest is None:
            return [f"manylinux_2_17_{cpu}", f"musllinux_1_1_{cpu}"]
        major, minor = max(self.oldest, OLDEST_GLIBC)
        return [f"manylinux_{major}_{minor}_{cpu}"]


def read(path):
    """Reads a binary. Refuses one that would not run where its package would say so."""
    path = Path(path)
    with path.open("rb") as file:
        start = file.read(4)
    if start == b"\x7fELF":
        return read_elf(path)
    if start == struct.pack("<I", 0xFEEDFACF):
        return read_macho(path)
    raise Refused(f"{path} is neither an ELF nor a 64-bit Mach-O file")


def read_elf(path):
    shown = subprocess.run(
        ["readelf", "--wide", "--file-header", "--program-headers", "--dynamic", "--version-info", path],
        check=True, capture_output=True, text=True, env={"LC_ALL": "C", "PATH": "/usr/bin:/bin:/usr/local/bin"},
    ).stdout
    machine = re.search(r"Machine:\s+(.+)", shown)[1].strip()
    if machine not in ELF_MACHINES:
        raise Refused(f"{path} is for {machine}; packages exist for {' and '.join(ELF_MACHINES)}")
    interpreter = re.search(r"program interpreter: ([^\]]+)\]", shown)
    if interpreter is None:
        return Binary(path, "linux", ELF_MACHINES[machine], None)
    if "ld-linux" not in interpreter[1]:
        raise Refused(f"{path} needs {interpreter[1]}; link it statically, or with glibc")
    for library in re.findall(r"\(NEEDED\)\s+Shared library: \[([^\]]+)\]", shown):
        if not EXPECTED_LIBRARIES.fullmatch(library):
            raise Refused(f"{path} needs {library}, which not every machine has; link it statically")
    needs = [glibc_version(path, name) for name in re.findall(r"Name: (GLIBC_\S+)\s+Flags: none", shown)]
    return Binary(path, "linux", ELF_MACHINES[machine], max(needs, default=OLDEST_GLIBC))


def glibc_version(path, name):
    if name in GLIBC_MARKS:
        return GLIBC_MARKS[name]
    version = re.fullmatch(r"GLIBC_(\d+)\.(\d+)(\.\d+)?", name)
    if version is None:
        raise Refused(f"{path} needs {name}, which no release of glibc promises")
    return int(version[1]), int(version[2])


def read_macho(path):
    data = path.read_bytes()
    _, machine, _, _, commands, _, _, _ = struct.unpack_from("<8I", data)
    if machine not in MACHO_MACHINES:
        raise Refused(f"{path} is for the machine {machine:#x}; packages exist for x86-64 and arm64")
    at = 32
    for _ in range(commands):
        command, length = struct.unpack_from("<2I", data, at)
        if command == LC_BUILD_VERSION:
            platform, oldest = struct.unpack_from("<2I", data, at + 8)
            if platform != MACOS:
                raise Refused(f"{path} is not for macOS, but for Apple's platform {platform}")
            return Binary(path, "darwin", MACHO_MACHINES[machine], (oldest >> 16, oldest >> 8 & 0xFF))
        if command == LC_VERSION_MIN_MACOSX:
            (oldest,) = struct.unpack_from("<I", data, at + 8)
            return Binary(path, "darwin", MACHO_MACHINES[machine], (oldest >> 16, oldest >> 8 & 0xFF))
        at += length
    raise Refused(f"{path} does not say which macOS it needs")


def package():
    """The fields that all crates share, from Cargo.toml."""
    with (ROOT / "Cargo.toml").open("rb") as file:
        return tomllib.load(file)["workspace"]["package"]
