"""The rules for functions, their queues, and the retention of data."""

import re

from .reading import as_list, by_condition, choices, invoked, of_type, roles_of_functions, rule, target

# How long a throttled message must survive, in seconds. Within this time, the watchdog visits each
# run once.
HOUR = 3600
KEPT = ("AWS::DynamoDB::Table", "AWS::SQS::Queue")


def seconds(template, value, of):
    """Returns pairs: each timeout that `value` can be, and the visibility timeout that `of` has
    then."""
    if isinstance(value, int) and isinstance(of, int):
        return [(value, of)]
    if not (isinstance(value, dict) and isinstance(of, dict) and "Fn::FindInMap" in of):
        return None
    mapping, key, attribute = of["Fn::FindInMap"]
    if key != value:
        return None
    table = template["Mappings"][mapping]
    return [(t, table.get(str(t), {}).get(attribute)) for t in choices(template, value)]


def mappings(template):
    """Yields the name, function, queue and properties of each event source mapping."""
    for name, resource in of_type(template, "AWS::Lambda::EventSourceMapping").items():
        properties = resource["Properties"]
        queue = target(properties["EventSourceArn"])
        rule("Condition" not in resource, f"{name}: its queue is left without workers")
        yield name, invoked(properties["FunctionName"]), queue, properties


def check_deliveries(template):
    queues, functions = of_type(template, "AWS::SQS::Queue"), of_type(template, "AWS::Serverless::Function")
    served = set()
    for name, function, queue_name, mapping in mappings(template):
        served.add(queue_name)
        if function is None:
            continue # infra/rules/releases.py reports it
        properties, queue = functions[function]["Properties"], queues[queue_name]["Properties"]
        role = properties["Environment"]["Variables"]["STEPLADDER_ROLE"]
        most = mapping.get("ScalingConfig", {}).get("MaximumConcurrency")
        pairs = seconds(template, properties["Timeout"], queue["VisibilityTimeout"])
        rule(pairs, f"{name}: the visibility timeout of its queue does not follow its timeout")
        policy = queue.get("RedrivePolicy", {})
        receives = policy.get("maxReceiveCount", 0)
        rule(policy, f"{name}: its queue has no dead-letter queue")
        for timeout, seen in pairs or []:
            factor = 6 if role == "ingest" else 1
            rule(seen and seen >= max(timeout + 30, factor * timeout),
                 f"{name}: a timeout of {timeout} s and a visibility timeout of {seen} s")
            rule((seen or 0) * receives >= HOUR,
                 f"{name}: throttled for {(seen or 0) * receives} s, a message becomes a dead letter that no code has seen")
        rule(mapping.get("FunctionResponseTypes") == ["ReportBatchItemFailures"], f"{name}: a failed message fails its whole batch")
        rule(most is not None, f"{name}: its mapping has no maximum concurrency, so Lambda throttles messages")
        rule(min(choices(template, most)) is None or min(choices(template, most)) >= 2, f"{name}: the maximum concurrency must be at least 2")
        reserved = properties.get("ReservedConcurrentExecutions")
        rule(reserved == {"Fn::If": ["HasReserve", most, {"Ref": "AWS::NoValue"}]},
             f"{name}: ReserveConcurrency does not reserve its maximum concurrency")
        if role == "worker":
            variables = {**template["Globals"]["Function"]["Environment"]["Variables"], **properties["Environment"]["Variables"]}
            rule(str(variables["STEPLADDER_WORKER_TIMEOUT"]) == str(properties["Timeout"]),
                 f"{name}: STEPLADDER_WORKER_TIMEOUT is not its timeout")
            rule(properties.get("RecursiveLoop") == "Allow",
                 f"{name}: Lambda ends a run after about 16 steps, because it takes the chain of invocations for a loop")
    for name, queue in queues.items():
        if "RedrivePolicy" in queue["Properties"]:
            rule(name in served, f"{name}: has no workers")


