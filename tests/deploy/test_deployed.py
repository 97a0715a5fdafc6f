"""`serverless.yml`, deployed into an emulator of AWS and used; functions sign in as their roles.

The emulator enforces their policies, and a proxy before it writes down what they ask for.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import boto3
import httpx2
import pytest
from standardwebhooks.webhooks import Webhook

from rewake.clock import SystemClock
from rewake.records import Invocation
from rewake.signing.envelopes import enveloped
from rewake.signing.secret import Secret
from rewake.signing.tokens import app_token
from tests.deploy.projects import made
from tests.support import osls
from tests.support.approving import BY_FORM, link_path, nonces_in
from tests.support.aws import SETTINGS, started
from tests.support.policies import Grant, grants
from tests.support.recorder import Recorder
from tests.support.server import bearer

T = TypeVar("T")

HOOK = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
NOTE = "x" * 60_000
"""So large that it is kept in the bucket."""
FUNCTIONS = ("http", "worker", "sweep")
PATIENCE = 180.0
OF_LAMBDA = {f"logs:{action}" for action in ("CreateLogStream", "PutLogEvents")} | {
    f"sqs:{action}" for action in ("ReceiveMessage", "DeleteMessage", "GetQueueAttributes")
}
"""What AWS Lambda itself does with the role of a function: its log, and the queue of `worker`."""
RARE: dict[str, set[str | Grant]] = {
    "worker": {
        "s3:ListBucket",  # so that a missing value is told as missing
        # What a limit, a label, a cached task or a lap leaves (`test_roles.py`).
        *("dynamodb:BatchWriteItem", "dynamodb:DeleteItem", "s3:DeleteObject"),
    },
    # A sweep that hands over what was lost may go on with the run.
    "sweep": {
        *("dynamodb:BatchGetItem", "dynamodb:PutItem", Grant("s3:PutObject", "Values/*")),
        # What comes late to the archive of a run that was erased is looked for later.
        *(Grant("s3:ListBucket", "Archive"), Grant("s3:DeleteObject", "Archive/*")),
        # This app has no alerts (`test_roles.py`).
        Grant("sqs:ChangeMessageVisibility", "DeadLetters"),
        Grant("sqs:ReceiveMessage", "DeadLetters"),
    },
}
"""What a function needs for what does not happen here."""


class Deployed:
    """The functions, by their address, and what they were made of."""

    def __init__(self, project: Path, endpoint: str, recorder: Recorder) -> None:
        self._given = {
            "endpoint_url": endpoint,
            "region_name": SETTINGS["AWS_REGION"],
            "aws_access_key_id": "test",
            "aws_secret_access_key": "test",
        }
        self.recorder = recorder
        self.template = osls.template_of(project)
        stack = self.of("cloudformation").describe_stack_resources(StackName="my-app-dev")
        self.names: dict[str, str] = {
            each["LogicalResourceId"]: each["PhysicalResourceId"]
            for each in stack["StackResources"]
        }
        text = self.of("secretsmanager").get_secret_value(SecretId=self.names["Secret"])
        self.secret = Secret(text["SecretString"])
        self.client = httpx2.Client(
            base_url=endpoint,
            headers={
                "Host": f"{self.names['HttpApi']}.execute-api.localhost",
                **bearer(app_token(self.secret)),
            },
            timeout=60,
        )

    def of(self, service: str) -> Any:
        """A client of a service, with all permissions."""
        return boto3.client(service, **self._given)

    def send(self, body: str) -> None:
        """Put a message into the queue."""
        self.of("sqs").send_message(QueueUrl=self.names["Messages"], MessageBody=body)

    def eventually(self, found: Callable[[], T | None], what: str) -> T:
        """What is found once there is something."""
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            if got := found():
                return got
            time.sleep(0.2)
        raise AssertionError(f"never: {what}\n{self._told()}")

    def _told(self) -> str:
        """What was denied, and what the functions logged."""
        lines = [str(call) for call in self.recorder.calls if call.status == 403]
        for function in FUNCTIONS:
            group = f"/aws/lambda/my-app-{osls.STAGE}-{function}"
            found = self.of("logs").filter_log_events(logGroupName=group)["events"]
            lines += [f"{function}: {each['message'].strip()}" for each in found]
        return "\n".join(lines)

    def lose(self) -> bool:
        """Take a message out of the queue, if there is one."""
        sqs, queue = self.of("sqs"), self.names["Messages"]
        found = sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=1).get("Messages", ())
        for each in found:
            sqs.delete_message(QueueUrl=queue, ReceiptHandle=each["ReceiptHandle"])
        return bool(found)

    def take_messages(self, does: bool) -> None:
        """Let the queue bring messages to `worker`, or not."""
        lambdas = self.of("lambda")
        [source] = lambdas.list_event_source_mappings()["EventSourceMappings"]
        lambdas.update_event_source_mapping(UUID=source["UUID"], Enabled=does)

    def sweep(self) -> None:
        """What the schedule does once a minute."""
        target = self.template["Resources"]["EveryMinute"]["Properties"]["Target"]
        name = self.names["SweepLambdaFunction"]
        answer = self.of("lambda").invoke(FunctionName=name, Payload=target["Input"])
        assert "FunctionError" not in answer, answer["Payload"].read()

    def asked(self, function: str) -> set[tuple[str, str]]:
        """What a function asked for: actions, and on what, by its name in the template."""
        who = self._key(f"{function.title()}LambdaFunction")
        logical = {physical.split("/")[-1]: name for name, physical in self.names.items()}
        found = set()
        for call in self.recorder.calls:
            assert call.status != 403, call
            if call.who == who:
                name, slash, rest = call.resource.partition("/")
                found.add((call.action, f"{logical[name]}{slash}{rest}"))
        return found

    def allow_batches(self) -> None:
        """Tell the emulator what AWS knows: who may do it to a message may do it to ten."""
        iam = self.of("iam")
        for function in FUNCTIONS:
            role = f"{function.title()}Role"
            statements = [
                {
                    "Effect": "Allow",
                    "Action": f"{grant.action}Batch",
                    "Resource": f"arn:aws:sqs:*:*:{self.names[grant.resource].split('/')[-1]}",
                }
                for grant in grants(self.template, role)
                if grant.action.startswith("sqs:")
            ]
            policy = {"Version": "2012-10-17", "Statement": statements}
            text = json.dumps(policy)
            iam.put_role_policy(RoleName=self.names[role], PolicyName="b", PolicyDocument=text)

    def _key(self, name: str) -> str:
        """The id of the access key that the emulator gives a function."""
        about = self.of("lambda").get_function_configuration(FunctionName=self.names[name])
        of = f"{about['FunctionArn']}:{about['Role']}"
        return f"ASIA{hashlib.sha256(of.encode()).hexdigest()[:16].upper()}"


@pytest.fixture
def deployed(tmp_path: Path, whole: bool) -> Iterator[Deployed]:
    """A project as `rewake init` makes it, with an app of ours, deployed."""
    if not whole:
        pytest.skip("it takes minutes: it is carried out with --whole")
    project = made(tmp_path / "project")
    shutil.copy(Path(__file__).with_name("app.py"), project / "app.py")
    file = project / "serverless.yml"
    text = file.read_text()
    file.write_text(
        text.replace("  environment:\n", f"  environment:\n    ORDERS_SECRET: {HOOK}\n")
    )
    osls.vendor(project)
    with Recorder() as recorder:
        recorder.target = endpoint = started(AUTH="true", AWS_ENDPOINT_URL=recorder.url)
        osls.deploy(project, endpoint)
        found = Deployed(project, endpoint, recorder)
        found.allow_batches()
        yield found
        found.client.close()


@pytest.mark.timeout(900)
def test_what_is_deployed_is_used_and_may_do_no_more_than_that(deployed: Deployed) -> None:
    """A webhook starts a run, which sleeps, is approved by its link, and ends; messages that are
    lost, early or not understood do no harm; what has ended is removed. Each function may do what
    it did, and was denied nothing.
    """
    run = deliver(deployed)
    approve(deployed, run)
    result = deployed.client.get(f"/v1/runs/{run}/result", params={"wait": 20}).json()["result"]
    assert result == {"squares": [n * n for n in range(12)], "by": "ada@example.com", "note": NOTE}
    lose_a_message(deployed, deployed.sweep)
    lose_a_message(deployed, lambda: deployed.client.post("/v1/sweep").raise_for_status())
    come_too_early(deployed, run)
    park_and_send_again(deployed)
    erase(deployed, run)
    purge_and_erase(deployed)
    for function in FUNCTIONS:
        allowed = grants(deployed.template, f"{function.title()}Role")
        asked = deployed.asked(function)
        assert asked
        denied = {each for each in asked if not any(grant.covers(*each) for grant in allowed)}
        assert not denied, function
        unused = {grant for grant in allowed if not any(grant.covers(*each) for each in asked)}
        of_lambda = (
            OF_LAMBDA if function == "worker" else {"logs:CreateLogStream", "logs:PutLogEvents"}
        )
        rare = of_lambda | RARE.get(function, set())
        assert not {each for each in unused if not {each, each.action} & rare}, function


def deliver(deployed: Deployed) -> str:
    """A provider's delivery, signed, and the run that it starts."""
    body = json.dumps({"numbers": list(range(12)), "note": NOTE})
    name, at = f"msg_{uuid4().hex}", datetime.now(UTC)
    answer = deployed.client.post(
        "/hooks/orders",
        content=body,
        headers={
            "Content-Type": "application/json",
            "webhook-id": name,
            "webhook-timestamp": str(int(at.timestamp())),
            "webhook-signature": Webhook(HOOK).sign(name, at, body),
        },
    )
    assert answer.status_code < 300, answer.text
    run: str = answer.json()["id"]
    return run


