"""Fills the Homebrew formula with the version and the checksums of the archives."""

from binary import ROOT, Refused, package

TARGETS = ["aarch64-apple-darwin", "x86_64-apple-darwin", "aarch64-unknown-linux-gnu", "x86_64-unknown-linux-gnu"]


def write_formula(checksums, folder):
    """Writes stepladder.rb, from the checksum of each archive by its name."""
    fields = package()
    text = (ROOT / "release/stepladder.rb.in").read_text()
    text = text.replace("@VERSION@", fields["version"]).replace("@REPOSITORY@", fields["repository"])
    for target in TARGETS:
        archive = f"stepladder-{fields['version']}-{target}.tar.gz"
        if archive not in checksums:
            raise Refused(f"the formula needs {archive}")
        text = text.replace(f"@{target}@", checksums[archive])
    path = folder / "stepladder.rb"
    path.write_text(text)
    return path
