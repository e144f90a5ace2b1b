"""What the documents say of the templates, and what no file may hold."""

import re

from .reading import ROOT, chapter, rule, text


def parameters(template):
    """The runbook's table of parameters is the template's."""
    told = chapter("infra/README.md", "Parameters")
    rows = "\n".join(line.split("|")[1] for line in told.splitlines() if line.startswith("|"))
    named = set(re.findall(r"`([A-Z]\w+)`", rows))
    for name in template["Parameters"]:
        covered = name in named or name in told or (name.startswith("Dedicated") and "DedicatedFunctionId" in named)
        rule(covered, f"infra/README.md: says nothing of the parameter {name}")
    for name in named:
        rule(name in template["Parameters"], f"infra/README.md: there is no parameter {name}")
    groups = template["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
    grouped = [name for group in groups for name in group["Parameters"]]
    rule(sorted(grouped) == sorted(template["Parameters"]), "template.yaml: a parameter is in no group, or in two")


def commands():
    """A value on the command line is gone with the next deployment, for that takes samconfig.toml's."""
    for document in ("README.md", "infra/README.md"):
        for block in re.findall(r"^ *```sh\n(.*?)^ *```$", text(document), re.M | re.S):
            rule("--parameter-overrides" not in block, f"{document}: a command gives parameters that the next one takes back")


def literals():
    files = [ROOT / "template.yaml", ROOT / "samconfig.toml", *(ROOT / "infra").rglob("*")]
    for path in (f for f in files if f.is_file() and "__pycache__" not in f.parts):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            where = f"{path.relative_to(ROOT)}:{number}"
            rule(not re.search(r"(?<![\d.])\d{12}(?!\d)", line), f"{where}: looks like an account's number")
            rule(not re.search(r"\b(AKIA|ASIA)[A-Z0-9]{16}\b", line), f"{where}: looks like an access key")


def build():
    manifest = text("Cargo.toml").split("[profile.release]", 1)[-1].split("\n[", 1)[0]
    rule(re.search(r'^panic = "unwind"', manifest, re.M), "Cargo.toml: cargo lambda will choose panic = abort")
    options = text("functions/CargoLambda.toml")
    rule("no_default_features = true" in options and '"lambda"' in options, "functions/CargoLambda.toml: builds other features")
