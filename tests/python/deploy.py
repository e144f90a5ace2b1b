"""Deploys template.yaml, unchanged, to an emulator: deploy.py FOLDER BOOTSTRAP STACK [PARAMETER=VALUE …]

The template is that of this repository, or of the project in the folder PROJECT (a variable).
The functions' code is the program BOOTSTRAP, which is not built here. FOLDER is an empty folder for
temporary files. If PARAMETER names a secret, VALUE is the content of the secret. The values in the
parameter Secrets are stored likewise. The environment
contains the emulator's address and credentials. Prints the stack's outputs as JSON.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import boto3
from botocore.config import Config

ROOT = Path(os.environ.get("PROJECT") or Path(__file__).resolve().parents[2])
BUCKET = "deployments"

folder, bootstrap, stack, *parameters = sys.argv[1:]
folder = Path(folder)


def code():
    program, archive = folder / "bootstrap", folder / "code.zip"
    shutil.copy(bootstrap, program)
    if shutil.which("strip"):
        # each of the four functions unpacks the program, and a debug binary is ten times as large
        subprocess.run(["strip", program], check=False)
    # little compression, because the archive is only sent over loopback
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        file.write(program, "bootstrap")
    return archive


def template():
    lines = (ROOT / "template.yaml").read_text().splitlines()
    places = [i for i, line in enumerate(lines) if line.strip().startswith("CodeUri:")]
    if len(places) != 1:
        sys.exit(f"template.yaml names its code {len(places)} times")
    lines[places[0]] = lines[places[0]].replace("CodeUri: functions", f"CodeUri: {code()}")
    file = folder / "template.yaml"
    file.write_text("\n".join(lines))
    shutil.copytree(ROOT / "infra", folder / "infra")
    return file


def named(parameter):
    """Returns a parameter in the form that CloudFormation accepts."""
    name, value = parameter.split("=", 1)
    if name == "Secrets":
        return f"Secrets={','.join(map(stored, value.split(',')))}"
    if not name.endswith(("Secret", "SecretName")):
        return parameter
    boto3.client("secretsmanager").create_secret(Name=f"of-this-test/{name}", SecretString=value)
    return f"{name}=of-this-test/{name}"


def stored(secret):
    """Stores the value of NAME=ssm:VALUE or NAME=secretsmanager:VALUE. Returns the same with the
    place instead of the value."""
    name, kind, value = re.fullmatch(r"(\w+)=(\w+):(.*)", secret).groups()
    place = f"/of-this-test/{name}"
    if kind == "ssm":
        boto3.client("ssm").put_parameter(Name=place, Value=value, Type="SecureString")
    else:
        boto3.client("secretsmanager").create_secret(Name=place, SecretString=value)
    return f"{name}={kind}:{place}"


def deploy():
    config = Config(s3={"addressing_style": "path"})
    boto3.client("s3", config=config).create_bucket(Bucket=BUCKET)
    sam = [Path(sys.executable).parent / "sam", "deploy", "--template-file", template(), "--stack-name", stack]
    sam += ["--s3-bucket", BUCKET, "--capabilities", "CAPABILITY_IAM", "--no-confirm-changeset", "--no-progressbar"]
    done = subprocess.run([*sam, "--parameter-overrides", *map(named, parameters)], cwd=folder, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        sys.exit(done.stdout)


def set_concurrency_again():
    # ministack stores the template's number as a string, with which its poller stops working, and
    # its poller invokes the newest code instead of the template's alias
    functions = boto3.client("lambda")
    for mapping in functions.list_event_source_mappings()["EventSourceMappings"]:
        most = int(mapping["ScalingConfig"]["MaximumConcurrency"])
        functions.update_event_source_mapping(UUID=mapping["UUID"], FunctionName=mapping["FunctionArn"], ScalingConfig={"MaximumConcurrency": most})


def outputs():
    described = boto3.client("cloudformation").describe_stacks(StackName=stack)["Stacks"][0]
    return {output["OutputKey"]: output["OutputValue"] for output in described["Outputs"]}


deploy()
set_concurrency_again()
print(json.dumps(outputs()))
