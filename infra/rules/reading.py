"""Templates as values, and the list of what is wrong with them."""

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
DEPLOYING, OPERATING = "docs/deploying-on-aws.md", "docs/operating.md"
problems = []


class Template(yaml.SafeLoader):
    """Reads !Ref, !Sub and the like as the maps that they stand for."""


def short_form(loader, suffix, node):
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)
    return {suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}": value}


Template.add_multi_constructor("!", short_form)


def rule(holds, otherwise):
    if not holds:
        problems.append(otherwise)


def text(path):
    return (ROOT / path).read_text()


def read(path):
    return yaml.load(text(path), Template)


def of_type(template, *kinds):
    return {k: v for k, v in template["Resources"].items() if v["Type"] in kinds}


def as_list(value):
    return value if isinstance(value, list) else [value]


def target(value):
    """The logical id that a !Ref or !GetAtt points to."""
    if isinstance(value, dict):
        return value.get("Ref") or (value.get("Fn::GetAtt") or "").split(".")[0]
    return None


def given(value, condition):
    """What a value is when the condition holds, and when it does not: twice the same without an !If."""
    if isinstance(value, dict) and "Fn::If" in value:
        name, then, otherwise = value["Fn::If"]
        return (then, otherwise) if name == condition else (value, value)
    return value, value


def choices(template, value):
    """Every number that a property may be: its parameter's allowed values, or the number itself."""
    if isinstance(value, dict) and "Ref" in value:
        parameter = template["Parameters"][value["Ref"]]
        return parameter.get("AllowedValues", [parameter.get("Default")])
    return [value]


def chapter(document, title):
    """The text under a heading, up to the next one."""
    found = re.search(rf"^#+ {re.escape(title)}\n(.*?)(?=^#+ |\Z)", text(document), re.M | re.S)
    return found[1] if found else ""
