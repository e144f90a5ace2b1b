"""Adds a second dedicated function to a copy of the templates, following the runbook's
instructions."""

import re
import textwrap

from .reading import DEPLOYING, OPERATING


def blocks(runbook):
    """Returns the YAML blocks of the runbook: the new resources, and the environment variable with
    the queue."""
    chapter = runbook.split("**A second one**", 1)[1].split("\n## ", 1)[0]
    return [textwrap.dedent(block) for block in re.findall(r"^ *```yaml\n(.*?)^ *```$", chapter, re.M | re.S)]


def resource(text, name):
    """Returns the text of a resource in a template."""
    return re.search(rf"^  {name}:\n(?:(?:    .*)?\n)*?(?=^  \S|^  #|\Z)", text, re.M)[0]


def copy_for_second(text, name):
    """Returns a copy of a resource of the dedicated function, without its condition."""
    copy = re.sub(r"    Condition: HasDedicated\n", "", resource(text, name))
    copy = copy.replace("Dedicated", "Queries").replace("worker-dedicated", "worker-queries")
    copy = copy.replace("HasQueriesRelease", "HasRelease").replace("IsGradualQueries", "IsGradual")
    return copy.replace("steps-dedicated", "steps-queries")


def add(folder):
    """Adds the second function to the templates."""
    stack, watch = folder / "template.yaml", folder / "infra/watch.yaml"
    new, variable = blocks((folder / DEPLOYING).read_text())
    text = stack.read_text()
    # the runbook lists some resources, and says that the others are copies
    function = copy_for_second(text, "DedicatedFunction")
    function = re.sub(r"      Timeout: .*\n", "      Timeout: 120\n", function)
    function = re.sub(r"      ReservedConcurrentExecutions: .*\n",
                      re.search(r"# +(ReservedConcurrentExecutions: .*\n)", new)[1].join(["      ", ""]), function)
    function = re.sub(r"          STEPLADDER_QUERIES: .*\n|          STEPLADDER_DEDICATED: .*\n", "", function)
    function = re.sub(r"STEPLADDER_WORKER_TIMEOUT: .*\n", "STEPLADDER_WORKER_TIMEOUT: '120'\n", function)
    function = function.replace("!Ref QueriesMemory", "1024")
    role = copy_for_second(text, "DedicatedRole").replace("[!GetAtt StepsQueue.Arn, !GetAtt QueriesQueue.Arn]",
                                                 "[!GetAtt StepsQueue.Arn, !GetAtt DedicatedQueue.Arn, !GetAtt QueriesQueue.Arn]")
    copies = ("DedicatedLogs", "DedicatedVersion", "DedicatedAlias", "DedicatedDeployments")
    others = role + "".join(copy_for_second(text, name) for name in copies)
    resources = textwrap.indent(new.split("QueriesFunction:", 1)[0], "  ") + function + others
    # changes the existing resources that refer to dedicated functions
    text = re.sub(r"        STEPLADDER_DEDICATED: !If\n(?: {10}.*\n)+", textwrap.indent(variable, " " * 8), text, count=1)
    text = re.sub(r"          STEPLADDER_DEDICATED: !Sub .*\n", "", text)
    sends = r"(Sid: SendWakes\n(?: {16}.*\n)+? {18}- !GetAtt DedicatedQueue.Arn\n)"
    text = re.sub(sends, r"\1                  - !GetAtt QueriesQueue.Arn\n", text)
    text = text.replace("Resource: [!GetAtt StepsQueue.Arn, !GetAtt DedicatedQueue.Arn]",
                        "Resource: [!GetAtt StepsQueue.Arn, !GetAtt DedicatedQueue.Arn, !GetAtt QueriesQueue.Arn]")
    arn = re.search(r" +- !Sub 'arn:.*-steps-dedicated'\n", text)[0]
    text = text.replace(arn, arn + arn.replace("dedicated", "queries"))
    stack.write_text(text.replace("\nOutputs:\n", "\n" + resources + "\nOutputs:\n"))

    text = watch.read_text()
    throttles = re.search(r"        - Id: dedicated\n(?:          .*\n)+", text)[0]
    text = text.replace(throttles, throttles + throttles.replace("dedicated", "queries"))
    text = text.replace("FILL(dedicated, 0)", "FILL(dedicated, 0), FILL(queries, 0)")
    alarms = "".join(copy_for_second(text, name) for name in ("DedicatedQueueAgeAlarm", "DedicatedErrorsAlarm"))
    watch.write_text(text.replace("Resources:\n", "Resources:\n" + alarms, 1))


def document(folder):
    """Adds the new alarms and their price to the runbook and COST.md."""
    runbook, costs = folder / OPERATING, folder / "infra/COST.md"
    text = runbook.read_text()
    for name in ("-steps-dedicated-queue-age", "-worker-dedicated-errors"):
        text = text.replace(f"`{name}`", f"`{name}`, `{name.replace('dedicated', 'queries')}`", 1)
    runbook.write_text(text)

    def two_more(row):
        alarms, metrics = int(row[1]) + 2, int(row[2]) + 3
        return f"| {alarms} alarms on {metrics} metrics, {row[3]} | ${metrics * 0.10:.2f} |"
    costs.write_text(re.sub(r"\| (\d+) alarms on (\d+) metrics, (.*?) \| \S+ \|", two_more, costs.read_text()))
