"""`rewake approvals`: what is open, links to it, decisions."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import httpx2
import pytest

from rewake.cli.remote import runs
from rewake.cli.remote.approvals import listing
from rewake.cli.remote.runs import Server
from tests.cli.shell import Shell, eventually
from tests.cli.test_server_commands import SECRET, Client

APP = """
from rewake import approval, workflow

@workflow
async def pays(amount: int) -> str:
    ask = approval(
        "pay",
        form={"amount": {"type": "integer"}},
        description=f"Pay {amount}?",
        approvers=["ann", "bob"],
    )
    answer = await ask
    return f"{answer.decision} {answer.value} {answer.approver}"

@workflow
async def counts() -> None:
    await approval("pay", description="Pay?\\nAll of it.", approvers=["eve", "dan"], quorum=2)

@workflow
async def shares() -> list[str]:
    answer = await approval("pay", approvers=["ann", "bob"], quorum=2)
    return [vote.approver for vote in answer.decisions]
"""


LINKS = """
from rewake import approval, workflow

@workflow
async def makes() -> bool:
    ask = approval("pay", approvers=["ann"])
    link = ask.link()
    ask.cancel()
    return link.startswith("https://app.example/approve/")
"""


def test_a_run_without_a_server_makes_links_too(tmp_path: Path) -> None:
    """`rewake run` takes the address of the servers that share its database from `REWAKE_URL`."""
    shell = Shell(tmp_path, REWAKE_SECRET=SECRET, REWAKE_URL="https://app.example")
    shell.write("app.py", LINKS)
    assert shell.rewake("run", "app.py", "--quiet").stdout.strip() == "true"


def test_a_list_says_what_is_not_in_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Runs of which the server cannot read what they wait for are named."""
    page = {"approvals": [], "cursor": None, "unread": ["r1", "r2"]}
    monkeypatch.setattr(runs, "_view", lambda _, show, *__, **___: show(page))
    listing(cast(Server, None), {})
    assert "wait for: r1, r2" in capsys.readouterr().err


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A client of a server of its own."""
    url = "https://app.example/below"
    shell = Shell(tmp_path_factory.mktemp("server"), REWAKE_SECRET=SECRET, REWAKE_URL=url)
    shell.write("app.py", APP)
    with shell.begin("serve", "app.py", "--port", "0") as command:
        command.says("serving on ")
        found = re.search(r"serving on (http://\S+)", command.stderr)
        assert found is not None
        shell.settings["REWAKE_SERVER"] = found[1]
        yield Client(shell)


def asked(client: Client, amount: int) -> str:
    """A run that waits for its approval."""
    run = client.started("pays", {"amount": amount})
    eventually(lambda: client.json("runs", "show", run).get("approvals"), "it waits")
    return run


def test_a_link_from_the_command_line(client: Client) -> None:
    """It stands alone on stdout, and decides."""
    run = asked(client, 3)
    shown = json.loads(client.rewake("approvals", "show", run).stdout)
    assert [each["key"] for each in shown] == ["pay"]
    done = client.rewake("approvals", "link", run, "--approver", "ann", "--action", "approve")
    assert done.exit_code == 0, done.stderr
    [link] = done.stdout.splitlines()
    assert "good until" in done.stderr
    assert client.json("approvals", "link", run, "pay", "--approver", "bob")["expires"]
    here = client.shell.settings["REWAKE_SERVER"] + link.removeprefix("https://app.example/below")
    body = {"approved": True, "value": {"amount": 3}}
    assert httpx2.post(here, json=body, trust_env=False).json()["decision"] == "approved"
    done = client.rewake("runs", "result", run, "--wait", "20")
    assert done.stdout.strip() == "\"approved {'amount': 3} ann\""


def test_listing_and_deciding(client: Client) -> None:
    """What is open is listed until it is decided, by either command."""
    one, two = asked(client, 1), asked(client, 2)
    table = client.rewake("approvals", "list", "--approver", "bob").stdout
    assert [line.split()[0] for line in table.splitlines()[1:]] == [two, one]
    assert "Pay 2?" in table
    page = client.json("approvals", "list", "--workflow", "pays", "--limit", "1")
    assert [each["run"] for each in page["approvals"]] == [two]
    more = client.rewake("approvals", "list", "--limit", "1")
    assert f"more with --cursor {page['cursor']}" in more.stderr
    value = '{"amount": 9}'
    done = client.rewake("approvals", "approve", one, "--value", value, "--approver", "carla")
    assert done.stdout == f"pay of run {one} is approved\n"
    done = client.rewake("approvals", "reject", two, "pay", "--comment", "no")
    assert done.stdout == f"pay of run {two} is rejected\n"
    assert client.json("approvals", "list")["approvals"] == []
    told = client.rewake("runs", "result", one, "--wait", "20").stdout
    assert told.strip() == "\"approved {'amount': 9} carla\""


def test_a_run_shows_how_a_ballot_stands(client: Client) -> None:
    """Who has one of several votes is told how many are missing; the run shows who has voted and
    who has not, and commands that work where nobody votes for others; then, all who decided.
    """
    run = client.started("counts", {})
    eventually(lambda: client.json("runs", "show", run).get("approvals"), "it waits")
    server = client.shell.settings["REWAKE_SERVER"]
    grant = ("--scope", "decide,read", "--server", server)
    # Who is asked last votes first: votes are told in the order of time.
    holder = {
        name: client.rewake("tokens", "create", "--name", name, *grant).stdout.strip()
        for name in ("dan", "eve")
    }
    done = client.rewake("approvals", "approve", run, REWAKE_TOKEN=holder["dan"])
    assert done.stdout == (
        f"the vote on pay of run {run} is counted (approved); it is not decided yet: "
        "1 of 2 approved, 1 more needed\n"
    )
    shown = client.rewake("runs", "show", run).stdout
    assert "\n  Pay?\n  All of it.\n" in shown
    assert "  1 of 2 approved, 0 rejected; waits for eve\n" in shown
    assert "runs approve" not in shown
    assert f"\n  rewake approvals link {run} pay --approver eve\n" in shown
    assert client.rewake("approvals", "link", run, "pay", "--approver", "eve").exit_code == 0
    hand_on = ("approvals", "delegate", run, "--to", "fay")
    link = client.rewake(*hand_on, REWAKE_TOKEN=holder["eve"]).stdout.strip()
    here = server + link.removeprefix("https://app.example/below")
    body = {"approved": True, "comment": "fine"}
    assert httpx2.post(here, json=body, trust_env=False).status_code == 200
    client.rewake("runs", "result", run, "--wait", "20")
    shown = client.rewake("runs", "show", run).stdout
    assert "pay was approved by fay (for eve): fine\n" in shown
    assert "  approved by dan\n  approved by fay (for eve): fine\n" in shown


def test_several_people_decide(client: Client) -> None:
    """A vote is that of the token; one is handed on; the trail has a line for each step."""
    run = client.started("shares", {})
    eventually(lambda: client.json("runs", "show", run).get("approvals"), "it waits")
    server = client.shell.settings["REWAKE_SERVER"]
    grant = ("--name", "ann", "--scope", "decide,read", "--server", server)
    ann = client.rewake("tokens", "create", *grant).stdout.strip()
    refused = client.rewake("approvals", "approve", run)
    assert (refused.exit_code, "is not asked" in refused.stderr) == (2, True)
    assert client.rewake("approvals", "delegate", run).exit_code == 2
    hand_on = ("delegate", run, "--to", "carla", "--comment", "away")
    done = client.rewake("approvals", *hand_on, REWAKE_TOKEN=ann)
    assert done.exit_code == 0, done.stderr
    assert "ann has handed pay on to carla" in done.stderr
    assert "carla (for ann), bob" in client.rewake("approvals", "list").stdout
    bob = client.rewake("approvals", "link", run, "--approver", "bob")
    for link in (done.stdout.strip(), bob.stdout.strip()):
        here = server + link.removeprefix("https://app.example/below")
        assert httpx2.post(here, json={"approved": True}, trust_env=False).status_code == 200
    told = client.rewake("runs", "result", run, "--wait", "20").stdout
    assert json.loads(told) == ["carla", "bob"]
    lines = client.rewake("approvals", "show", run, "pay", "--trail").stdout.splitlines()
    happened = [json.loads(line)["what"] for line in lines]
    assert happened == ["asked", "refused", "delegated", "voted", "voted", "decided"]
    [record] = json.loads(client.rewake("approvals", "show", run, "pay").stdout)
    assert record["state"] == "approved"


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (("link", "RUN"), "say for whom of them"),
        (("link", "RUN", "--approver", "eve"), "it is asked of ann, bob"),
        (("link", "RUN", "--approver", "ann", "--action", "shrug"), "--action must be"),
        (("link", "RUN", "other", "--approver", "ann"), "waits for no approval 'other'"),
        (("show", "RUN", "other"), "waits for no approval 'other'"),
        (("show", "none"), "none"),
        (("approve", "RUN", "--value", "{"), "--value is not JSON"),
        (("approve", "RUN", "--value", '{"amount": "x"}'), "value.amount: it must be an integer"),
        (("list", "--limit", "0"), "limit must be a number from 1 to 200"),
    ],
    ids=str,
)
def test_what_does_not_fit(client: Client, command: tuple[str, ...], told: str) -> None:
    """One line on stderr says what, and the exit code is 2."""
    run = asked(client, 5)
    done = client.rewake("approvals", *(run if each == "RUN" else each for each in command))
    assert done.exit_code == 2, done.stderr
    assert told in done.stderr
    assert len(done.stderr.splitlines()) == 1
