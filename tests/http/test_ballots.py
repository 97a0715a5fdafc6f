"""Approvals of several people over HTTP: votes, delegations, the trail, the inbox, who may not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx2
import msgspec
import pytest
from starlette.testclient import TestClient

from rewake import Notice, approval, group, groups, step, task, workflow
from rewake.app import App
from rewake.dispatchers.in_process import InProcessDispatcher
from rewake.engine.engine import Engine
from rewake.engine.settings import Settings
from rewake.http import view_counter
from rewake.http.app import create_app
from rewake.signing.secret import Secret
from rewake.stores.sqlite.table import SqliteTable
from tests.http.test_approving import Clock, stored
from tests.support.approving import BY_FORM, link_path, nonces_in
from tests.support.server import SECRET, bearer

ANN, BOB, EVE = "ann@example.com", "bob@example.com", "eve@example.com"
KEY = "/v1/runs/r1/approvals/pay"
told: dict[str, str] = {}


@groups
def members(name: str) -> list[str]:
    return {"finance": [ANN, BOB, EVE]}[name]


@workflow
async def pays(
    quorum: int = 2,
    reject: str = "any",
    self_approval: bool = True,
    withdraw: str | None = None,
    form: Any = None,
) -> Any:
    ask = approval(
        "pay",
        form=form,
        description="Pay <i>?",
        approvers=[group("finance")],
        quorum=quorum,
        reject=reject,
        self_approval=self_approval,
    )
    links = ask.links
    await step("tell", lambda: told.update(links))
    if withdraw is not None:
        ask.cancel(withdraw)
        return await step("end", lambda: "withdrawn")
    answer = await ask
    return [answer.decision, answer.approver, [each.approver for each in answer.decisions]]


class Front:
    """A server's front door, and people before it."""

    def __init__(self, client: TestClient, database: Path, clock: Clock) -> None:
        self.client, self.database, self.clock = client, database, clock

    def start(self, run: str = "r1", by: dict[str, str] | None = None, **arguments: Any) -> None:
        told.clear()
        path = f"/v1/workflows/pays/runs?id={run}&wait=0.2"
        answer = self.client.post(path, json=arguments, headers=by or bearer())
        assert answer.status_code in (200, 202), answer.text
        assert told

    def token(self, name: str, *scopes: str) -> dict[str, str]:
        body = {"name": name, "scopes": list(scopes)}
        made = self.client.post("/v1/tokens", json=body, headers=bearer())
        return {"Authorization": f"Bearer {made.json()['token']}"}

    def path(self, who: str) -> str:
        return link_path(told[who])

    def vote(self, who: str, approved: bool = True, **more: Any) -> httpx2.Response:
        return self.client.post(self.path(who), json={"approved": approved, **more})

    def submit(self, who: str, decision: str, **fields: str) -> httpx2.Response:
        path = self.path(who)
        nonce = next(iter(nonces_in(self.client.get(path).text)), "")
        posted = {"nonce": nonce, "decision": decision, **fields}
        return self.client.post(path, content=urlencode(posted), headers=BY_FORM)

    def record(self, run: str = "r1", **headers: str) -> httpx2.Response:
        return self.client.get(f"/v1/runs/{run}/approvals/pay", headers=bearer() | headers)

    def result(self) -> Any:
        found = self.client.get("/v1/runs/r1/result?wait=10", headers=bearer())
        return found.json()["result"]


@pytest.fixture
def front(tmp_path: Path) -> Iterator[Front]:
    app, secret, clock = App(), Secret(SECRET), Clock()
    for each in (pays, members, tells, reminds):
        app.add(each)
    table = SqliteTable(tmp_path / "rewake.db", durable=False)
    settings = Settings(url="https://app.example/below")
    engine = Engine(app, table, InProcessDispatcher(clock), secret, clock=clock, settings=settings)
    served = create_app(engine, secret, grace=0.1, clock=clock)
    with TestClient(served, raise_server_exceptions=False) as client:
        yield Front(client, tmp_path / "rewake.db", clock)


# --- votes ---------------------------------------------------------------------------------------


