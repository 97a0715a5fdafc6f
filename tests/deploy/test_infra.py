"""`infra/`: what containers are made and run by. Nothing here builds or starts one."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from compose_spec import PyCompose

from rewake.hosts.config import ServerConfig
from rewake.hosts.server import KEEP_ALIVE
from rewake.http.runs import LONGEST_WAIT
from rewake.stores.dynamodb.definition import bucket_properties, definition
from tests.deploy.templates import read
from tests.docs.markdown import ROOT
from tests.support import osls
from tests.support.policies import grants

INFRA = ROOT / "infra"
DOCKERFILES = (INFRA / "Dockerfile", *(ROOT / "runtime/rewake/stamps").glob("Dockerfile*"))
COMPOSE = tuple(INFRA.glob("compose*.yml"))
MANIFESTS = tuple((INFRA / "kubernetes").glob("*.yml"))
TEMPLATES = tuple((INFRA / "cloudformation").iterdir())
SLACK = 10
"""Seconds that a server takes beyond its grace, for requests and its last writes."""
CADDY_KEEPS = 120
"""Seconds for which the proxy of the compose files keeps an idle connection, by its default."""


def manifests() -> Iterator[dict[str, Any]]:
    """What is described for Kubernetes."""
    for file in MANIFESTS:
        yield from yaml.safe_load_all(file.read_text())


def of_kind(kind: str) -> dict[str, Any]:
    """The one of this kind."""
    [found] = (each for each in manifests() if each["kind"] == kind)
    return found


def environ(given: list[dict[str, str]], name: str = "name", value: str = "value") -> Any:
    """Variables as a container is given them."""
    return {each[name]: each[value] for each in given}


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: str(file.name))
def test_dockerfiles_are_clean(file: Path) -> None:
    """The linter finds nothing; what runs is nobody's root."""
    program = Path(sys.executable).with_name("hadolint")
    found = subprocess.run([program, file], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout) == (0, "")
    user = re.findall(r"^USER (\S+)", file.read_text(), re.MULTILINE)
    assert user == ["10001"]


def test_the_image_is_checked_and_stopped_as_the_server_expects() -> None:
    """Its health is the server's own answer, and it ends by SIGTERM, which the server heeds."""
    text = (INFRA / "Dockerfile").read_text()
    assert text.count("FROM ") == 2
    assert "/healthz" in text
    assert "STOPSIGNAL SIGTERM" in text
    assert 'CMD ["rewake", "serve"]' in text  # no shell, which would keep the signal


@pytest.mark.parametrize("file", COMPOSE, ids=lambda file: str(file.name))
def test_compose_files_fit_their_schema(file: Path) -> None:
    """Compose would take them; nothing listens beyond this machine; a server is let end."""
    found = yaml.safe_load(file.read_text())
    PyCompose.from_json(json.dumps(found))
    for service in found["services"].values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
    servers = found["services"]["rewake"]
    assert float(servers["environment"]["REWAKE_GRACE"]) + SLACK <= 30
    assert servers["stop_grace_period"] == "30s"
    assert found["services"]["tables"]["command"] == ["rewake", "tables", "create"]


def test_a_misspelt_compose_file_is_noticed() -> None:
    """The check above can fail."""
    with pytest.raises(ValueError, match="stop_grace"):
        PyCompose.from_json('{"services": {"a": {"image": "b", "stop_grace": "1s"}}}')


@pytest.mark.parametrize("manifest", [*manifests()], ids=lambda each: str(each["kind"]))
def test_manifests_fit_their_schema(manifest: dict[str, Any]) -> None:
    """Kubernetes would take them."""
    kubernetes_validate.validate(manifest, "1.37", strict=True)


def test_a_pod_is_let_end_and_is_asked_what_it_answers() -> None:
    """Its grace has room for the server's; it is restarted only if its process does not answer."""
    pod = of_kind("Deployment")["spec"]["template"]["spec"]
    [container] = pod["containers"]
    given = environ(container["env"])
    pause = int(container["lifecycle"]["preStop"]["exec"]["command"][-1])
    assert pod["terminationGracePeriodSeconds"] >= pause + float(given["REWAKE_GRACE"]) + SLACK
    paths = {
        name: container[f"{name}Probe"]["httpGet"]["path"]
        for name in ("startup", "readiness", "liveness")
    }
    assert paths == {"startup": "/healthz", "readiness": "/readyz", "liveness": "/healthz"}
    assert ServerConfig.from_env(given).grace == float(given["REWAKE_GRACE"])


