"""Checks that the timeout, memory and batch size of ingest fit together, so that each invocation
makes progress."""

import re

from .reading import as_list, invoked, of_type, rule, target, text

# The memory that ingest needs: a base in MB, and bytes per byte of the messages in a batch. Both
# figures are twice what an unoptimised build needed: 38 MB without messages, and 63 MB for 6 MB of
# messages, whose events had 60 or 190,000 bytes.
INGEST_BASE_MB, INGEST_BYTES_PER_BYTE = 60, 8
# the maximum size of a batch in MB, whatever its number of messages
PAYLOAD_MB = 6


def minimum(template, value):
    """Returns the smallest number that `value` can be: a number, or a reference to a parameter."""
    if isinstance(value, int):
        return value
    parameter = template["Parameters"][value["Ref"]]
    return min(parameter.get("AllowedValues") or [parameter["MinValue"]])


def constant(path, pattern):
    found = re.search(pattern, text(path))
    rule(found, f"{path}: has no {pattern}")
    return int(found[1]) if found else 0


def check_ingest(template):
    reserve = constant("orchestrator/app/src/lambda.rs", r"const RESERVE: Duration = Duration::from_secs\((\d+)\)")
    for name, function in of_type(template, "AWS::Serverless::Function").items():
        properties = function["Properties"]
        if properties["Environment"]["Variables"]["STEPLADDER_ROLE"] != "ingest":
            continue
        rule(minimum(template, properties["Timeout"]) >= 10 * reserve, f"{name}: {reserve} s of its timeout are a reserve, so it is too short")
        rule(properties.get("RecursiveLoop") == "Allow",
             f"{name}: Lambda takes the rest of a message for a loop, and ends it")
        role = template["Resources"][target(properties["Role"])]["Properties"]["Policies"][0]["PolicyDocument"]["Statement"]
        sends = [target(r) for s in role if "sqs:SendMessage" in as_list(s.get("Action", "")) for r in as_list(s["Resource"])]
        for mapping in of_type(template, "AWS::Lambda::EventSourceMapping").values():
            source = mapping["Properties"]
            if invoked(source["FunctionName"]) != name:
                continue
            batch = min(PAYLOAD_MB, minimum(template, source["BatchSize"]))
            needs = INGEST_BASE_MB + batch * INGEST_BYTES_PER_BYTE
            rule(minimum(template, properties["MemorySize"]) >= needs,
                 f"{name}: a batch of {batch} MB needs {needs} MB of memory")
            rule(target(source["EventSourceArn"]) in sends, f"{name}: may not send the rest of a message to its queue")
