"""Types the commands of README.md and of the runbook, word for word, into a shell: runbook.py FOLDER PROGRAM

FOLDER is empty and gets a copy of the project. A stub of `cargo` in it packs the program PROGRAM
instead of building one. The environment contains the emulator's address and credentials. Prints the
output of the commands, and fails if the output is not what the documents say.
"""

import shutil
import sys
import time
from pathlib import Path

import boto3
from botocore.exceptions import ClientError
from runbook_operating import looked_at, restored, rolled_back, stage_with_values
from runbook_shell import (
    README, RUNBOOK, FOR_THE_EMULATOR, Shell, block, builds, deployed_parameters, messages, must, project, said,
    set_concurrency_again, until, variables, what_is_kept
)


def first_deployments_that_fail(shell):
    """Deploys stacks that must fail before any of their functions runs."""
    builds(shell.folder, shutil.which("true"))
    shell.type("sam build")
    # the template allows at most 47 characters
    name = "a" * 48
    shell.type(f"sam deploy --stack-name {name} --parameter-overrides Watch=no", fails=True)
    events = boto3.client("cloudformation").describe_stack_events(StackName=name)["StackEvents"]
    reasons = [event.get("ResourceStatusReason", "") for event in events]
    must(any("must have at most 47 characters" in reason for reason in reasons), f"it is refused without its reason: {reasons}")
    must(what_is_kept() == [], f"a refused name left {what_is_kept()}")
    missing = "Watch=no EventKeysSecret=not-there"
    shell.type(f"sam deploy --stack-name unlucky --parameter-overrides {missing}", fails=True)
    # CloudFormation may not delete a protected table
    left = what_is_kept()
    must(len(left) == 1 and "Table" in left[0], f"a first deployment that failed left {left}")
    shell.type(f"FAILED={left[0]}")
    for command in ("update-table --table-name $FAILED", "delete-table --table-name $FAILED"):
        shell.type(said(RUNBOOK, command))
    must(what_is_kept() == [], f"{what_is_kept()} is still there")


def first_deployment(shell):
    shown, asked = shell.type(said(README, "sam build && sam deploy --guided"), FOR_THE_EMULATOR)
    must(asked == list(deployed_parameters()), f"asked for {asked}")
    set_concurrency_again()
    shell.type(block(RUNBOOK, "output TableName"))
    # the emulator's host names would need DNS, so the URL contains the API's name as a part of the
    # path
    shell.type("URL=$AWS_ENDPOINT_URL/_aws/execute-api/$(echo $URL | sed 's|.*//||; s|[.].*||')/\\$default")
    shell.type(said(README, "aws sqs send-message"))
    shell.type(block(RUNBOOK, "output EventKeyCommand"))
    runs = said(README, "cargo run --features lambda -- runs --table $TABLE")
    until("two runs that completed", lambda: shell.type(runs)[0].count("Completed") == 2)


def listed(shell, functions):
    """Deploys with a list of functions that have workers of their own."""
    Path(shell.folder, "workers.toml").write_text(f"[greetings]\nfunctions = {functions}\ntimeout = 300\n")
    for line in block(RUNBOOK, "python3 infra/workers").splitlines()[1:-1]:
        shell.type(line)


def listed_function(shell):
    listed(shell, '["hello-world"]')
    shell.child.sendline(said(RUNBOOK, "read -rs VALUE"))
    shell.type("sk-first")
    shell.type(said(RUNBOOK, "aws secretsmanager create-secret"))
    arn = boto3.client("secretsmanager").describe_secret(SecretId="stepladder/openai")["ARN"]
    answers = {"Secrets": "OPENAI_API_KEY=secretsmanager:stepladder/openai", "SecretArns": arn}
    shell.type(said(RUNBOOK, "sam deploy --guided", "Secrets"), answers)
    given = deployed_parameters()
    must({name: given[name] for name in answers} == answers, f"{given}")
    must(variables("stepladder-worker")["STEPLADDER_SECRETS"] == answers["Secrets"], "the worker does not know its secrets")
    must("sk-first" not in str(variables("stepladder-worker")), "the secret is in the environment")
    must("sk-first" not in Path(shell.folder, "samconfig.toml").read_text(), "the secret is in samconfig.toml")
    table = next(name for name in what_is_kept() if "Table" in name)
    try:
        boto3.client("dynamodb").delete_table(TableName=table)
        sys.exit("the table could be deleted")
    except ClientError:
        pass
    shell.type(said(RUNBOOK, "update-termination-protection", " --enable"))

    shell.type(said(RUNBOOK, "sam build && sam deploy"))
    must(deployed_parameters() == given, f"a later deployment changed {given} to {deployed_parameters()}")


def taken_back(shell):
    """Takes the function's own queue back while the queue still contains a wake."""
    shell.type(block(RUNBOOK, "work --no-enabled"))
    shell.type(said(RUNBOOK, "curl $URL/e/$KEY"))
    must(messages(shell, "steps-for-greetings") == [1, 0, 0], "the wake of a function with a queue of its own is elsewhere")
    shell.type("VALUE=sk-second")
    shell.type(said(RUNBOOK, "aws secretsmanager put-secret-value"))
    shell.type("sed -i.bak 's|SecretsRevision=[^ ]*|SecretsRevision=2|' samconfig.toml")
    listed(shell, "[]")
    must(variables("stepladder-worker")["STEPLADDER_DEDICATED"] == "{}", "the function still has a queue of its own")
    # CloudFormation reads the secret again only if a property of the function changes, so the revision is a
    # variable of the function
    revision = variables("stepladder-http")["STEPLADDER_SECRETS_REVISION"]
    must(revision == "2", f"SecretsRevision changes nothing of the function: {revision}")
    must(messages(shell, "steps-for-greetings") == [1, 0, 0], "the wake went with the function's workers")
    set_concurrency_again()
    shell.type("work --enabled")
    runs = said(README, "cargo run --features lambda -- runs --table $TABLE")
    until("its workers to serve what is left", lambda: shell.type(runs)[0].count("Completed") == 3)


def taken_away(shell):
    before = what_is_kept()
    must(len(before) == 6, f"{before}")
    shell.type(said(RUNBOOK, "delete-stack"), fails=True)
    shell.type(block(RUNBOOK, "delete-stack"))
    must(what_is_kept() == before, f"{before} became {what_is_kept()}")
    shell.type(block(RUNBOOK, "for queue in steps"))
    must(what_is_kept() == ["stepladder-steps-for-greetings"], f"{what_is_kept()} is still there")


def main(folder, program):
    folder = Path(folder)
    shell = Shell(folder, project(folder))
    chapters = [first_deployment, listed_function, taken_back, rolled_back, restored, looked_at, stage_with_values, taken_away]
    started = time.monotonic()
    first_deployments_that_fail(shell)
    builds(folder, program)
    for chapter in chapters:
        print(f"\n--- {chapter.__name__}, after {time.monotonic() - started:.0f} s", flush=True)
        chapter(shell)
    print(f"\n--- done after {time.monotonic() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
