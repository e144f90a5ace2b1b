"""Alarms, the dashboard, and what the runbook and COST.md say of them."""

import json
import re

from .reading import OPERATING, chapter, of_type, problems, rule, target, text

ALARM_METRIC = 0.10


def dashboard(template):
    for name, resource in of_type(template, "AWS::CloudWatch::Dashboard").items():
        body = re.sub(r"\$\{[^}]+\}", "1", resource["Properties"]["DashboardBody"]["Fn::Sub"])
        try:
            widgets = json.loads(body)["widgets"]
        except ValueError as error:
            problems.append(f"{name}: the body is no JSON: {error}")
            continue
        ids = [m[-1]["id"] for w in widgets for m in w["properties"].get("metrics", []) if isinstance(m[-1], dict) and "id" in m[-1]]
        for widget in widgets:
            inside = [m[-1] for m in widget["properties"].get("metrics", []) if isinstance(m[-1], dict)]
            names = {m["id"] for m in inside if "id" in m}
            for used in (re.findall(r"FILL\((\w+)", " ".join(m.get("expression", "") for m in inside))):
                rule(used in names, f"{name}: an expression uses {used}, which is not there")
        rule(ids, f"{name}: has no figures that are worked out")


def suffix(name):
    """What a name adds to the stack's."""
    return re.sub(r"^\$\{(Watched|AWS::StackName)\}", "", name.get("Fn::Sub", "")) if isinstance(name, dict) else name


def metrics(alarm):
    """The metrics that an alarm looks at: name, and the value of its last dimension without the stack's name."""
    properties = alarm["Properties"]
    for metric in [m["MetricStat"]["Metric"] for m in properties.get("Metrics", []) if "MetricStat" in m] or [properties]:
        yield metric["MetricName"], suffix(metric["Dimensions"][-1]["Value"])


def alarms(template, watched):
    runbook, rung = text(OPERATING), {}
    for name, alarm in of_type(template, "AWS::CloudWatch::Alarm").items():
        properties = alarm["Properties"]
        title = re.search(r'see the runbook, "([^"]+)"', properties["AlarmDescription"])
        rule(title and re.search(rf"^#+ {re.escape(title[1])}$", runbook, re.M), f"{name}: the runbook says nothing about it")
        own = suffix(properties["AlarmName"])
        rule(title and f"`{own}`" in chapter(OPERATING, title[1]), f"{name}: its chapter of the runbook does not name {own}")
        rule("AlarmActions" in properties, f"{name}: tells nobody")
        listed = properties.get("Metrics", [])
        names = {m["Id"] for m in listed}
        for metric in listed:
            for used in re.findall(r"FILL\((\w+)", metric.get("Expression", "")):
                rule(used in names, f"{name}: its expression uses {used}, which is not there")
        for metric, of in metrics(alarm):
            rung.setdefault((metric, of), []).append(properties)
    for own in re.findall(r"`(-[a-z-]+)`", chapter(OPERATING, "Alarms") + "".join(
            chapter(OPERATING, title) for title in re.findall(r"^### (.+)$", runbook, re.M))):
        all_names = [suffix(alarm["Properties"]["AlarmName"]) for alarm in of_type(template, "AWS::CloudWatch::Alarm").values()]
        rule(own in all_names, f"{OPERATING}: there is no alarm {own}")
    noticed(watched, rung)


def noticed(watched, rung):
    """No function errs or is throttled, no queue stands and no message dies without an alarm."""
    for name, function in of_type(watched, "AWS::Serverless::Function").items():
        own = suffix(function["Properties"]["FunctionName"])
        rule(("Errors", own) in rung, f"{name}: may err without an alarm")
        throttled = rung.get(("Throttles", own), [])
        rule(throttled and throttled[0]["Threshold"] == 0, f"{name}: may be throttled without an alarm")
    for name, queue in of_type(watched, "AWS::SQS::Queue").items():
        own, dead = suffix(queue["Properties"]["QueueName"]), "RedrivePolicy" not in queue["Properties"]
        metric = "ApproximateNumberOfMessagesVisible" if dead else "ApproximateAgeOfOldestMessage"
        rings = rung.get((metric, own), [])
        rule(rings, f"{name}: {'letters die' if dead else 'it may stand'} without an alarm")
        rule(not dead or all(alarm["Threshold"] == 0 for alarm in rings), f"{name}: the first dead letter rings nothing")


def price(template):
    """An alarm costs for each metric that it looks at."""
    every = of_type(template, "AWS::CloudWatch::Alarm")
    for label, counted in [("a function of its own", every), ("without one", {k: v for k, v in every.items() if "Condition" not in v})]:
        looked_at = sum(len(list(metrics(alarm))) for alarm in counted.values())
        row = f"| {len(counted)} alarms on {looked_at} metrics, {label} | ${looked_at * ALARM_METRIC:.2f} |"
        rule(row in text("infra/COST.md"), f"infra/COST.md: lacks, or has otherwise: {row}")
