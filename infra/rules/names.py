"""Checks that names and descriptions do not exceed the limits of AWS, however long the names of the
stack and of a function are."""

import re

from .reading import rule

# the maximum length of each name and description
LIMITS = {
    ("AWS::Serverless::Function", "FunctionName"): 64,
    ("AWS::Serverless::Function", "Description"): 256,
    ("AWS::Lambda::Version", "Description"): 256,
    ("AWS::CodeDeploy::Application", "ApplicationName"): 100,
    ("AWS::SQS::Queue", "QueueName"): 80,
    ("AWS::Logs::LogGroup", "LogGroupName"): 512,
    ("AWS::ApiGatewayV2::Api", "Name"): 128,
    ("AWS::ApiGatewayV2::Api", "Description"): 1024,
    ("AWS::SecretsManager::Secret", "Description"): 2048,
    ("AWS::CloudWatch::Alarm", "AlarmName"): 255,
    ("AWS::CloudWatch::Alarm", "AlarmDescription"): 1024,
    ("AWS::CloudWatch::Dashboard", "DashboardName"): 255,
    ("AWS::Logs::QueryDefinition", "Name"): 255,
}


def max_length(parameters, bound, value):
    """Returns the maximum length of a name."""
    def length(name):
        if name in ("AWS::StackName", "Watched"):
            return bound
        parameter = parameters.get(name, {})
        pattern = re.search(r"\{0,(\d+)\}$", parameter.get("AllowedPattern", ""))
        return parameter.get("MaxLength") or (int(pattern[1]) if pattern else 4096)

    if isinstance(value, dict):
        if "Ref" in value:
            return length(value["Ref"])
        value = value["Fn::Sub"]
    names = re.findall(r"\$\{([^}]+)\}", value)
    return len(re.sub(r"\$\{[^}]+\}", "", value)) + sum(map(length, names))


def check_lengths(template, names):
    bound = names["Parameters"]["Stack"].get("MaxLength", 128)
    sentence = names["Parameters"]["Stack"].get("ConstraintDescription", "")
    rule(str(bound) in sentence, "infra/names.yaml: the refusal does not say how long a name may be")
    for name, resource in template["Resources"].items():
        for (kind, attribute), limit in LIMITS.items():
            value = resource.get("Properties", {}).get(attribute)
            if resource["Type"] == kind and value is not None:
                most = max_length(template["Parameters"], bound, value)
                rule(most <= limit, f"{name}: {attribute} can have {most} characters, and AWS allows {limit}")
