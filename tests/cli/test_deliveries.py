"""`rewake deliveries`: what was sent to the webhooks of a server, and sending to them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from rewake.cli.commands import app
from tests.cli.shell import Shell
from tests.support.hooks import SECRETS

APP = """
from rewake import workflow
from rewake.webhooks import (
    anyone, basic, bearer, github, meta, microsoft_graph, shared_hmac, slack, standard_webhooks,
    stripe, webhook,
)

@workflow(webhook=[
    webhook("github/push", verify=github("GITHUB_SECRET")),
    webhook("stripe", verify=stripe("STRIPE_SECRET")),
    webhook("slack", verify=slack("SLACK_SECRET")),
    webhook("standard", verify=standard_webhooks("STANDARD_SECRET")),
    webhook("hmac", verify=shared_hmac("HMAC_SECRET", header="X-Signature")),
    webhook("bearer", verify=bearer("TOKEN_SECRET")),
    webhook("basic", verify=basic("BASIC_SECRET")),
    webhook("meta", verify=meta("META_SECRET", verify_token="META_TOKEN")),
    webhook("graph", verify=microsoft_graph("GRAPH_SECRET")),
    webhook("anyone", verify=anyone()),
    webhook("fails", verify=anyone(), arguments=lambda d: {"number": d.json["none"]}),
    webhook("tenants", verify=bearer(lambda d: {"a": "secret of a"}[d.query["tenant"]])),
])
async def main(number: int = 0) -> int:
    return number
"""


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """A shell in the folder of a server that has a hook of each scheme."""
    secret = "a secret that only tests may know"
    folder = tmp_path_factory.mktemp("server")
    shell = Shell(folder, REWAKE_SECRET=secret, REWAKE_APP=str(folder / "app.py"), **SECRETS)
    shell.write("app.py", APP)
    shell.write("body.json", '{"number": 7, "value": [{"resource": "a"}]}')
    with shell.begin("serve", "--port", "0", "--db", "x.db") as command:
        command.says("serving on ")
        found = re.search(r"serving on (http://\S+)", command.stderr)
        assert found is not None
        shell.settings["REWAKE_SERVER"] = found[1]
        yield shell


def rewake(shell: Shell, *command: str, **settings: str) -> Result:
    """Run a command to its end."""
    environment = {**shell.settings, **settings}
    return CliRunner().invoke(app, command, prog_name="rewake", env=environment)


def sign(shell: Shell, path: str, *more: str, **settings: str) -> Result:
    body = str(shell.folder / "body.json")
    return rewake(shell, "deliveries", "sign", path, "--body", body, *more, **settings)


@pytest.mark.parametrize(
    "path",
    [
        *("github/push", "stripe", "slack", "standard", "hmac", "bearer", "basic"),
        *("meta", "graph", "anyone", "tenants?tenant=a"),
    ],
)
def test_a_test_delivery_of_each_scheme(shell: Shell, path: str) -> None:
    """What is sent is verified as what the provider sends is, and starts a run."""
    done = sign(shell, path)
    assert (done.exit_code, done.stderr) == (0, "answered with 202\n")
    assert "/v1/runs/" in json.loads(done.stdout)["links"]["self"]


def test_a_header_that_is_given_stands(shell: Shell) -> None:
    """In place of that of its name, whatever the case of its letters; the body's type too."""
    assert sign(shell, "github/push", "--header", "x-github-event: ping").stdout == "pong\n"
    done = sign(shell, "anyone", "--header", "content-type: text/plain")
    assert done.stderr == "answered with 415\n"


def test_a_test_delivery_with_another_secret(shell: Shell) -> None:
    """It is refused like a forged one, and the exit code says so."""
    done = sign(shell, "hmac", HMAC_SECRET="another secret that is long")
    assert (done.exit_code, done.stderr) == (1, "answered with 401\n")


@pytest.mark.parametrize(
    ("path", "more", "settings", "told"),
    [
        ("nowhere", [], {}, "has no webhook 'nowhere' (there is: anyone, "),
        ("hmac", [], {"HMAC_SECRET": ""}, "set HMAC_SECRET"),
        ("tenants?tenant=b", [], {}, "no secret for this delivery"),
        ("hmac", ["--header", "X-A"], {}, "--header is one line"),
        ("hmac", ["--header", "X-A: b\nX-C: d"], {}, "--header is one line"),
        ("hmac", ["--server", "nowhere"], {}, "--server is the URL of a server"),
        ("hmac", ["--app", "nowhere.py"], {}, "there is no file nowhere.py"),
    ],
)
def test_what_cannot_be_sent(
    shell: Shell, path: str, more: list[str], settings: dict[str, str], told: str
) -> None:
    """One line says what is wrong, and nothing is sent."""
    done = sign(shell, path, *more, **settings)
    assert done.exit_code == 2
    assert told in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_body_that_is_not_there(shell: Shell, tmp_path: Path) -> None:
    """The option is named, and the file."""
    file = str(tmp_path / "nothing")
    done = rewake(shell, "deliveries", "sign", "hmac", "--body", file)
    assert done.exit_code == 2
    assert f"--body: {file}: No such file" in done.stderr


def test_a_server_that_is_not_there(shell: Shell) -> None:
    """It is told apart from a delivery that was refused."""
    done = sign(shell, "hmac", "--server", "http://127.0.0.1:9")
    assert done.exit_code == 6
    assert "cannot reach http://127.0.0.1:9/hooks/hmac" in done.stderr


def test_the_list_and_one_of_it(shell: Shell) -> None:
    """A line each, newest first; one is shown as it was sent, its body alone on stdout."""
    sign(shell, "github/push", GITHUB_SECRET="another secret")
    sign(shell, "github/push")
    done = rewake(shell, "deliveries", "list", "--hook", "github/push", "--limit", "2")
    assert done.exit_code == 0
    heads, started, refused = done.stdout.splitlines()
    assert heads.split() == ["ID", "AT", "HOOK", "VERDICT", "RUN", "BYTES", "REASON"]
    assert " started " in started
    assert "refused" in refused
    assert "the secret is another one" in refused
    assert "more with --cursor" in done.stderr
    kept = refused.split()[0]
    done = rewake(shell, "deliveries", "show", kept)
    assert done.stdout == shell.read("body.json") + "\n"
    assert "x-hub-signature-256: [redacted]" in done.stderr
    assert "the secret is another one" in done.stderr
    found = json.loads(rewake(shell, "deliveries", "show", kept, "--json").stdout)
    assert found["id"] == kept


def test_sending_one_again(shell: Shell) -> None:
    """It prints the run that it has started."""
    sign(shell, "anyone")
    listed = rewake(shell, "deliveries", "list", "--hook", "anyone", "--json").stdout
    [newest, *_] = json.loads(listed)["deliveries"]
    done = rewake(shell, "deliveries", "replay", newest["id"])
    assert done.exit_code == 0
    run = done.stdout.strip()
    assert run != newest["run"]
    assert rewake(shell, "runs", "result", run, "--wait", "20").stdout.strip() == "7"
    sign(shell, "fails")
    listed = rewake(shell, "deliveries", "list", "--hook", "fails", "--json").stdout
    done = rewake(shell, "deliveries", "replay", json.loads(listed)["deliveries"][0]["id"])
    assert (done.exit_code, done.stdout) == (1, "")
    assert "arguments= of the webhook fails raised KeyError (app.py, line" in done.stderr
    done = rewake(shell, "deliveries", "replay", "started-999999")
    assert (done.exit_code, "no delivery" in done.stderr) == (2, True)
