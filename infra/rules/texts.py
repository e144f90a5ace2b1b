"""Checks that the documents agree with the templates, and that no file contains account numbers or
keys."""

import re

from .reading import DEPLOYING, OPERATING, ROOT, chapter, of_type, rule, text

WORDS = ["no", "one", "two", "three", "four", "five"]


def check_parameters(template):
    """The table of parameters in the documents must list the parameters of the template."""
    table = chapter(DEPLOYING, "Parameters")
    rows = "\n".join(line.split("|")[1] for line in table.splitlines() if line.startswith("|"))
    named = set(re.findall(r"`([A-Z]\w+)`", rows))
    for name in template["Parameters"]:
        covered = name in named or name in table
        rule(covered, f"{DEPLOYING}: says nothing of the parameter {name}")
    for name in named:
        rule(name in template["Parameters"], f"{DEPLOYING}: there is no parameter {name}")
    groups = template["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
    grouped = [name for group in groups for name in group["Parameters"]]
    rule(sorted(grouped) == sorted(template["Parameters"]), "template.yaml: a parameter is in no group, or in two")


def check_defaults(template):
    """The defaults in the documented table of parameters must be those of the template."""
    for line in chapter(DEPLOYING, "Parameters").splitlines():
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        names = re.findall(r"`([A-Z]\w+)`", cells[0]) if cells else []
        known = [str(template["Parameters"].get(name, {}).get("Default", "")) for name in names]
        known = [default for default in known if default]
        documented = re.findall(r"\d+|(?<=`)\w+(?=`)", cells[1]) if names else []
        rule(documented == known, f"{DEPLOYING}: the defaults of {', '.join(names)} are {known}, not {documented}")


def check_figures(template, watched):
    """The figures in the runbook must be those that follow from the templates."""
    runbook = " ".join(text(OPERATING).split())
    queues, parameters = of_type(template, "AWS::SQS::Queue"), template["Parameters"]
    alarms = {name: alarm["Properties"] for name, alarm in of_type(watched, "AWS::CloudWatch::Alarm").items()}

    def receives(queue):
        return queues[queue]["Properties"]["RedrivePolicy"]["maxReceiveCount"]

    def throttled(queue, parameter, attribute):
        default = str(parameters[parameter]["Default"])
        return template["Mappings"]["Visibility"][default][attribute] * receives(queue) // 60

    def days(queue):
        return queues[queue]["Properties"]["MessageRetentionPeriod"] // 86_400

    throttles, errors = alarms["LambdaThrottleAlarm"], alarms["WorkerErrorsAlarm"]
    silent, failures = alarms["SweepSilentAlarm"], alarms["FailureRateAlarm"]
    steps, events = alarms["StepsQueueAgeAlarm"], alarms["EventsQueueAgeAlarm"]
    sentences = [
        f"A message was received {receives('StepsQueue')} times without success.",
        f"Each becomes a dead letter after {receives('StepsQueue')} receives",
        f"uses up one of the {receives('EventsQueue')} receives of its message",
        f"Wakes have {throttled('StepsQueue', 'WorkerTimeout', 'HalfAMinuteMore')} minutes at the default timeout",
        f"events {throttled('EventsQueue', 'IngestTimeout', 'SixTimes')} minutes",
        f"Queues keep messages for {WORDS[days('StepsQueue')]} days",
        f"set it aside and keeps it for {days('StepsDeadLetters')} days",
        f"in {WORDS[throttles['DatapointsToAlarm']]} of {WORDS[throttles['EvaluationPeriods']]} minutes",
        f"At least {WORDS[errors['Threshold']]} invocations ended with an error within {WORDS[errors['Period'] // 60]} minutes.",
        f"No sweep ran for {WORDS[silent['Period'] // 60]} minutes.",
        f"In {WORDS[failures['EvaluationPeriods']]} periods of five minutes, more than `FailureRatePercent`",
        f"longer than {parameters['StepsQueueAge']['Default'] // 60} minutes (steps) or {events['Threshold'] // 60} minutes "
        f"(events), for {steps['EvaluationPeriods']} minutes in a row.",
    ]
    for sentence in sentences:
        rule(sentence in runbook, f"{OPERATING}: lacks this sentence, or says otherwise: {sentence}")


def check_commands():
    """Documented commands must not set parameters, because the next deployment would use those of
    samconfig.toml."""
    for document in ("README.md", DEPLOYING, OPERATING):
        for block in re.findall(r"^ *```sh\n(.*?)^ *```$", text(document), re.M | re.S):
            # the stack of deployer.yaml is deployed once, and not from samconfig.toml
            lines = [line for line in block.splitlines() if "infra/deployer.yaml" not in line]
            rule("--parameter-overrides" not in "\n".join(lines), f"{document}: a command sets parameters that the next deployment resets")


def check_literals():
    files = [ROOT / "template.yaml", ROOT / "samconfig.toml", *(ROOT / "infra").rglob("*")]
    for path in (f for f in files if f.is_file() and "__pycache__" not in f.parts):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            where = f"{path.relative_to(ROOT)}:{number}"
            rule(not re.search(r"(?<![\d.])\d{12}(?!\d)", line), f"{where}: looks like an account number")
            rule(not re.search(r"\b(AKIA|ASIA)[A-Z0-9]{16}\b", line), f"{where}: looks like an access key")


def check_build():
    manifest = text("Cargo.toml").split("[profile.release]", 1)[-1].split("\n[", 1)[0]
    rule(re.search(r'^panic = "unwind"', manifest, re.M), "Cargo.toml: cargo lambda will choose panic = abort")
    options = text("functions/CargoLambda.toml")
    rule("no_default_features = true" in options and '"lambda"' in options, "functions/CargoLambda.toml: builds other features")
