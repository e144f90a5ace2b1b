"""Makes all packages of a release: release/build.py FOLDER BINARY...

FOLDER is created, and gets an archive, a wheel and an npm package of each binary, the npm package
`stepladder`, SHA256SUMS, and, if all platforms are given, the Homebrew formula. The version is that
in Cargo.toml. The packages of the same binaries are always the same bytes.
"""

import gzip
import hashlib
import io
import platform
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from binary import ROOT, Refused, package, read
from formula import TARGETS, write_formula
from npm import write_npm
from wheel import write_wheel


def write_archive(binary, folder):
    """Writes the archive of a binary, with licence and README."""
    name = f"stepladder-{package()['version']}-{binary.target}"
    files = {"stepladder": binary.path, "LICENSE": ROOT / "LICENSE", "README.md": ROOT / "README.md"}
    path = folder / f"{name}.tar.gz"
    # without the time and the name of the file, which gzip would store
    with path.open("wb") as raw, gzip.GzipFile("", "wb", 6, raw, mtime=0) as packed:
        with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive:
            for entry, source in files.items():
                data = source.read_bytes()
                described = tarfile.TarInfo(f"{name}/{entry}")
                described.size, described.mode = len(data), 0o755 if entry == "stepladder" else 0o644
                archive.addfile(described, io.BytesIO(data))
    return path


def check_version(binary):
    """Refuses a binary of this machine that says another version than Cargo.toml."""
    here = {"x86_64": "x64", "AMD64": "x64", "aarch64": "arm64", "arm64": "arm64"}.get(platform.machine())
    if (binary.os, binary.cpu) != (platform.system().lower(), here):
        return
    said = subprocess.run([binary.path, "--version"], capture_output=True, text=True).stdout.strip()
    if said != f"stepladder {package()['version']}":
        raise Refused(f"{binary.path} says `{said}`, not `stepladder {package()['version']}`")


def build(folder, paths):
    """Makes the packages, and returns their paths."""
    binaries = [read(path) for path in paths]
    targets = [binary.target for binary in binaries]
    platforms = {(binary.os, binary.cpu) for binary in binaries}
    if len(platforms) != len(binaries):
        raise Refused(f"two binaries are for one platform: {', '.join(targets)}")
    for binary in binaries:
        check_version(binary)
    folder.mkdir(parents=True)
    made = []
    for binary in binaries:
        made += [write_archive(binary, folder), write_wheel(binary, folder)]
    with tempfile.TemporaryDirectory() as work:
        made += write_npm(binaries, folder, Path(work))
    checksums = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in made}
    sums = folder / "SHA256SUMS"
    sums.write_text("".join(f"{checksum}  {name}\n" for name, checksum in sorted(checksums.items())))
    made.append(sums)
    if set(TARGETS) <= set(targets):
        made.append(write_formula(checksums, folder))
    return made


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    try:
        for path in build(Path(sys.argv[1]), sys.argv[2:]):
            print(f"{path.stat().st_size:>10} {path.name}")
    except Refused as refused:
        sys.exit(f"release/build.py: {refused}")
    except FileExistsError:
        sys.exit(f"release/build.py: {sys.argv[1]} exists; name a new folder")
