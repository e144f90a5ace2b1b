"""Adds the recipes of docs/recipes.md to a copy of the template, and checks the result."""

import re

from .reading import RECIPES, ROOT, rule, target, text


def add(folder):
    """Writes the template with all recipes into a folder. Returns its path."""
    blocks = re.findall(r"^```yaml\n(.*?)^```$", text(RECIPES), re.M | re.S)
    (folder / "infra").symlink_to(ROOT / "infra")
    path = folder / "template.yaml"
    path.write_text(text("template.yaml").replace("\nOutputs:\n", "\n" + "\n".join(blocks) + "\nOutputs:\n"))
    return path


def check_recipes(template, stack):
    added = {name: resource for name, resource in template["Resources"].items() if name not in stack["Resources"]}
    rule(len(added) > 5, f"{RECIPES}: has only {len(added)} resources")
    routes = [r["Properties"] for r in template["Resources"].values() if r["Type"] == "AWS::ApiGatewayV2::Route"]
    keys = [route["RouteKey"] for route in routes]
    rule(len(set(keys)) == len(keys), f"{RECIPES}: two routes have the same key")
    for name, resource in added.items():
        properties = resource["Properties"]
        if resource["Type"] == "AWS::ApiGatewayV2::Route":
            kind = properties.get("AuthorizationType")
            rule(kind == "AWS_IAM" or target(properties.get("AuthorizerId")) == "JwtAuthorizer" and properties.get("AuthorizationScopes"),
                 f"{RECIPES}: everyone may request {name}")
