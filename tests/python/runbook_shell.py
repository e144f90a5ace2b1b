"""What the scripts that type the runbook's commands share: a copy of the project, a shell, and what is deployed."""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import boto3
import pexpect

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


def deployed_table(stack=STACK):
    outputs = boto3.client("cloudformation").describe_stacks(StackName=stack)["Stacks"][0]["Outputs"]
    return next(output["OutputValue"] for output in outputs if output["OutputKey"] == "TableName")


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
