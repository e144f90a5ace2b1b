"""Packs binaries for npm: a package for each platform, and `stepladder`, which starts the right one.

npm installs of the optional dependencies only the package whose `os`, `cpu` and `libc` fit.
"""

import json
import shutil
import subprocess

from binary import ROOT, package


def write_npm(binaries, folder, work):
    """Writes the packages, those of platforms first, and returns their paths."""
    fields = package()
    shared = {
        "version": fields["version"],
        "description": "Durable functions on one machine: the local server for Inngest apps, and its command line",
        "license": fields["license"],
        "repository": {"type": "git", "url": f"git+{fields['repository']}.git"},
    }
    packed, platforms = [], {}
    for binary in binaries:
        name = f"@stepladder/{binary.os}-{binary.cpu}"
        manifest = {
            "name": name,
            **shared,
            "description": f"The program of the package `stepladder` for {binary.os} on {binary.cpu}",
            "os": [binary.os],
            "cpu": [binary.cpu],
            # it is started by its path, also from a package manager that keeps packages in archives
            "preferUnplugged": True,
        }
        if binary.os == "linux" and binary.oldest:
            manifest["libc"] = ["glibc"]
        source = work / f"{binary.os}-{binary.cpu}"
        (source / "bin").mkdir(parents=True)
        shutil.copyfile(binary.path, source / "bin/stepladder")
        (source / "bin/stepladder").chmod(0o755)
        packed.append(pack(source, manifest, folder))
        platforms[name] = fields["version"]
    source = work / "stepladder"
    (source / "bin").mkdir(parents=True)
    shutil.copyfile(ROOT / "release/launcher.js", source / "bin/stepladder.js")
    (source / "bin/stepladder.js").chmod(0o755)
    manifest = {
        "name": "stepladder",
        **shared,
        "bin": {"stepladder": "bin/stepladder.js"},
        "engines": {"node": ">=18"},
        "optionalDependencies": platforms,
    }
    return [*packed, pack(source, manifest, folder)]


def pack(source, manifest, folder):
    (source / "package.json").write_text(json.dumps(manifest, indent=2) + "\n")
    shutil.copyfile(ROOT / "LICENSE", source / "LICENSE")
    shutil.copyfile(ROOT / "release/about.md", source / "README.md")
    packed = subprocess.run(
        ["npm", "pack", "--json", "--offline", "--pack-destination", folder.resolve()],
        cwd=source, check=True, capture_output=True, text=True,
    ).stdout
    return folder / json.loads(packed)[0]["filename"]
