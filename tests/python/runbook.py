"""Types the commands of README.md and of the runbook, word for word, into a shell: runbook.py FOLDER PROGRAM

FOLDER is empty and gets a copy of the project. A stub of `cargo` in it packs the program PROGRAM
instead of building one. The environment contains the emulator's address and credentials. Prints the
output of the commands, and fails if the output is not what the documents say.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import boto3
import pexpect
from botocore.exceptions import ClientError

ROOT = Path(__file__).resolve().parents[2]
PARTS = ["README.md", "docs", "template.yaml", "samconfig.toml", "workers.toml", "infra", "functions"]
# the maximum time of a command in seconds; the slowest command deploys a stack
LIMIT = 240
PROMPT = "the-next-command> "
STACK = "stepladder"
README = ["README.md"]
RUNBOOK = ["docs/deploying-on-aws.md", "docs/operating.md"]
# the emulator supports neither saved queries nor alarms on more than one metric
FOR_THE_EMULATOR = {"Watch": "no"}

# a stub of cargo that copies the program under test instead of building it
CARGO = """#!/usr/bin/env bash
set -euo pipefail
project={project}
program=$(cat "$project/tools/program")
built=$project/target/lambda/stepladder
case "$1 ${{2:-}}" in
    "metadata "*) printf '{{"target_directory":"%s","packages":[]}}' "$project/target" ;;
    "lambda build") mkdir -p "$built" && cp "$program" "$built/bootstrap"
        case "$*" in *"--output-format zip"*) (cd "$built" && {python} -m zipfile -c bootstrap.zip bootstrap) ;; esac ;;
    "run --features") shift 4 && exec "$program" "$@" ;; # cargo run --features lambda -- COMMAND
    *) echo "cargo $*: not typed before" >&2 && exit 1 ;;
