"""The chapters of the runbook that are about operating: to roll back, to restore the table, to look at alarms, and a
second stage."""

import json
import re
import shutil
import zipfile
from pathlib import Path

import boto3
from runbook_shell import (
    ROOT, README, RUNBOOK, block, builds, deployed_table, messages, must, said, set_concurrency_again, until,
    what_is_kept
)


def rolled_back(shell):
    """Deploys a release, then one that cannot start, and rolls back while a run is in progress."""
    release = block(RUNBOOK, "RELEASE=")
    shell.type(release)
    shell.type(block(RUNBOOK, "work --no-enabled"))
    shell.type(said(RUNBOOK, "curl $URL/e/$KEY"))
    must(messages(shell, "steps") == [1, 0, 0], "a release does not serve HTTP")
    good = Path(shell.folder, "tools/program").read_text()
    builds(shell.folder, shutil.which("true"))
    shell.type(release.replace("01.1", "01.2"))
    listed = shell.type(said(RUNBOOK, "list-versions-by-function --function-name stepladder-worker"))[0]
    must(re.search(r"1\s+2026-12-01.1\s+2\s+2026-12-01.2", listed), f"the releases are not listed: {listed}")
    status = "curl -s -o /dev/null -w '%{http_code}' $URL/v1/runs"
    must(shell.type(status)[0].strip()[-3:] in ("500", "502"), "a release that cannot start does not get the requests")
    shell.type(block(RUNBOOK, "back 2026-12-01.1"))
    must("401" in shell.type(status)[0], "the earlier release does not serve HTTP")
    mappings = boto3.client("lambda").list_event_source_mappings()["EventSourceMappings"]
    must(all(mapping["FunctionArn"].endswith(":live") for mapping in mappings), f"{mappings}")
    set_concurrency_again()
    Path(shell.folder, "tools/program").write_text(good)
    shell.type("work --enabled")
    runs = said(README, "cargo run --features lambda -- runs --table $TABLE")
    until("the earlier release to end the run", lambda: shell.type(runs)[0].count("Completed") == 4)


def restored(shell):
    """Restores the table with a run in progress, loses the old table, and lets the stack use the
    restored one."""
    client, table = boto3.client("dynamodb"), deployed_table()
    runs = said(README, "cargo run --features lambda -- runs --table $TABLE")
    ended = shell.type(runs)[0].count("Completed")
    shell.type("work --no-enabled")
    shell.type(said(RUNBOOK, "curl $URL/e/$KEY"))
    shell.type(said(RUNBOOK, "dynamodb create-backup"))
    shell.type(block(RUNBOOK, "restore-table-to-point-in-time"))
    described = client.describe_table(TableName=f"{table}-restored")["Table"]
    ttl = client.describe_time_to_live(TableName=f"{table}-restored")["TimeToLiveDescription"]
    must(described["DeletionProtectionEnabled"] and ttl["TimeToLiveStatus"] == "ENABLED", f"{described} {ttl}")
    looked = shell.type("cargo run --features lambda -- runs --table $TABLE-restored")[0]
    must(looked.count("hello-world") == ended + 1 and looked.count("Completed") == ended, f"the restored table has other runs: {looked}")
    shell.type(said(RUNBOOK, "sed -i.bak", "ExistingTable"))
    shell.type(block(RUNBOOK, "RELEASE=").replace("01.1", "01.3"))
    shell.type(said(RUNBOOK, "update-table --table-name $TABLE --no-deletion-protection-enabled"))
    shell.type(said(RUNBOOK, "delete-table --table-name $TABLE"))
    must(table not in what_is_kept(), "the old table could not be deleted")
    set_concurrency_again()
    shell.type("work --enabled")
    shell.type("TABLE=$TABLE-restored")
    must(deployed_table() == f"{table}-restored", f"the stack uses {deployed_table()}")
    until("the run to end in the restored table", lambda: shell.type(runs)[0].count("Completed") == ended + 1)


