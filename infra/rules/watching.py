"""The rules for alarms and the dashboard, and for their description in the runbook and COST.md."""

import json
import re

from .reading import OPERATING, chapter, of_type, problems, rule, target, text

ALARM_METRIC = 0.10


def check_dashboard(template):
    for name, resource in of_type(template, "AWS::CloudWatch::Dashboard").items():
        body = re.sub(r"\$\{[^}]+\}", "1", resource["Properties"]["DashboardBody"]["Fn::Sub"])
        try:
            widgets = json.loads(body)["widgets"]
        except ValueError as error:
            problems.append(f"{name}: the body is not JSON: {error}")
            continue
        ids = [m[-1]["id"] for w in widgets for m in w["properties"].get("metrics", []) if isinstance(m[-1], dict) and "id" in m[-1]]
        for widget in widgets:
            inside = [m[-1] for m in widget["properties"].get("metrics", []) if isinstance(m[-1], dict)]
            names = {m["id"] for m in inside if "id" in m}
            for used in (re.findall(r"FILL\((\w+)", " ".join(m.get("expression", "") for m in inside))):
                rule(used in names, f"{name}: an expression uses {used}, which does not exist")
        rule(ids, f"{name}: has no computed figures")


def suffix(name):
    """Returns a name without its prefix, the name of the stack."""
    return re.sub(r"^\$\{(Watched|AWS::StackName)\}", "", name.get("Fn::Sub", "")) if isinstance(name, dict) else name


def metrics(alarm):
    """Yields the metrics of an alarm: the name of each, and its last dimension without the name of
    the stack."""
    properties = alarm["Properties"]
    for metric in [m["MetricStat"]["Metric"] for m in properties.get("Metrics", []) if "MetricStat" in m] or [properties]:
        yield metric["MetricName"], suffix(metric["Dimensions"][-1]["Value"])


def check_alarms(template, watched):
    runbook, alarms_by_metric = text(OPERATING), {}
    for name, alarm in of_type(template, "AWS::CloudWatch::Alarm").items():
        properties = alarm["Properties"]
        title = re.search(r'see the runbook, "([^"]+)"', properties["AlarmDescription"])
        rule(title and re.search(rf"^#+ {re.escape(title[1])}$", runbook, re.M), f"{name}: the runbook says nothing about it")
        # the runbook has one name for the alarms of all workers of workers.toml
        own = re.sub(r"-for-.+-(queue-age|errors|throttled)$", r"-for-WORKER-\1", suffix(properties["AlarmName"]))
        rule(title and f"`{own}`" in chapter(OPERATING, title[1]), f"{name}: its chapter of the runbook does not name {own}")
        procedure = chapter(OPERATING, title[1]) if title else ""
        for part in ("- **Meaning**", "- **Look at**", "- **Do**", "- **Over** when", "```sh\n"):
            rule(part in procedure, f"{OPERATING}: {title and title[1]} has no {part.strip()}")
        rule("AlarmActions" in properties, f"{name}: has no action")
        listed = properties.get("Metrics", [])
        names = {m["Id"] for m in listed}
        for metric in listed:
            for used in re.findall(r"FILL\((\w+)", metric.get("Expression", "")):
                rule(used in names, f"{name}: its expression uses {used}, which does not exist")
        for metric, of in metrics(alarm):
            alarms_by_metric.setdefault((metric, of), []).append(properties)
    for own in re.findall(r"`(-[a-z-]+)`", chapter(OPERATING, "Alarms") + "".join(
            chapter(OPERATING, title) for title in re.findall(r"^### (.+)$", runbook, re.M))):
        all_names = [suffix(alarm["Properties"]["AlarmName"]) for alarm in of_type(template, "AWS::CloudWatch::Alarm").values()]
        rule(own in all_names, f"{OPERATING}: there is no alarm {own}")
    check_coverage(watched, alarms_by_metric)


def check_coverage(watched, alarms_by_metric):
    """There must be alarms for failed or throttled functions, stalled queues and dead letters."""
    for name, function in of_type(watched, "AWS::Serverless::Function").items():
        own = suffix(function["Properties"]["FunctionName"])
        rule(("Errors", own) in alarms_by_metric, f"{name}: may fail without an alarm")
        throttled = alarms_by_metric.get(("Throttles", own), [])
        rule(throttled and throttled[0]["Threshold"] == 0, f"{name}: may be throttled without an alarm")
    for name, queue in of_type(watched, "AWS::SQS::Queue").items():
        own, dead = suffix(queue["Properties"]["QueueName"]), "RedrivePolicy" not in queue["Properties"]
        metric = "ApproximateNumberOfMessagesVisible" if dead else "ApproximateAgeOfOldestMessage"
        found = alarms_by_metric.get((metric, own), [])
        rule(found, f"{name}: {'dead letters arrive' if dead else 'it may stall'} without an alarm")
        rule(not dead or all(alarm["Threshold"] == 0 for alarm in found), f"{name}: the first dead letter raises no alarm")


def check_price(template):
    """COST.md must state the price of the alarms, which depends on how many metrics they have."""
    every = of_type(template, "AWS::CloudWatch::Alarm")
    listed = {name: alarm for name, alarm in every.items() if name.startswith("For")}
    workers = sum(name.endswith("ThrottlesAlarm") for name in listed)
    base = {name: alarm for name, alarm in every.items() if name not in listed}
    for label, counted, number in [("of the stack", base, 1), ("of each worker of `workers.toml`", listed, workers)]:
        if not number:
            continue
        watched_metrics = sum(len(list(metrics(alarm))) for alarm in counted.values()) // number
        row = f"| {len(counted) // number} alarms on {watched_metrics} metrics, {label} | ${watched_metrics * ALARM_METRIC:.2f} |"
        rule(row in text("infra/COST.md"), f"infra/COST.md: lacks, or differs: {row}")
