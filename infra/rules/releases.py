"""The rules for releases: versions of functions, the alias that receives the work, and gradual
deployments."""

import json

from .reading import by_condition, invoked, of_type, rule, target

KEPT = {"DeletionPolicy": "Retain", "UpdateReplacePolicy": "Retain"}
# what invokes a function, and the property that names the function
TRIGGERS = {"AWS::Lambda::EventSourceMapping": "FunctionName", "AWS::Lambda::Permission": "FunctionName",
            "AWS::ApiGatewayV2::Integration": "IntegrationUri"}
# CodeDeploy looks at no more
MOST_ALARMS = 10


def check_releases(template, watched):
    variables = template["Globals"]["Function"]["Environment"]["Variables"]
    rule(variables.get("STEPLADDER_RELEASE") == {"Ref": "Release"}, "Globals: a release need not change a function, so Lambda publishes nothing")
    versions = {target(v["Properties"]["FunctionName"]): (name, v) for name, v in of_type(template, "AWS::Lambda::Version").items()}
    aliases = {target(a["Properties"]["FunctionName"]): a for a in of_type(template, "AWS::Lambda::Alias").values()}
    for name in of_type(template, "AWS::Serverless::Function"):
        version_name, version = versions.get(name, (None, {"Properties": {}}))
        rule(version["Properties"].get("Description") == {"Ref": "Release"}, f"{name}: a release publishes no version of it")
        rule(KEPT.items() <= version.items(), f"{name}: the versions of earlier releases are deleted, so there is no way back")
        alias = aliases.get(name, {"Properties": {}})
        rule(alias["Properties"].get("Name") == "live" and target(alias["Properties"].get("FunctionVersion")) == version_name,
             f"{name}: the alias live is not the version of the release")
        check_rollout(template, watched, name, alias)
    check_triggers(template)


def check_rollout(template, watched, name, alias):
    update = by_condition(alias.get("UpdatePolicy", {}).get("CodeDeployLambdaAliasUpdate"), "IsGradual")
    groups = of_type(template, "AWS::CodeDeploy::DeploymentGroup")
    group = groups.get(target((update[0] or {}).get("DeploymentGroupName")), {}).get("Properties")
    rule(group and update[1] == {"Ref": "AWS::NoValue"}, f"{name}: does not follow Rollout")
    if not group:
        return
    rule("${Rollout}" in group["DeploymentConfigName"]["Fn::Sub"], f"{name}: does not follow Rollout")
    rule(target(group["ServiceRoleArn"]) == "DeploymentsRole", f"{name}: CodeDeploy has another role")
    rule("DEPLOYMENT_STOP_ON_ALARM" in group["AutoRollbackConfiguration"]["Events"], f"{name}: an alarm does not take a release back")
    alarms = (by_condition(group.get("AlarmConfiguration"), "HasWatch")[0] or {}).get("Alarms", [])
    names = {alarm["Name"]["Fn::Sub"].replace("AWS::StackName", "Watched") for alarm in alarms}
    known = {alarm["Properties"]["AlarmName"]["Fn::Sub"] for alarm in of_type(watched, "AWS::CloudWatch::Alarm").values()}
    rule(names <= known and len(names) <= MOST_ALARMS, f"{name}: a release waits for alarms that do not exist, or for too many")
    for needed in ("${Watched}-failure-rate", "${Watched}-permanent-errors", "${Watched}-worker-errors"):
        rule(needed in names, f"{name}: {needed[10:]} does not stop a release")


def check_triggers(template):
    for kind, used in TRIGGERS.items():
        for name, trigger in of_type(template, kind).items():
            rule(invoked(trigger["Properties"][used]), f"{name}: invokes the newest code, whatever release is live")
    for name, events in of_type(template, "AWS::Events::Rule").items():
        rule(all(invoked(each["Arn"]) for each in events["Properties"]["Targets"]), f"{name}: invokes the newest code, whatever release is live")
    for name, config in of_type(template, "AWS::Lambda::EventInvokeConfig").items():
        alias, newest = by_condition(config["Properties"]["Qualifier"], "HasRelease")
        rule("SweepAlias" in json.dumps(alias) and newest == "$LATEST", f"{name}: is not that of the live release")
    for name, function in of_type(template, "AWS::Serverless::Function").items():
        rule("Events" not in function["Properties"], f"{name}: its events invoke the newest code, whatever release is live")