def approve(deployed: Deployed, run: str) -> None:
    """Ada opens her link once the run has slept, and says yes."""
    client = deployed.client
    [asked] = deployed.eventually(
        lambda: client.get(f"/v1/runs/{run}").json()["approvals"], "it asks"
    )
    about = {"run": run, "key": asked["key"], "approver": "ada@example.com"}
    link = client.post("/v1/links", json=about).json()["url"]
    address = deployed.template["Outputs"]["Address"]["Value"]["Fn::Sub"].split("$")[0]
    assert link.startswith(f"{address}{deployed.names['HttpApi']}."), link
    stranger = {"Authorization": ""}
    page = client.get(link_path(link), headers={"Accept": "text/html", **stranger})
    [nonce] = nonces_in(page.text)
    form = {"nonce": nonce, "decision": "approve"}
    said = client.post(link_path(link), data=form, headers={**BY_FORM, **stranger})
    assert said.status_code < 400, said.text


def lose_a_message(deployed: Deployed, sweep: Callable[[], Any]) -> None:
    """A sweep finds the task whose message is lost, and later archives and removes the run, which
    has ended.
    """
    client = deployed.client
    run = client.post("/v1/workflows/parcel/runs", json={"note": NOTE}).json()["id"]
    deployed.eventually(
        lambda: "no box" in client.get(f"/v1/runs/{run}/history").text, "it fails once"
    )
    deployed.take_messages(False)
    deployed.eventually(deployed.lose, "its second try is sent")
    deployed.take_messages(True)

    def is_gone() -> bool:
        sweep()
        return client.get(f"/v1/runs/{run}").status_code == 404

    deployed.eventually(is_gone, "it ends all the same, and is removed")
    assert len(archived(deployed, run)) == 1