def stage_with_values(shell):
    """Deploys a second stage beside the first, with values for what a company requires."""
    layer = Path(shell.folder, "layer.zip")
    with zipfile.ZipFile(layer, "w") as file:
        file.writestr("layer.txt", "of a company")
    layer = boto3.client("lambda").publish_layer_version(LayerName="company", Content={"ZipFile": layer.read_bytes()})["LayerVersionArn"]
    key = boto3.client("kms").create_key()["KeyMetadata"]["Arn"]
    network = boto3.client("ec2")
    subnet = network.describe_subnets()["Subnets"][0]["SubnetId"]
    group = network.describe_security_groups()["SecurityGroups"][0]["GroupId"]
    policy = boto3.client("iam").create_policy(PolicyName="reader", PolicyDocument=json.dumps(
        {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}]}))["Policy"]["Arn"]
    given = {"WorkerPolicyArns": policy, "PermissionsBoundary": policy, "WorkerLayers": layer, "KmsKeyArn": key, "SubnetIds": subnet,
             "SecurityGroupIds": group, "Settings": "OPENAI_MODEL=small,GREETING=hello", "Pace": "budget"}
    more = " ".join(f"{name}={value}" for name, value in given.items())
    shell.type(f"sed -i.bak 's|^parameter_overrides = \"ProtectTable=no|& {more}|' samconfig.toml")
    shell.type(said(RUNBOOK, "sam deploy --config-env dev"))
    set_concurrency_again()
    functions = boto3.client("lambda")
    worker = functions.get_function_configuration(FunctionName="stepladder-dev-worker")
    must(worker["Environment"]["Variables"]["STEPLADDER_SETTINGS"] == given["Settings"], f"{worker}")
    must([each["Arn"] for each in worker["Layers"]] == [layer], f"{worker}")
    http = functions.get_function_configuration(FunctionName="stepladder-dev-http")
    must(not http.get("Layers") and "STEPLADDER_SETTINGS" not in http["Environment"]["Variables"], f"only workers run functions: {http}")
    role = worker["Role"].rsplit("/", 1)[1]
    attached = boto3.client("iam").list_attached_role_policies(RoleName=role)["AttachedPolicies"]
    # the emulator ignores the network of a function and the boundary of a role, so this looks at the permission that
    # goes with the network
    own = boto3.client("iam").get_role_policy(RoleName=role, PolicyName="worker")["PolicyDocument"]
    must("ec2:CreateNetworkInterface" in str(own) and key in str(own), f"{own}")
    must([each["PolicyArn"] for each in attached] == [policy], f"{attached}")
    url = boto3.client("sqs").get_queue_url(QueueName="stepladder-dev-steps")["QueueUrl"]
    encrypted = boto3.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    must(encrypted.get("KmsMasterKeyId") == key, f"{encrypted}")
    table = deployed_table("stepladder-dev")
    described = boto3.client("dynamodb").describe_table(TableName=table)["Table"]
    # the emulator does not encrypt tables of CloudFormation
    must(not described.get("DeletionProtectionEnabled"), f"the stage's table is protected: {described}")
    tags = boto3.client("cloudformation").describe_stacks(StackName="stepladder-dev")["Stacks"][0]["Tags"]
    must({"Key": "stage", "Value": "dev"} in tags, f"{tags}")
    before = shell.type("cargo run --features lambda -- runs --table $TABLE")[0].count("hello-world")
    url = boto3.client("sqs").get_queue_url(QueueName="stepladder-dev-events")["QueueUrl"]
    boto3.client("sqs").send_message(QueueUrl=url, MessageBody='{"name":"test/hello.world"}')
    until("a run of the stage", lambda: "Completed" in shell.type(f"cargo run --features lambda -- runs --table {table}")[0])
    after = shell.type("cargo run --features lambda -- runs --table $TABLE")[0].count("hello-world")
    must(before == after, "an event of one stage starts a run in another")
    shell.type("aws cloudformation delete-stack --stack-name stepladder-dev")
    shell.type("aws cloudformation wait stack-delete-complete --stack-name stepladder-dev")
    left = [name for name in what_is_kept() if name.startswith("stepladder-dev-")]
    must(len(left) == 6 and table in left, f"the stage left {left}")
    boto3.client("dynamodb").delete_table(TableName=table)
    for name in left:
        if name != table:
            boto3.client("sqs").delete_queue(QueueUrl=boto3.client("sqs").get_queue_url(QueueName=name)["QueueUrl"])


def looked_at(shell):
    """Types each command of the alarms' procedures, except those that name a run."""
    shell.type(block(RUNBOOK, "alarms() {"))
    text = (ROOT / "docs/operating.md").read_text()
    alarms = text.split("\n## Alarms\n", 1)[1].split("\n## ", 1)[0]
    lines = {line.strip() for each in re.findall(r"^ *```sh\n(.*?)^ *```$", alarms, re.M | re.S) for line in each.splitlines()}
    parts_of_functions = ("aws cloudwatch", "aws sqs", "aws logs", "--query", "}")
    looks = sorted(line for line in lines if "() {" not in line and " ID " not in line and not line.startswith(parts_of_functions))
    must(len(looks) > 10, f"{looks}")
    for line in looks:
        shell.type(line)
    swept = "logs sweep '{ $.activity = \"sweep_completed\" }'"
    must(swept in alarms, "the runbook does not look for the last sweep")
    until("a sweep", lambda: "sweep_completed" in shell.type(swept)[0])
