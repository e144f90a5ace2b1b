"""Reads templates, and collects the violations that the rules find."""

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
DEPLOYING, OPERATING, RECIPES = "docs/deploying-on-aws.md", "docs/operating.md", "docs/recipes.md"
problems = []


class Template(yaml.SafeLoader):
    """Parses short forms such as !Ref and !Sub as the maps that they stand for."""


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
    """Returns the logical id that a !Ref or !GetAtt refers to."""
    if isinstance(value, dict):
        return value.get("Ref") or (value.get("Fn::GetAtt") or "").split(".")[0]
    return None


def invoked(value):
    """Returns the logical id of the function that a trigger invokes: by the alias if there are
    releases, or else directly. None if the trigger does not follow releases."""
    alias, function = by_condition(value, "HasRelease")
    alias, function = target(alias), target(function)
    return function if alias != function and alias == str(function).replace("Function", "Alias") else None


def roles_of_functions(template):
    """Returns the roles of functions, which handle runs."""
    used = {target(function["Properties"]["Role"]) for function in of_type(template, "AWS::Serverless::Function").values()}
    return {name: role for name, role in of_type(template, "AWS::IAM::Role").items() if name in used}


def by_condition(value, condition):
    """Returns two values: what `value` is if the condition is true, and what it is otherwise."""
    if isinstance(value, dict) and "Fn::If" in value:
        name, then, otherwise = value["Fn::If"]
        return (then, otherwise) if name == condition else (value, value)
    return value, value


def choices(template, value):
    """Returns all values that a property can have."""
    if isinstance(value, dict) and "Ref" in value:
        parameter = template["Parameters"][value["Ref"]]
        return parameter.get("AllowedValues", [parameter.get("Default")])
    return [value]


def chapter(document, title):
    """Returns the text below a heading, up to the next heading."""
    found = re.search(rf"^#+ {re.escape(title)}\n(.*?)(?=^#+ |\Z)", text(document), re.M | re.S)
    return found[1] if found else ""