def check_wakes(template):
    """Each role that sends wakes must have the permission for all queues of wakes, and each such
    queue must have a dead-letter queue."""
    served = {queue for _, function, queue, _ in mappings(template)
              if function and template["Resources"][function]["Properties"]["Environment"]["Variables"]["STEPLADDER_ROLE"] == "worker"}
    for name, role in roles_of_functions(template).items():
        statements = role["Properties"]["Policies"][0]["PolicyDocument"]["Statement"]
        sends = [s for s in statements if s.get("Sid") == "SendWakes"]
        resources = [resource for s in sends for resource in as_list(s["Resource"])]
        allowed = {target(resource) for resource in resources}
        if any(resource.get("Fn::Sub", "").endswith(":${AWS::StackName}-steps-for-*") for resource in resources):
            allowed |= {queue for queue in served if queue.startswith("For")}
        rule(not served - allowed, f"{name}: may not send wakes to {', '.join(sorted(served - allowed))}")
    queues = of_type(template, "AWS::SQS::Queue")
    for queue in sorted(served):
        properties = queues[queue]["Properties"]
        dead = target(properties["RedrivePolicy"]["deadLetterTargetArn"])
        allowed = queues[dead]["Properties"]["RedriveAllowPolicy"]
        arns = allowed.get("sourceQueueArns") or []
        named = ":" + properties["QueueName"]["Fn::Sub"]
        rule(len(arns) <= 10, f"{dead}: SQS accepts at most ten queues by name")
        rule(allowed["redrivePermission"] == "allowAll" or any(arn.get("Fn::Sub", "").endswith(named) for arn in arns), f"{dead}: accepts no dead letters of {queue}")


def check_functions(template):
    logs, roles = of_type(template, "AWS::Logs::LogGroup"), []
    for name, function in of_type(template, "AWS::Serverless::Function").items():
        properties = function["Properties"]
        roles.append(target(properties.get("Role")))
        rule(roles[-1], f"{name}: has no explicit role")
        rule(target(properties["LoggingConfig"]["LogGroup"]) in logs, f"{name}: has no log group of its own")
        rule(properties["LoggingConfig"]["LogFormat"] == "Text", f"{name}: Lambda must not wrap the JSON of the code")
        rule(function["Metadata"]["BuildMethod"] == "rust-cargolambda", f"{name}: is built in another way")
    rule(len(set(roles)) == len(roles), "two functions share a role")
    for name, group in logs.items():
        rule("RetentionInDays" in group["Properties"], f"{name}: logs are kept for ever")
    for name, stage in of_type(template, "AWS::ApiGatewayV2::Stage").items():
        group = logs.get(target(stage["Properties"]["AccessLogSettings"]["DestinationArn"]), {"Properties": {}})
        named = group["Properties"].get("LogGroupName", {}).get("Fn::Sub", "")
        rule(named.startswith("/aws/vendedlogs/"), f"{name}: its log group needs an entry in the account's resource policy")


def check_queues(template):
    for name, queue in of_type(template, "AWS::SQS::Queue").items():
        properties = queue["Properties"]
        rule(by_condition(properties.get("SqsManagedSseEnabled"), "HasKmsKey")[1] is True, f"{name}: is not encrypted")
        rule(properties.get("MaximumMessageSize") == 1048576, f"{name}: accepts less than 1 MiB")
        rule("Condition" not in queue, f"{name}: a parameter can delete it with its data")
        if "RedrivePolicy" not in properties:
            rule(properties["MessageRetentionPeriod"] == 1209600, f"{name}: dead letters are kept for less than 14 days")
            rule("RedriveAllowPolicy" in properties, f"{name}: accepts the dead letters of any queue")


def check_retention(template):
    for name, resource in of_type(template, *KEPT).items():
        rule(resource.get("UpdateReplacePolicy") == "Retain", f"{name}: a replacement deletes its data")
        # CloudFormation could not delete a protected table after a failed first deployment
        policy = "Retain" if resource["Type"] == "AWS::DynamoDB::Table" else "RetainExceptOnCreate"
        rule(resource.get("DeletionPolicy") == policy,
             f"{name}: the deletion of the stack deletes its data, or a failed first deployment leaves or locks it")
        rule("NamesStack" in as_list(resource.get("DependsOn")), f"{name}: is created before the name of the stack is checked")
    for name, resource in of_type(template, "AWS::DynamoDB::Table").items():
        properties = resource["Properties"]
        rule(properties.get("DeletionProtectionEnabled") == {"Fn::If": ["HasProtection", True, False]},
             f"{name}: ProtectTable does not protect it")
        recovers = properties["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"]
        rule(recovers == {"Fn::If": ["HasRecovery", True, False]}, f"{name}: cannot be restored")
    for name in ("ProtectTable", "PointInTimeRecovery"):
        rule(template["Parameters"][name]["Default"] == "yes", f"{name}: is off by default")
    # each role, the alarms and the command line use the table that ExistingTable names
    resources = str({k: v for k, v in template["Resources"].items() if k != "Table"}) + str(template["Outputs"])
    uses = len(re.findall(r"'Ref': 'Table'|Table\.Arn", resources))
    follows = len(re.findall(r"'MakeTable', \{(?:'Ref': 'Table'|'Fn::\w+': '(?:\$\{)?Table\.Arn)", resources))
    rule(uses == follows, f"Table: ExistingTable is used in {follows} of {uses} places")