def test_votes_by_link(front: Front) -> None:
    """Each is counted once, and told how the ballot stands; the last decides; then it is a 409."""
    front.start()
    for _ in range(2):  # the same again, as by who did not hear the answer
        answer = front.vote(BOB)
        assert answer.status_code == 200
        assert answer.json() == {
            "run": "r1",
            "key": "pay",
            "decision": "approved",
            "approver": BOB,
            "decided": False,
            "quorum": 2,
            "approvals": 1,
            "rejections": 0,
        }
    changed = front.vote(BOB, False)
    assert (changed.status_code, "stands" in changed.json()["detail"]) == (409, True)
    assert front.vote(ANN).json()["decided"] is True
    assert front.result() == ["approved", ANN, [BOB, ANN]]
    assert front.vote(EVE).status_code == 409


def test_the_page_says_who_else_and_how_many(front: Front) -> None:
    """Before, between and after: how many are needed, who has voted, and what is decided."""
    front.start()
    page = front.client.get(front.path(ANN)).text
    assert "2 of 3 must approve. So far: 0 approved" in page
    counted = front.submit(BOB, "approve", comment="<b>ok")
    assert counted.status_code == 200
    assert "<title>Your vote is counted: " in counted.text
    assert "<title>Approved" not in counted.text
    assert "&lt;b&gt;ok" in counted.text
    again = front.client.get(front.path(BOB))
    assert (again.status_code, "nonce" in again.text) == (200, False)
    page = front.client.get(front.path(ANN)).text
    assert "So far: 1 approved, 0 rejected" in page
    assert f'{BOB}</bdi>: <bdi class="done">approved' in page
    assert f'{EVE}</bdi>: <bdi class="plain">not decided yet' in page
    assert "This is decided" in front.submit(ANN, "approve").text
    assert "This is decided" in front.client.get(front.path(EVE)).text


def test_a_vote_with_a_token_is_that_of_its_holder(front: Front) -> None:
    """It counts as who is asked under that name; nobody votes as others, or without being asked."""
    front.start()
    ann, carla = front.token(ANN, "decide"), front.token("carla", "decide")
    post = front.client.post
    assert post(KEY, json={"approved": True}, headers=carla).status_code == 403
    assert post(KEY, json={"approved": True}, headers=bearer()).status_code == 403
    body = {"approved": True, "approver": BOB}
    refused = post(KEY, json=body, headers=ann)
    assert refused.status_code == 403
    assert refused.json()["type"] == "urn:rewake:problem:decision-forbidden"
    body = {"approved": True, "approver": "me-at-my-machine"}
    answer = post(KEY, json=body, headers=ann)
    assert (answer.status_code, answer.json()["approver"]) == (200, ANN)
    assert front.vote(ANN, False).status_code == 409
    front.vote(BOB)
    assert front.result()[2] == [ANN, BOB]


def test_who_may_not_decide_makes_no_link_of_others(front: Front) -> None:
    """Else one token could vote for all: for others such links are an admin's to make."""
    front.start()
    ann = front.token(ANN, "decide")
    body = {"run": "r1", "key": "pay"}
    for who, status in ((BOB, 403), (ANN, 200)):
        answer = front.client.post("/v1/links", json={**body, "approver": who}, headers=ann)
        assert answer.status_code == status
    mine = front.client.post("/v1/links", json={**body, "approver": BOB}, headers=bearer())
    assert mine.status_code == 200


@pytest.mark.parametrize("quorum", [1, 2])
def test_who_started_the_run_does_not_decide(front: Front, quorum: int) -> None:
    """Neither by a token, nor in the name of others, nor by a link; they are not asked."""
    ann = front.token(ANN, "start", "decide")
    front.start(by=ann, self_approval=False, quorum=quorum)
    assert sorted(told) == [BOB, EVE]
    for named in (None, ANN, BOB):
        body = {"approved": True, "approver": named}
        assert front.client.post(KEY, json=body, headers=ann).status_code == 403
    body = {"run": "r1", "key": "pay", "approver": BOB}
    assert front.client.post("/v1/links", json=body, headers=ann).status_code == 403
    assert front.client.post(front.path(BOB), json={"delegate": ANN}).status_code == 403
    assert front.vote(BOB).status_code == 200


