"""The rules for workers.toml: the templates follow it, and a list with mistakes is refused."""

import importlib.machinery
import importlib.util
import shutil
import tempfile
from pathlib import Path

from .reading import ROOT, rule

LISTED = """
[reports]
functions = ["content-brief-generator", "audit"]
memory = 2048
timeout = 900
policies = ["arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess"]

[questions-ai]
functions = ["generate-queries"]
timeout = 120
concurrency = 20
"""
# lists with mistakes, and a part of each message
REFUSED = [
    ("[reports]\nfunctions = 1", "`functions` must be a list"),
    ("[reports]", "`functions` must be a list"),
    ("[reports]\nfunctions = ['a']\nmemroy = 1", "there is no setting `memroy`"),
    ("[reports]\nfunctions = ['a']\ntimeout = 60", "`timeout` must be a whole number from 90 to 900"),
    ("[reports]\nfunctions = ['a']\nmemory = true", "`memory` must be a whole number"),
    ("[reports]\nfunctions = ['a']\n[more]\nfunctions = ['a']", "the function `a` is listed twice, also in [reports]"),
    ("[reports]\nfunctions = ['$a']", "the function id `$a` must have"),
    ("[Reports]\nfunctions = ['a']", "at most 12 lower-case letters"),
    ("[a-very-long-name]\nfunctions = ['a']", "at most 12 lower-case letters"),
    ("reports = 1", "a worker is a table"),
    ("[reports", "workers.toml: "),
    ("[reports]\nfunctions = ['a']\npolicies = ['S3']", "`S3` is not the ARN of a policy"),
    ("[reports]\nfunctions = [" + ",".join(f"'function-{n}'" for n in range(40)) + "]", "of the 4,096 bytes"),
]


def command():
    loader = importlib.machinery.SourceFileLoader("workers_command", str(ROOT / "infra/workers"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("workers_command", loader))
    loader.exec_module(module)
    return module


def says(command, *arguments):
    try:
        command.main(*arguments)
    except SystemExit as stopped:
        return str(stopped)
    return ""


TEMPLATES = ("template.yaml", "infra/watch.yaml")


def write(folder, listed):
    """Writes a list of workers into the copies of the templates in a folder. Returns what the
    command says, and the templates."""
    (folder / "workers.toml").write_text(listed)
    problem = says(command(), str(folder))
    return problem, [(folder / name).read_text() for name in TEMPLATES]


def check_written():
    rule(says(command(), "--check") == "", f"{says(command(), '--check')}")
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        (folder / "infra").mkdir()
        for name in TEMPLATES:
            shutil.copy(ROOT / name, folder / name)
        before = write(folder, "")[1]
        for listed, sentence in REFUSED:
            problem, after = write(folder, listed)
            rule(sentence in problem, f"infra/workers: of {listed!r} it says `{problem}`, not `{sentence}`")
            rule(after == before, f"infra/workers: changes files for {listed!r}")
        written = write(folder, LISTED)[1]
        (folder / "workers.toml").write_text("")
        rule("does not follow workers.toml" in says(command(), "--check", str(folder)), "infra/workers: --check sees no change")
        rule(write(folder, "") == ("", before), "infra/workers: a list that was emptied leaves something behind")
        rule(written != before, "infra/workers: writes nothing")
        many = "".join(f"[w{n}]\nfunctions = ['f{n}']\n" for n in range(12))
        rule("redrivePermission: allowAll" in write(folder, many)[1][0], "infra/workers: names more than ten queues at their dead-letter queue")
