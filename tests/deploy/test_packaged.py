"""`serverless.yml`, packaged by `osls` without any credentials: what would be deployed."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from rewake.stores.dynamodb.definition import bucket_properties, definition
from tests.deploy.projects import made
from tests.docs.markdown import ROOT
from tests.support import osls
from tests.support.policies import grants

Template = Mapping[str, Any]

FUNCTIONS = {"http": 29, "worker": 900, "sweep": 60}
"""With the seconds that each may take."""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a package of its own beside it, packaged."""
    project = made(tmp_path_factory.mktemp("packaged") / "project")
    (project / "lib").mkdir()
    (project / "lib" / "needed.py").touch()
    (project / ".env").write_text("SECRET=1")
    osls.package(project)
    return project


@pytest.fixture(scope="module")
def template(project: Path) -> Template:
    """Its template."""
    return osls.template_of(project)


def properties(template: Template, name: str) -> dict[str, Any]:
    """What a resource of the template is set up with."""
    found: dict[str, Any] = template["Resources"][name]["Properties"]
    return found


def of_type(template: Template, kind: str) -> dict[str, dict[str, Any]]:
    """The resources of one type, by name."""
    return {
        name: each for name, each in template["Resources"].items() if each["Type"] == f"AWS::{kind}"
    }


@pytest.mark.long
def test_it_is_clean_and_has_what_functions_need(project: Path) -> None:
    """cfn-lint finds nothing; the archive has the app, its handler and packages, and no secret."""
    assert osls.lint(osls.template_file(project)) == ""
    with zipfile.ZipFile(project / ".serverless" / "my-app.zip") as archive:
        assert set(archive.namelist()) == {"app.py", "handlers/aws_lambda.py", "lib/needed.py"}


def test_what_is_kept_is_what_the_runtime_keeps(template: Template) -> None:
    """Table and bucket are those of `rewake tables create`, and the archive is one more; they and
    the secret survive.
    """
    wanted = definition("")
    del wanted["TableName"]  # so that a stack can be made anew beside what it left
    backups = {"PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": True}}
    assert properties(template, "Table") == {**wanted, **backups}
    assert properties(template, "Values") == bucket_properties()
    assert properties(template, "Archive") == bucket_properties()
    for name in ("Table", "Values", "Archive", "Secret"):
        assert template["Resources"][name]["DeletionPolicy"] == "Retain"
        assert template["Resources"][name]["UpdateReplacePolicy"] == "Retain"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_each_function_has_its_own_role_log_and_alarms(template: Template, name: str) -> None:
    """What one may do, the others need not be able to; its log is not kept for ever."""
    function = properties(template, f"{name.title()}LambdaFunction")
    assert function["Role"] == {"Fn::GetAtt": [f"{name.title()}Role", "Arn"]}
    assert function["Timeout"] == FUNCTIONS[name]
    assert properties(template, f"{name.title()}LogGroup")["RetentionInDays"] == 30
    watched = {
        each["Properties"]["MetricName"]
        for each in of_type(template, "CloudWatch::Alarm").values()
        if each["Properties"]["Dimensions"][0]["Value"] == {"Ref": f"{name.title()}LambdaFunction"}
    }
    assert {"Errors", "Throttles"} <= watched
    assert {action.partition("*")[0] for action, _ in grants(template, f"{name.title()}Role")}


def test_no_role_may_do_anything_to_everything(template: Template) -> None:
    """No action is a pattern, and no resource is open but below a bucket."""
    for name in FUNCTIONS:
        for action, resource in grants(template, f"{name.title()}Role"):
            assert "*" not in action, name
            assert "*" not in resource or resource in ("Values/*", "Archive/*"), name


def test_who_removes_runs_archives_them(template: Template) -> None:
    """Requests and sweeps may do there what the policy says, and `worker` nothing."""
    policy = json.loads((ROOT / "infra" / "iam" / "archive.json").read_text())["Statement"]
    wanted = {action for statement in policy for action in statement["Action"]}
    for name in FUNCTIONS:
        found = grants(template, f"{name.title()}Role")
        archive = {action for action, place in found if place.startswith("Archive")}
        assert archive == (set() if name == "worker" else wanted), name


def test_the_queue_fits_its_function(template: Template) -> None:
    """A message is not seen by others while a function has it, and is not given up too soon."""
    queue = properties(template, "Messages")
    assert queue["VisibilityTimeout"] >= 6 * FUNCTIONS["worker"]
    assert queue["RedrivePolicy"]["deadLetterTargetArn"] == {"Fn::GetAtt": ["DeadLetters", "Arn"]}
    [source] = of_type(template, "Lambda::EventSourceMapping").values()
    assert source["Properties"]["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    # Else AWS takes a workflow for a mistake, and stops it after some 16 messages.
    assert properties(template, "WorkerLambdaFunction")["RecursiveLoop"] == "Allow"
    watched = {
        (each["Properties"]["MetricName"], str(each["Properties"]["Dimensions"][0]["Value"]))
        for each in of_type(template, "CloudWatch::Alarm").values()
    }
    assert {
        ("ApproximateNumberOfMessagesVisible", "{'Fn::GetAtt': ['DeadLetters', 'QueueName']}"),
        ("ApproximateAgeOfOldestMessage", "{'Fn::GetAtt': ['Messages', 'QueueName']}"),
    } <= watched


def test_something_sweeps_once_a_minute(template: Template) -> None:
    """A schedule invokes one function, may do nothing else, and tries no sweep again."""
    schedule = properties(template, "EveryMinute")
    assert schedule["ScheduleExpression"] == "rate(1 minute)"
    target = schedule["Target"]
    assert target["RetryPolicy"]["MaximumRetryAttempts"] == 0
    assert target["Arn"] == {"Fn::GetAtt": ["SweepLambdaFunction", "Arn"]}
    assert target["RoleArn"] == {"Fn::GetAtt": ["ScheduleRole", "Arn"]}
    assert grants(template, "ScheduleRole") == {("lambda:InvokeFunction", "SweepLambdaFunction")}
    [asynchronous] = of_type(template, "Lambda::EventInvokeConfig").values()
    assert asynchronous["Properties"]["MaximumRetryAttempts"] == 0


def test_the_secret_is_in_no_file(template: Template) -> None:
    """The stack makes it, and the template names it only."""
    environment = properties(template, "HttpLambdaFunction")["Environment"]["Variables"]
    assert environment["REWAKE_SECRET"] == {
        "Fn::Sub": "{{resolve:secretsmanager:${Secret}:SecretString}}"
    }


def test_parameters_change_it(tmp_path: Path) -> None:
    """Memory, time-outs and a Function URL are parameters of the command."""
    project = made(tmp_path / "project")
    given = {"memory": "1024", "timeout": "60", "visibility": "360", "functionUrl": "true"}
    template = osls.package(project, **given)
    assert properties(template, "WorkerLambdaFunction")["MemorySize"] == 1024
    assert properties(template, "WorkerLambdaFunction")["Timeout"] == 60
    assert int(properties(template, "Messages")["VisibilityTimeout"]) == 360
    [url] = of_type(template, "Lambda::Url").values()
    assert url["Properties"]["TargetFunctionArn"] == {"Fn::GetAtt": ["HttpLambdaFunction", "Arn"]}
    assert osls.lint(osls.template_file(project)) == ""