# --- delegation ----------------------------------------------------------------------------------


def test_handing_a_vote_on_by_link(front: Front) -> None:
    """The delegate's link votes; the delegator's is used up, and says to whom it was handed on."""
    front.start()
    answer = front.client.post(front.path(ANN), json={"delegate": "carla"})
    assert answer.status_code == 200
    given = answer.json()
    told["carla"] = given.pop("link")
    assert given == {"run": "r1", "key": "pay", "approver": ANN, "delegate": "carla"}
    assert f"carla, for {ANN}" in front.client.get(front.path(BOB)).text
    gone = front.client.get(front.path(ANN))
    assert (gone.status_code, "handed on to carla" in gone.text) == (410, True)
    assert front.vote(ANN).status_code == 410
    assert front.client.post(front.path(ANN), json={"delegate": "dora"}).status_code == 410
    assert front.vote("carla").json()["approver"] == "carla"
    front.vote(BOB)
    assert front.result()[2] == ["carla", BOB]


def test_who_handed_on_is_named_beside_the_delegate(front: Front) -> None:
    """On the delegate's page before and after they vote, to others, in conflicts and in lists."""
    front.start()
    for who, to in ((ANN, "carla"), ("carla", "dora")):
        told[to] = front.client.post(front.path(who), json={"delegate": to}).json()["link"]
    page = front.client.get(front.path("dora")).text
    assert f"Handed on by</dt><dd><bdi>carla, for {ANN}</bdi>" in page
    assert "Handed on by" not in front.client.get(front.path(BOB)).text
    [listed] = front.client.get("/v1/approvals", headers=bearer()).json()["approvals"]
    assert listed["delegated_by"] == {"carla": ANN, "dora": "carla"}
    front.vote(BOB)
    decided = front.submit("dora", "approve").text
    assert f"Decided by</dt><dd><bdi>dora, for carla, for {ANN}</bdi>" in decided
    assert f"by dora, for carla, for {ANN}" in front.vote(EVE).json()["detail"]


def test_handing_a_vote_on_by_the_page(front: Front) -> None:
    """The page has a field for it, shows what is wrong there, and then the delegate's link."""
    front.start()
    assert 'name="delegate"' in front.client.get(front.path(ANN)).text
    for to, why in ((BOB, "asked already"), ("", "say to whom")):
        wrong = front.submit(ANN, "delegate", delegate=to, comment="away")
        assert (wrong.status_code, why in wrong.text, "away" in wrong.text) == (422, True, True)
    name = f"<carla>{'x' * 240}"  # so that the link is long, which must be shown as a whole
    done = front.submit(ANN, "delegate", delegate=name, comment="away")
    assert (done.status_code, "&lt;carla&gt;" in done.text) == (200, True)
    found = re.search(r"https://app.example/below(/approve/[\w.-]+)", done.text)
    assert found is not None
    assert front.client.get(found[1]).status_code == 200


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({"delegate": 3}, 422, "delegate"),
        ({"delegate": ""}, 422, "delegate"),
        ({"delegate": "a\nb"}, 422, "delegate"),
        ({"delegate": "ä" * 128}, 422, "delegate"),
        ({"delegate": BOB.upper()}, 422, "delegate"),
        ({"delegate": "carla", "approved": True}, 422, "approved"),
        ({"delegate": "carla", "comment": "x" * 10_001}, 422, "comment"),
    ],
)
def test_what_is_no_delegation(front: Front, body: dict[str, Any], status: int, field: str) -> None:
    """It is refused by either way, the field is named, and the link is good as before."""
    front.start()
    ann = front.token(ANN, "decide")
    for answer in (
        front.client.post(front.path(ANN), json=body),
        front.client.post(KEY, json=body, headers=ann),
    ):
        assert (answer.status_code, answer.json()["field"]) == (status, field)
    assert front.vote(ANN).status_code == 200


