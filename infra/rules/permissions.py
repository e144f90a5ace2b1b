"""The rules for the permissions of roles, and for the use of secrets."""

import json
import re

from .reading import as_list, by_condition, of_type, roles_of_functions, rule, text

BOUNDARY = {"Fn::If": ["HasBoundary", {"Ref": "PermissionsBoundary"}, {"Ref": "AWS::NoValue"}]}
POLICIES = {"Fn::If": ["HasWorkerPolicies", {"Fn::Split": [",", {"Ref": "WorkerPolicyArns"}]}, {"Ref": "AWS::NoValue"}]}


def runs_functions(template, role):
    """Returns whether a role is that of workers."""
    functions = (function["Properties"] for function in of_type(template, "AWS::Serverless::Function").values())
    return any(f["Environment"]["Variables"]["STEPLADDER_ROLE"] == "worker" and f["Role"]["Fn::GetAtt"].split(".")[0] == role
               for f in functions)


def statements(template):
    for name, role in of_type(template, "AWS::IAM::Role").items():
        properties = role["Properties"]
        managed = properties.get("ManagedPolicyArns")
        # a worker of workers.toml may list its policies
        is_listed = name.startswith("For") and isinstance(managed, list)
        rule(is_listed or managed == (POLICIES if runs_functions(template, name) else None),
             f"{name}: managed policies grant more than is needed, or WorkerPolicyArns does not apply")
        rule(properties.get("PermissionsBoundary") == BOUNDARY, f"{name}: has no permissions boundary")
        for policy in properties["Policies"]:
            for statement in policy["PolicyDocument"]["Statement"]:
                # under a condition: the statement, or nothing
                statement = by_condition(statement, statement["Fn::If"][0])[0] if "Fn::If" in statement else statement
                yield f"{name}, {statement.get('Sid')}", statement


def check_permissions(template):
    explained = text("infra/IAM.md")
    for where, statement in statements(template):
        for action in as_list(statement["Action"]):
            rule("*" not in action, f"{where}: the action {action} has a *")
            rule(action.split(":")[1] in explained, f"{where}: IAM.md says nothing of {action}")
        rule("NotAction" not in statement and "NotResource" not in statement, f"{where}: uses NotAction or NotResource")
        if any(r == "*" for r in as_list(statement["Resource"])):
            actions = as_list(statement["Action"])
            rule(all(a.startswith("xray:") or a == "cloudwatch:DescribeAlarms" for a in actions) or statement["Sid"] == "JoinVpc",
                 f"{where}: allows all resources, but is for neither X-Ray, alarms nor a VPC")


def check_signing_keys(template):
    """The roles that call apps, or are requested by them, may read the signing keys; no other role."""
    for name, function in of_type(template, "AWS::Serverless::Function").items():
        properties = function["Properties"]
        needs = properties["Environment"]["Variables"]["STEPLADDER_ROLE"] in ("worker", "http")
        role = properties["Role"]["Fn::GetAtt"].split(".")[0]
        allowed = json.dumps(template["Resources"][role]["Properties"]["Policies"])
        for action in ("secretsmanager:GetSecretValue", "ssm:GetParameter", "lambda:InvokeFunction"):
            rule((f'"{action}"' in allowed) == needs, f"{role}: {'lacks' if needs else 'does not need'} {action}")
    for where, statement in statements(template):
        if "secretsmanager:GetSecretValue" in as_list(statement["Action"]) and statement["Sid"] != "ReadSecrets":
            rule(json.dumps(statement["Resource"]).count("secret:${SigningKeysSecretName}-??????") == 1,
                 f"{where}: reads other secrets than the signing keys")


def check_key(template):
    """With `KmsKeyArn`, this key encrypts all data, and each role may use it, through the services
    that hold the data."""
    key = {"Fn::If": ["HasKmsKey", {"Ref": "KmsKeyArn"}, {"Ref": "AWS::NoValue"}]}
    properties = {"AWS::SQS::Queue": "KmsMasterKeyId", "AWS::Logs::LogGroup": "KmsKeyId", "AWS::SecretsManager::Secret": "KmsKeyId"}
    for kind, property_name in properties.items():
        for name, resource in of_type(template, kind).items():
            rule(resource["Properties"].get(property_name) == key, f"{name}: KmsKeyArn does not encrypt it")
    for name, table in of_type(template, "AWS::DynamoDB::Table").items():
        encryption = by_condition(table["Properties"].get("SSESpecification"), "HasKmsKey")[0] or {}
        rule(encryption.get("KMSMasterKeyId") == {"Ref": "KmsKeyArn"}, f"{name}: KmsKeyArn does not encrypt it")
    found = {where.split(",")[0]: statement for where, statement in statements(template) if where.endswith(", UseKey")}
    for name in roles_of_functions(template):
        statement = found.get(name, {})
        rule(statement.get("Resource") == {"Ref": "KmsKeyArn"}, f"{name}: may not use the key of KmsKeyArn")
        rule("kms:ViaService" in json.dumps(statement.get("Condition")), f"{name}: may use the key for anything")