esac
"""


# version 1 ignores `AWS_ENDPOINT_URL` for SQS and uses its old host names
AWS = """#!/usr/bin/env bash
exec {python} -m awscli --endpoint-url "$AWS_ENDPOINT_URL" "$@"
"""


def project(folder):
    for part in PARTS:
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
        copy(ROOT / part, folder / part)
    return stubs(folder)


def stubs(folder):
    """Returns a folder with the stubs of the programs that the commands call."""
    tools = folder / "tools"
    tools.mkdir()
    texts = {"cargo": CARGO, "cargo-lambda": CARGO, "aws": AWS}
    for name, text in texts.items():
        (tools / name).write_text(text.format(project=folder, python=sys.executable))
        (tools / name).chmod(0o755)
    return tools


def blocks(documents):
    texts = [(ROOT / document).read_text() for document in documents]
    return [block for text in texts for block in re.findall(r"^ *```sh\n(.*?)^ *```$", text, re.M | re.S)]


def said(documents, *parts):
    """Returns the only command line in the documents with these parts."""
    lines = {line.strip() for block in blocks(documents) for line in block.splitlines()}
    found = [line for line in lines if all(part in line for part in parts)]
    if len(found) != 1:
        sys.exit(f"{documents} have {len(found)} lines with {parts}: {found}")
    return found[0]


def block(documents, part):
    """Returns the only block of commands in the documents with this part, as one command."""
    found = [block for block in blocks(documents) if part in block]
    if len(found) != 1:
        sys.exit(f"{documents} have {len(found)} blocks with {part}")
    return "{\n" + found[0] + "}"


class Shell:
    """A shell into which a person types commands."""

    def __init__(self, folder, tools):
        self.folder = folder
        path = f"{tools}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, "PS1": PROMPT, "PS2": "", "PAGER": "cat", "AWS_PAGER": "", "TERM": "dumb"}
        self.child = pexpect.spawn("bash", ["--norc", "--noprofile", "--noediting"], cwd=str(folder), env=environment,
                                   encoding="utf-8", timeout=LIMIT, dimensions=(200, 400), echo=False)
        self.child.logfile_read = sys.stdout
        self.expect(PROMPT)

    def expect(self, *patterns):
        patterns = [pexpect.TIMEOUT, pexpect.EOF, *patterns]
        found = self.child.expect(patterns)
        if found < 2:
            sys.exit(f"\nnothing came of it within {LIMIT} s")
        return found - 2

    def type(self, command, answers={}, fails=False):
        """Types a command. Returns the command's output, and the names of the parameters that it
        asked for. Answers each question from `answers` or by pressing Enter, and confirms with
        `y`."""
        self.child.sendline(command)
        shown, asked = "", []
        while True:
            found = self.expect(r"Parameter (\w+)\S* \[[^\n]*\]: ", r"(?:Deploy this changeset\?|Are you sure|want to delete)"
                                r"[^\n]*\[y/N\]: ", r"\[[^\n\[]*\]: ", r"Parameter (\w+)\S*: ", re.escape(PROMPT))
            shown += self.child.before
            if found == 0:
                asked.append(self.child.match[1])
                self.child.sendline(answers.get(asked[-1], ""))
            elif found in (1, 2):
                self.child.sendline("y" if found == 1 else "")
            elif found == 3:
                sys.exit(f"\n{self.child.match[1]} is asked for without a value to take: Enter is no answer to that")
            else:
                break
        self.child.sendline("echo status=$?")
        self.expect(r"status=(\d+)")
        status = int(self.child.match[1])
        self.expect(re.escape(PROMPT))
        must((status != 0) == fails, f"`{command}` ended with {status}")
        return shown, asked


def must(holds, otherwise):
    if not holds:
        sys.exit(f"\n{otherwise}")


def deployed_parameters():
    described = boto3.client("cloudformation").describe_stacks(StackName=STACK)["Stacks"][0]
    return {each["ParameterKey"]: each["ParameterValue"] for each in described["Parameters"]}


def what_is_kept():
    """Returns the names of all tables and queues."""
    tables = boto3.client("dynamodb").list_tables()["TableNames"]
    queues = boto3.client("sqs").list_queues().get("QueueUrls", [])
    return sorted(tables + [queue.rsplit("/", 1)[1] for queue in queues])


def variables(function):
    return boto3.client("lambda").get_function_configuration(FunctionName=function)["Environment"]["Variables"]


def set_concurrency_again():
    # ministack stores the template's number as a string, with which its poller stops working, and
    # its poller invokes the newest code instead of the template's alias
    functions = boto3.client("lambda")
    for mapping in functions.list_event_source_mappings()["EventSourceMappings"]:
        most = int(mapping["ScalingConfig"]["MaximumConcurrency"])
        functions.update_event_source_mapping(UUID=mapping["UUID"], FunctionName=mapping["FunctionArn"], ScalingConfig={"MaximumConcurrency": most})


def until(what, holds):
    """Repeats a check until it succeeds."""
    end = time.monotonic() + LIMIT
    while not holds():
        must(time.monotonic() < end, f"waited {LIMIT} s for {what}")
        time.sleep(0.2)


def messages(shell, queue):
    url = boto3.client("sqs").get_queue_url(QueueName=f"{STACK}-{queue}")["QueueUrl"]
    counts = boto3.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    return [int(counts[f"ApproximateNumberOfMessages{state}"]) for state in ("", "NotVisible", "Delayed")]


def builds(folder, program):
    """Sets the program that the stub of `cargo` copies from now on."""
    copy = folder / "tools" / Path(program).name
    shutil.copy(program, copy)
    if shutil.which("strip"):
        # a debug binary is ten times as large
        subprocess.run(["strip", copy], check=False)
    (folder / "tools/program").write_text(str(copy))


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
    chapters = [first_deployment, listed_function, taken_back, rolled_back, taken_away]
    started = time.monotonic()
    first_deployments_that_fail(shell)
    builds(folder, program)
    for chapter in chapters:
        print(f"\n--- {chapter.__name__}, after {time.monotonic() - started:.0f} s", flush=True)
        chapter(shell)
    print(f"\n--- done after {time.monotonic() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