def test_a_link_for_one_action_hands_nothing_on(front: Front) -> None:
    """It can only approve, or only reject."""
    front.start()
    body = {"run": "r1", "key": "pay", "approver": ANN, "action": "approve"}
    told["yes"] = front.client.post("/v1/links", json=body, headers=bearer()).json()["url"]
    assert front.client.post(front.path("yes"), json={"delegate": "carla"}).status_code == 403
    assert 'name="delegate"' not in front.client.get(front.path("yes")).text


def test_handing_a_vote_on_with_a_token(front: Front) -> None:
    """It is the vote of the token's holder; who has none has none to hand on."""
    front.start()
    ann, carla = front.token(ANN, "decide"), front.token("carla", "decide")
    post = front.client.post
    assert post(KEY, json={"delegate": "dora"}, headers=carla).status_code == 403
    assert post(KEY, json={"delegate": "carla"}, headers=ann).json()["approver"] == ANN
    assert post(KEY, json={"approved": True}, headers=carla).json()["approver"] == "carla"


def test_handing_on_what_one_decides_with_a_token(front: Front) -> None:
    """The same where one person decides, and so anybody may who has a token for that."""
    front.start(quorum=1)
    ann, carla = front.token(ANN.upper(), "decide"), front.token("carla", "decide")
    post = front.client.post
    assert post(KEY, json={"delegate": "dora"}, headers=carla).status_code == 403
    given = post(KEY, json={"delegate": "carla"}, headers=ann).json()
    assert (given["approver"], given["delegate"]) == (ANN, "carla")
    told["carla"] = given["link"]
    assert front.vote("carla").status_code == 200
    assert front.result()[1] == "carla"


# --- what is told --------------------------------------------------------------------------------


def test_the_trail(front: Front) -> None:
    """It has what was asked, said, handed on, refused and decided, in order; also line by line."""
    front.start()
    front.client.post(front.path(ANN), json={"delegate": "carla", "comment": "away"})
    front.vote(BOB, comment="fine")
    front.vote(BOB, False)
    front.vote(EVE)
    front.result()
    record = front.record().json()
    assert (record["state"], record["quorum"], record["approvals"]) == ("approved", 2, 2)
    assert record["groups"] == {"finance": [ANN, BOB, EVE]}
    assert [(each["approver"], each["action"]) for each in record["votes"]] == [
        ("carla", None),
        (BOB, "approve"),
        (EVE, "approve"),
    ]
    assert record["votes"][0]["delegated_by"] == ANN
    happened = [(each["what"], each.get("who")) for each in record["trail"]]
    assert happened == [
        ("asked", None),
        ("delegated", ANN),
        ("voted", BOB),
        ("refused", f"link:{BOB}"),
        ("voted", EVE),
        ("decided", None),
    ]
    lines = front.record(Accept="application/x-ndjson")
    assert lines.headers["content-type"].startswith("application/x-ndjson")
    told = [msgspec.json.decode(line) for line in lines.content.splitlines()]
    assert told == [{"run": "r1", "key": "pay", **each} for each in record["trail"]]


@task
async def tells(notice: Notice) -> str:
    return notice.kind


@workflow
async def reminds(name: str = "pay") -> str:
    other = approval("other", approvers=[EVE], notify=tells)
    ask = approval(name, approvers=[ANN], notify=tells, remind_every=0.3, timeout=60)
    await step("tell", lambda: told.update(ask.links))
    answer = await ask
    other.cancel()
    return answer.decision


def test_the_trail_has_who_was_told(front: Front) -> None:
    """Notices and reminders of it, and not those of another approval, are in its trail."""
    front.client.post("/v1/workflows/reminds/runs?id=r1&wait=2", json={}, headers=bearer())
    front.vote(ANN)
    assert front.result() == "approved"
    trail = front.record().json()["trail"]
    kinds = [each["notice"] for each in trail if each["what"] == "notified"]
    assert (kinds[0], kinds[-1]) == ("asked", "decided")
    assert set(kinds[1:-1]) == {"reminder"}
    assert all(each["people"] == [ANN] for each in trail if each["what"] == "notified")