def test_everything_is_about_the_same_pods() -> None:
    """The service, the budget and the autoscaler are those of the deployment, and two stay up."""
    labels = of_kind("Deployment")["spec"]["template"]["metadata"]["labels"]
    assert of_kind("Service")["spec"]["selector"] == labels
    assert of_kind("PodDisruptionBudget")["spec"]["selector"]["matchLabels"] == labels
    scaled = of_kind("HorizontalPodAutoscaler")["spec"]
    assert scaled["scaleTargetRef"]["name"] == of_kind("Deployment")["metadata"]["name"]
    assert scaled["minReplicas"] >= 2
    secret = of_kind("Secret")
    assert not any(secret["stringData"].values())
    for kind in ("Deployment", "Job"):
        [container] = of_kind(kind)["spec"]["template"]["spec"]["containers"]
        assert container["envFrom"] == [{"secretRef": {"name": secret["metadata"]["name"]}}]
        # Else Kubernetes tells them of their service in variables that are called as settings are.
        assert of_kind(kind)["spec"]["template"]["spec"]["enableServiceLinks"] is False


@pytest.mark.parametrize("file", TEMPLATES, ids=lambda file: str(file.name))
def test_templates_are_clean_and_keep_what_the_runtime_keeps(file: Path) -> None:
    """cfn-lint finds nothing; table and bucket are those of `rewake tables create`."""
    assert osls.lint(file) == ""
    found = read(file)["Resources"]
    table = found["Table"]["Properties"]
    assert table["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
    wanted = {name: each for name, each in definition("").items() if name != "TableName"}
    assert {name: table[name] for name in wanted} == wanted
    assert "TimeToLiveSpecification" not in table
    buckets = [each for each in found.values() if each["Type"] == "AWS::S3::Bucket"]
    assert all(each["Properties"] == bucket_properties() for each in buckets)
    assert "Values" in found


def test_servers_on_ecs_may_do_what_servers_may() -> None:
    """Their role has what the policy of a server has, and what a queue needs."""
    found = read(INFRA / "cloudformation" / "container.yml")["Resources"]
    actions = {action for action, _ in grants({"Resources": found}, "ServerRole")}
    runtime = json.loads((INFRA / "iam" / "runtime.json").read_text())["Statement"]
    stored = {action for statement in runtime for action in statement["Action"]}
    assert {each for each in actions if not each.startswith("sqs:")} == stored
    archive = json.loads((INFRA / "iam" / "archive.json").read_text())["Statement"]
    place = {
        action
        for action, place in grants({"Resources": found}, "ServerRole")
        if place.startswith("Archive")
    }
    assert place == {action for statement in archive for action in statement["Action"]}
    [container] = found["Task"]["Properties"]["ContainerDefinitions"]
    given = environ(container["Environment"], "Name", "Value")
    assert container["StopTimeout"] >= float(given["REWAKE_GRACE"]) + SLACK


def test_servers_on_ecs_are_ended_for_no_database_that_is_away() -> None:
    """ECS ends each task that its balancer finds unhealthy, which asks for the process alone. Nor
    is one ended that is blocked, for it ends what blocks it by itself. So it is in Kubernetes.
    """
    targets = read(INFRA / "cloudformation" / "container.yml")["Resources"]["Targets"]["Properties"]
    assert targets["HealthCheckPath"] == "/healthz"
    patience = targets["HealthCheckIntervalSeconds"] * targets["UnhealthyThresholdCount"]
    assert patience > ServerConfig().blocked + SLACK
    [container] = of_kind("Deployment")["spec"]["template"]["spec"]["containers"]
    liveness = container["livenessProbe"]
    assert liveness["periodSeconds"] * liveness["failureThreshold"] > ServerConfig().blocked + SLACK


def test_a_balancer_gives_a_connection_up_before_the_server_does() -> None:
    """Else it sends a request into one that is just being closed, and answers with a 502; and it
    waits for as long as a request may.
    """
    found = read(INFRA / "cloudformation" / "container.yml")["Resources"]
    [given] = found["Balancer"]["Properties"]["LoadBalancerAttributes"]
    assert given["Key"] == "idle_timeout.timeout_seconds"
    assert LONGEST_WAIT < float(given["Value"]) < KEEP_ALIVE
    assert CADDY_KEEPS < KEEP_ALIVE


def test_where_nothing_can_be_written_tmp_can() -> None:
    """Tasks find a place for temporary files wherever the root is read-only."""
    task = read(INFRA / "cloudformation" / "container.yml")["Resources"]["Task"]["Properties"]
    [container] = task["ContainerDefinitions"]
    assert container["ReadonlyRootFilesystem"]
    assert container["MountPoints"] == [{"SourceVolume": "tmp", "ContainerPath": "/tmp"}]
    assert task["Volumes"] == [{"Name": "tmp"}]
    # A volume of Fargate is root's own, unless the image says otherwise.
    assert re.search(r"^VOLUME .*/tmp$", (INFRA / "Dockerfile").read_text(), re.MULTILINE)
    for file in COMPOSE:
        servers = yaml.safe_load(file.read_text())["services"]["rewake"]
        assert servers["read_only"]
        assert servers["tmpfs"] == ["/tmp"]
    [pod] = of_kind("Deployment")["spec"]["template"]["spec"]["containers"]
    assert pod["securityContext"]["readOnlyRootFilesystem"]
    assert [each["mountPath"] for each in pod["volumeMounts"]] == ["/tmp"]
