"""The rules for the permissions boundary and for the policy that deploys the stack."""

import json

from .permissions import statements
from .reading import as_list, rule

# what CloudFormation calls to create a resource of a type
CREATES = {
    "AWS::ApiGatewayV2::Api": "apigateway:POST",
    "AWS::ApiGatewayV2::Integration": "apigateway:POST",
    "AWS::ApiGatewayV2::Route": "apigateway:POST",
    "AWS::ApiGatewayV2::Stage": "apigateway:POST",
    "AWS::Budgets::Budget": "budgets:ModifyBudget",
    "AWS::CloudFormation::Stack": "cloudformation:CreateStack",
    "AWS::CloudFormation::WaitConditionHandle": None,
    "AWS::CloudWatch::Alarm": "cloudwatch:PutMetricAlarm",
    "AWS::CloudWatch::Dashboard": "cloudwatch:PutDashboard",
    "AWS::CodeDeploy::Application": "codedeploy:CreateApplication",
    "AWS::CodeDeploy::DeploymentGroup": "codedeploy:CreateDeploymentGroup",
    "AWS::DynamoDB::Table": "dynamodb:CreateTable",
    "AWS::Events::Rule": "events:PutRule",
    "AWS::IAM::Role": "iam:CreateRole",
    "AWS::Lambda::Alias": "lambda:CreateAlias",
    "AWS::Lambda::EventInvokeConfig": "lambda:PutFunctionEventInvokeConfig",
    "AWS::Lambda::EventSourceMapping": "lambda:CreateEventSourceMapping",
    "AWS::Lambda::Permission": "lambda:AddPermission",
    "AWS::Lambda::Version": "lambda:PublishVersion",
    "AWS::Logs::LogGroup": "logs:CreateLogGroup",
    "AWS::Logs::QueryDefinition": "logs:PutQueryDefinition",
    "AWS::SNS::Topic": "sns:CreateTopic",
    "AWS::SQS::Queue": "sqs:CreateQueue",
    "AWS::SecretsManager::Secret": "secretsmanager:CreateSecret",
    "AWS::Serverless::Function": "lambda:CreateFunction",
}
# these would let a deployment leave the boundary, or delete data
NEVER = {"iam:DeleteRolePermissionsBoundary", "iam:CreatePolicyVersion", "iam:UpdateAssumeRolePolicy", "dynamodb:DeleteTable",
         "sqs:DeleteQueue", "sqs:PurgeQueue"}
WITHIN_BOUNDARY = {"iam:CreateRole", "iam:PutRolePolicy", "iam:AttachRolePolicy", "iam:PutRolePermissionsBoundary"}


def listed(template, policy):
    """Returns the statements of a managed policy that always apply."""
    found = template["Resources"][policy]["Properties"]["PolicyDocument"]["Statement"]
    return [statement for statement in found if "Fn::If" not in statement]


def check_deployer(template, *deployed):
    boundary = {action for s in listed(template, "Boundary") for action in as_list(s["Action"])}
    used = set()
    for where, statement in statements(deployed[0]):
        actions = set(as_list(statement["Action"]))
        used |= actions
        rule(actions <= boundary, f"Boundary: {where} needs {', '.join(sorted(actions - boundary))}")
    rule(boundary <= used, f"Boundary: no role needs {', '.join(sorted(boundary - used))}")

    policy = listed(template, "Deployer")
    allowed = {action for s in policy for action in as_list(s["Action"])}
    for action in sorted(boundary | allowed):
        rule("*" not in action, f"infra/deployer.yaml: the action {action} has a *")
    rule(not allowed & NEVER, f"Deployer: may {', '.join(sorted(allowed & NEVER))}")
    for each in deployed:
        for name, resource in each["Resources"].items():
            kind = resource["Type"]
            rule(kind in CREATES, f"infra/rules/deployer.py: does not know how {name} ({kind}) is created")
            action = CREATES.get(kind)
            rule(action is None or action in allowed, f"Deployer: may not create {name}, for lack of {action}")
    for statement in policy:
        if set(as_list(statement["Action"])) & WITHIN_BOUNDARY:
            needs = statement.get("Condition", {}).get("StringEquals", {}).get("iam:PermissionsBoundary")
            rule(needs == {"Ref": "Boundary"}, f"Deployer: {statement['Sid']} may make a role without the boundary")
        if "iam:PassRole" in as_list(statement["Action"]):
            rule("iam:PassedToService" in json.dumps(statement.get("Condition")), "Deployer: may pass roles to any service")
    trust = template["Resources"]["GitHubRole"]["Properties"]["AssumeRolePolicyDocument"]["Statement"][0]
    subject = trust["Condition"]["StringEquals"].get("token.actions.githubusercontent.com:sub", {})
    rule(subject == {"Fn::Sub": "repo:${Repository}:ref:refs/heads/${Branch}"}, "GitHubRole: other branches or repositories may deploy")