def come_too_early(deployed: Deployed, run: str) -> None:
    """A message whose time has not come goes back into the queue."""
    now = SystemClock().now()
    deployed.send(enveloped(deployed.secret, Invocation(run, not_before=now + 4_000), now))
    hidden = ("sqs:ChangeMessageVisibility", "Messages")
    deployed.eventually(lambda: hidden in deployed.asked("worker"), "it is put back")


def park_and_send_again(deployed: Deployed) -> None:
    """What nobody understands is where a person sees it, who can have it sent again."""
    deployed.send("hello")
    client = deployed.client
    [found] = deployed.eventually(
        lambda: client.get("/v1/dead-letters").json()["messages"], "parked"
    )
    answer = client.post("/v1/dead-letters", json={"id": found["id"]})
    assert answer.status_code == 200, answer.text


def erase(deployed: Deployed, run: str) -> None:
    """One person's run is removed at once."""
    answer = deployed.client.post(f"/v1/runs/{run}/erase", json={})
    assert answer.status_code == 200, answer.text
    assert deployed.client.get(f"/v1/runs/{run}").status_code == 404


def archived(deployed: Deployed, run: str) -> list[str]:
    """What is archived of a run."""
    found = deployed.of("s3").list_objects_v2(Bucket=deployed.names["Archive"])
    return [each["Key"] for each in found.get("Contents", ()) if f"/{run}/" in each["Key"]]


def purge_and_erase(deployed: Deployed) -> None:
    """A run that is purged is archived at once, and one that has gone is erased from there."""
    client = deployed.client
    answer = client.post("/v1/workflows/letter/runs", params={"wait": 20}, json={})
    run = answer.json()["id"]
    deployed.eventually(
        lambda: client.get(f"/v1/runs/{run}").json()["state"] == "done", "it has ended"
    )
    client.post("/v1/purge", json={"before": "2999-01-01T00:00:00Z"}).raise_for_status()
    assert len(archived(deployed, run)) == 1
    assert client.post(f"/v1/runs/{run}/erase", json={}).status_code == 404
    assert archived(deployed, run) == []