def test_the_record_of_what_there_is_not(front: Front) -> None:
    """It is a 404; without a token a 401; without its scope a 403."""
    front.start()
    get = front.client.get
    assert get("/v1/runs/r1/approvals/other", headers=bearer()).status_code == 404
    assert get("/v1/runs/none/approvals/pay", headers=bearer()).status_code == 404
    assert get(KEY).status_code == 401
    assert get(KEY, headers=front.token("d", "decide")).status_code == 403


def test_the_inbox(front: Front) -> None:
    """By whom it waits for, group and age: who has voted or handed it on is done."""
    front.start("r1")
    front.start("r2")
    front.vote(ANN)
    front.client.post(front.path(BOB), json={"delegate": "carla"})

    def runs(**query: str) -> list[str]:
        found = front.client.get("/v1/approvals", params=query, headers=bearer())
        assert found.status_code == 200, found.text
        return [each["run"] for each in found.json()["approvals"]]

    assert runs() == ["r2", "r1"]
    assert (runs(approver=ANN), runs(approver=BOB), runs(approver="carla")) == (
        ["r1"],
        ["r1"],
        ["r2"],
    )
    assert (runs(group="finance"), runs(group="board")) == (["r2", "r1"], [])
    first = front.record("r2").json()
    assert (first["approvals"], first["waits_for"]) == (1, ["carla", EVE])
    assert runs(asked_before=first["asked"]) == ["r1"]
    wrong = front.client.get("/v1/approvals?asked_before=soon", headers=bearer())
    assert (wrong.status_code, wrong.json()["field"]) == (422, "asked_before")


def test_what_was_withdrawn_says_why(front: Front) -> None:
    """The link tells what the workflow said, escaped, and the record that it was withdrawn."""
    front.start(withdraw="The <b>order</b> was cancelled.")
    front.result()
    page = front.client.get(front.path(ANN))
    assert (page.status_code, "The &lt;b&gt;order" in page.text) == (410, True)
    answer = front.vote(ANN)
    assert (answer.status_code, answer.json()["detail"]) == (
        410,
        "The <b>order</b> was cancelled.",
    )
    record = front.record().json()
    assert (record["state"], record["trail"][1]["what"]) == ("withdrawn", "withdrawn")
    assert record["trail"][1]["comment"] == "The <b>order</b> was cancelled."


# --- looks ---------------------------------------------------------------------------------------


def test_looks_are_counted_once_in_a_while(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty scanners write nothing while they look, and one small counter afterwards."""
    front.start()
    before = stored(front.database)
    for number in range(20):
        front.client.get(front.path([ANN, BOB][number % 2]))
        front.client.head(front.path(ANN))
        front.client.get(front.path(ANN), headers={"Sec-Purpose": "prefetch"})
    assert stored(front.database) == before
    assert front.record().json()["views"] is None
    counter = front.client.app.state.parts.views  # type: ignore[attr-defined]
    front.client.portal.call(counter._write)  # type: ignore[union-attr]
    after = stored(front.database)
    assert len(after) == len(before) + 1
    views = front.record().json()["views"]
    assert views["times"] == 20
    assert views["first"] <= views["last"]
    monkeypatch.setattr(view_counter, "MOST", 0)
    front.client.get(front.path(ANN))
    front.client.portal.call(counter._write)  # type: ignore[union-attr]
    assert stored(front.database) == after


def test_what_is_secret_in_a_vote_is_shown_to_nobody(front: Front) -> None:
    """The record of an approval has votes without what their form marks as secret."""
    front.start(form={"pin": {"type": "string", "format": "password"}, "why": {"type": "string"}})
    assert front.vote(ANN, value={"pin": "0815", "why": "late"}).status_code == 200
    for _ in range(2):
        shown = front.record()
        assert "0815" not in shown.text
        assert shown.json()["votes"][0]["value"] == {"pin": "[redacted]", "why": "late"}
        front.vote(BOB, value={"pin": "0815", "why": "late"})
    kept = front.client.get("/v1/runs/r1/history", headers=bearer()).text
    assert "late" in kept
    assert "0815" not in kept