def check_workers(template):
    """What functions may need applies to all workers, which run functions, and to no other role."""
    for name, function in of_type(template, "AWS::Serverless::Function").items():
        properties = function["Properties"]
        is_worker = properties["Environment"]["Variables"]["STEPLADDER_ROLE"] == "worker"
        for parameter, used in (("SubnetIds", "VpcConfig"), ("SecurityGroupIds", "VpcConfig"), ("WorkerLayers", "Layers")):
            follows = json.dumps({"Ref": parameter}) in json.dumps(properties.get(used))
            rule(follows == is_worker, f"{name}: {'does not follow' if is_worker else 'follows'} {parameter}")
        role = properties["Role"]["Fn::GetAtt"].split(".")[0]
        joins = any(where == f"{role}, JoinVpc" for where, _ in statements(template))
        rule(joins == is_worker, f"{role}: {'may not' if is_worker else 'need not'} join a VPC")


def check_secrets_of_functions(template):
    """The workers, and no other role, read the secrets of functions while they run. Their
    environment has only the places."""
    for name, function in of_type(template, "AWS::Serverless::Function").items():
        properties = function["Properties"]
        variables = properties["Environment"]["Variables"]
        is_worker = variables["STEPLADDER_ROLE"] == "worker"
        expected = {"Ref": "Secrets"} if is_worker else None
        rule(variables.get("STEPLADDER_SECRETS") == expected, f"{name}: {'does not know' if is_worker else 'knows'} the secrets of functions")
        endpoint = {"Fn::If": ["HasOtlp", {"Ref": "OtlpEndpoint"}, {"Ref": "AWS::NoValue"}]} if is_worker else None
        rule(variables.get("OTEL_EXPORTER_OTLP_ENDPOINT") == endpoint, f"{name}: {'does not know' if is_worker else 'knows'} OtlpEndpoint")
        rule(not is_worker or "resolve:" not in json.dumps(variables), f"{name}: has a secret in its environment")
        role = properties["Role"]["Fn::GetAtt"].split(".")[0]
        reads = [s for where, s in statements(template) if where == f"{role}, ReadSecrets"]
        rule(bool(reads) == is_worker, f"{role}: {'lacks' if is_worker else 'does not need'} the secrets of functions")
        for statement in reads:
            rule(statement["Resource"] == {"Fn::Split": [",", {"Ref": "SecretArns"}]}, f"{role}: reads other secrets than those of SecretArns")
    for name, parameter in template["Parameters"].items():
        rule(not re.search(r"openai|supabase", f"{name} {json.dumps(parameter)}", re.I), f"{name}: is for one project's functions only")


def check_reasons(path):
    lines = text(path).splitlines()
    for number, line in enumerate(lines):
        if re.search(r"""(Resource:\s*|-\s+)['"]?\*['"]?\s*(#.*)?$""", line):
            beside = "#" in line or lines[number - 1].strip().startswith("#")
            rule(beside, f"{path}:{number + 1}: a resource * without a comment that gives the reason")


def check_secrets(template):
    """Parameters must contain the names of secrets, not the secrets: what is typed stays in the
    history of a shell."""
    for name, parameter in template["Parameters"].items():
        rule("NoEcho" not in parameter, f"{name}: `sam deploy --guided` asks for a hidden parameter until it gets a value")
        rule(not re.search(r"(Key|Keys|Token|Password)$", name), f"{name}: everyone with access to the stack can read it")
        if name.endswith("Secret"):
            used = json.dumps(template["Resources"]).count(name)
            resolved = json.dumps(template["Resources"]).count(f"{{{{resolve:secretsmanager:${{{name}}}}}}}")
            rule(used == resolved > 0, f"{name}: is not only used as the name of a secret")
    for name, output in template.get("Outputs", {}).items():
        rule("resolve:" not in json.dumps(output), f"the output {name} shows a secret")
    for name, resource in of_type(template, "AWS::Serverless::Function").items():
        variables = resource["Properties"]["Environment"]["Variables"]
        if "resolve:" in json.dumps(variables):
            rule(variables.get("STEPLADDER_SECRETS_REVISION") == {"Ref": "SecretsRevision"},
                 f"{name}: has a secret, and does not follow SecretsRevision")


def check_guided_deploy(template):
    """`sam deploy --guided` must succeed if the user presses only Enter."""
    for name, parameter in template["Parameters"].items():
        rule("Default" in parameter, f"{name}: has no default, so Enter is no answer")
        default = parameter.get("Default")
        if "AllowedPattern" in parameter:
            rule(re.fullmatch(parameter["AllowedPattern"], default or ""), f"{name}: rejects its own default")
        if "AllowedValues" in parameter:
            rule(default in parameter["AllowedValues"], f"{name}: rejects its own default")
