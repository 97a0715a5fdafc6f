"""One action on many runs: what cannot be done to one of them holds up no other."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from rewake.cli.exits import Exit
from rewake.cli.remote.acting import Selection, act
from rewake.cli.remote.runs import Call, Server
from rewake.client.answers import Reply
from rewake.client.asking import Ask, Flow, Manner
from rewake.errors import (
    InvalidInput,
    RunConflict,
    RunNotFound,
    StuckError,
    Throttled,
    UsageError,
)

RUNS: list[dict[str, Any]] = [
    {"id": f"r{n}", "workflow": "main", "state": "suspended", "cancel": "late" if n == 1 else None}
    for n in range(7)
]
REFUSED = {
    "r0": RunNotFound("r0 was removed"),
    "r2": RunConflict("r2 is over"),
    "r3": StuckError("r3 cannot be read"),
    "r4": InvalidInput("r4 has another input", field="x"),
    "r5": Throttled("main is started too often"),
}


class Many:
    """A server with these runs."""

    def __init__(self) -> None:
        self.asked: list[Mapping[str, Any]] = []
        self.done: list[str] = []
        self.made: list[str] = []

    async def pages(
        self, name: str, *path: str, query: Mapping[str, Any]
    ) -> AsyncIterator[dict[str, Any]]:
        self.asked.append(query)
        for each in RUNS:
            yield each
        for made in self.made:  # they have failed since
            yield {**RUNS[0], "id": made}

    manner = Manner("http://127.0.0.1:9", 0, lambda: 0.0)

    async def do(self, flow: Flow[Any]) -> Any:
        """Carry out a flow of one request; of what is there already it says so."""
        ask = next(flow)
        assert isinstance(ask, Ask)
        assert ask.body is not None
        _, _, run, _ = ask.path
        if run in REFUSED:
            raise REFUSED[run]
        made: str = json.loads(ask.body)["id"]
        self.done.append(run)
        self.made.append(made)
        return {**RUNS[0], "id": made}

    async def post(self, *path: str, body: object) -> Reply:
        if path[1] in REFUSED:
            raise REFUSED[path[1]]
        self.done.append(path[1])
        return Reply(200, RUNS[int(path[1][1:])])


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch) -> Many:
    """What commands ask instead of a server."""
    found = Many()

    async def call_it(call: Call) -> Exit:
        return await call(found)  # type: ignore[arg-type]

    monkeypatch.setattr(Server, "ask", lambda _, call: asyncio.run(call_it(call)))
    return found


def test_what_is_refused_of_one_run_holds_up_no_other(
    many: Many, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each refusal has a line, and the exit code says that there were some."""
    chosen = Selection(label="customer=c1", tenant="t1", acts_on=("failed", "stuck"))
    assert act(Server(), chosen, "retry") is Exit.FAILED
    assert many.done == ["r1", "r6"]
    [query] = many.asked
    assert (query["state"], query["label"], query["tenant"]) == (
        "failed,stuck",
        "customer=c1",
        "t1",
    )
    assert capsys.readouterr().err.count("\n") == len(REFUSED)


def test_many_are_asked_to_cancel_once(many: Many, capsys: pytest.CaptureFixture[str]) -> None:
    """Who is cancelled already is passed over: asked again, it would cancel its cleanup."""
    assert act(Server(), Selection(workflow="main"), "cancel") is Exit.FAILED
    assert many.done == ["r6"]
    assert "r1 main is asked to cancel already" in capsys.readouterr().err


def test_many_are_begun_anew_once(many: Many, capsys: pytest.CaptureFixture[str]) -> None:
    """Repeated with the batch that is told, it asks for the same runs, and for none of those."""
    chosen = Selection(state="failed")
    act(Server(), chosen, "rerun")
    told = re.search(r"--batch (\w+)", capsys.readouterr().err)
    assert told is not None
    first = list(many.made)
    assert len(set(first)) == 2
    act(Server(), chosen, "rerun", told[1])
    assert many.made == first * 2
    assert set(many.done) == {"r1", "r6"}
    act(Server(), chosen, "rerun")
    assert len(set(many.made)) > len(set(first))


@pytest.mark.parametrize("batch", ["", "a b", "x" * 65])
def test_what_names_no_batch_is_refused(many: Many, batch: str) -> None:
    """Ids are made of its name; and one run is no batch."""
    with pytest.raises(UsageError, match="--batch"):
        act(Server(), Selection(state="failed"), "rerun", batch)
    with pytest.raises(UsageError, match="--batch is for many"):
        act(Server(), Selection("r1"), "rerun", "nightly")
    assert many.done == []
