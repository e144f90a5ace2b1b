"""Packs a binary as a Python wheel: https://packaging.python.org/specifications/binary-distribution-format/

It contains no Python. pip puts the binary among the scripts of the environment. maturin makes such
wheels too, but only of what it compiles itself.
"""

import base64
import hashlib
import re
import zipfile

from binary import ROOT, Refused, package

# a file is the same bytes on each day: the earliest time that a zip file can express
TIME = (1980, 1, 1, 0, 0, 0)
PRE_RELEASES = {"alpha": "a", "beta": "b", "rc": "rc"}


def python_version(version):
    """Converts a version of Cargo to one of Python: 1.2.3-rc.1 is 1.2.3rc1 there."""
    parts = re.fullmatch(r"(\d+\.\d+\.\d+)(?:-(alpha|beta|rc)\.(\d+))?", version)
    if parts is None:
        raise Refused(f"Python has no version like {version}; use X.Y.Z or X.Y.Z-rc.N (alpha, beta)")
    return parts[1] + (PRE_RELEASES[parts[2]] + parts[3] if parts[2] else "")


def write_wheel(binary, folder):
    """Writes the wheel, and returns its path."""
    fields = package()
    version = python_version(fields["version"])
    tags = binary.wheel_tags
    name = f"stepladder-{version}"
    info = f"{name}.dist-info"
    metadata = f"""\
Metadata-Version: 2.4
Name: stepladder
Version: {version}
Summary: Durable functions on one machine: the local server for Inngest apps, and its command line
License-Expression: {fields["license"]}
License-File: LICENSE
Project-URL: Source, {fields["repository"]}
Requires-Python: >=3.9
Description-Content-Type: text/markdown

{(ROOT / "release/about.md").read_text()}"""
    wheel = "Wheel-Version: 1.0\nGenerator: stepladder\nRoot-Is-Purelib: false\n"
    wheel += "".join(f"Tag: py3-none-{tag}\n" for tag in tags)
    files = {
        f"{name}.data/scripts/stepladder": binary.path.read_bytes(),
        f"{info}/METADATA": metadata.encode(),
        f"{info}/WHEEL": wheel.encode(),
        f"{info}/licenses/LICENSE": (ROOT / "LICENSE").read_bytes(),
    }
    record = "".join(f"{path},sha256={digest(data)},{len(data)}\n" for path, data in files.items())
    files[f"{info}/RECORD"] = (record + f"{info}/RECORD,,\n").encode()
    path = folder / f"{name}-py3-none-{'.'.join(tags)}.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for entry, data in files.items():
            described = zipfile.ZipInfo(entry, TIME)
            described.compress_type = zipfile.ZIP_DEFLATED
            described.create_system = 3  # Unix, whose modes follow
            described.external_attr = (0o100755 if "/scripts/" in entry else 0o100644) << 16
            archive.writestr(described, data)
    return path


def digest(data):
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
