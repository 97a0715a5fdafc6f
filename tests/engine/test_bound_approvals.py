"""Approvals that bind one call: it is made as approved, once."""

from __future__ import annotations

import asyncio
import datetime as dt
from dataclasses import dataclass
from enum import Enum
from typing import Any

import pytest

from rewake import (
    Approval,
    Call,
    Decision,
    Notice,
    TaskError,
    approval,
    bind,
    sleep,
    task,
    workflow,
)
from rewake.engine.outside.approvals import Approvals
from rewake.errors import InvalidInput, RunConflict
from rewake.kinds import Purpose
from rewake.pages.answers import parse
from rewake.pages.controls import Drawing
from rewake.pages.schemas import root_field
from rewake.records import Scheduled
from rewake.states import RunState
from rewake.values.run_codec import RunCodec
from tests.support.virtual import SECRET, Bench, Ended, virtually

URL = "https://app.example"
made: list[Any] = []
told: list[tuple[str, str]] = []
broken: set[str] = set()
setup: dict[str, Any] = {}


class Way(Enum):
    CARD = "card"
    CASH = "cash"


@dataclass
class Item:
    name: str
    count: int = 1


@task
async def refund(
    order: str,
    amount: float,
    way: Way = Way.CARD,
    *,
    item: Item | None = None,
    day: dt.date | None = None,
) -> str:
    made.append((order, amount, way, item, day))
    if broken:
        raise ConnectionError("no bank")
    return f"{order} {amount} {way.value}"


@pytest.fixture(autouse=True)
def nothing_made() -> None:
    made.clear()
    broken.clear()
    setup.clear()
    setup.update(order="o1", amount=5.0)


@workflow
async def pays() -> str:
    call = bind(refund, **setup)
    answer = await approval("refund", binds=call)
    if not answer.approved:
        return f"denied: {answer.comment}"
    return await call.run(answer)


async def asked(bench: Bench, workflow: str = "pays", **arguments: Any) -> str:
    run = (await bench.start(workflow, **arguments)).run
    await asyncio.sleep(1)
    return run


async def decide(bench: Bench, run: str, value: Any = None, key: str = "refund") -> None:
    await Approvals(bench.engine).decide(run, key, Approval(Decision.APPROVED, value))


EDITED = {"order": "o2", "amount": 4, "way": "cash", "item": {"name": "x"}, "day": "2026-01-02"}
AS_IT_IS = {"order": "o1", "amount": 5.0, "way": "card", "item": None, "day": None}


@pytest.mark.parametrize("cached", [256, 0])
@pytest.mark.parametrize(
    ("value", "called"),
    [
        (None, ("o1", 5.0, Way.CARD, None, None)),
        (AS_IT_IS, ("o1", 5.0, Way.CARD, None, None)),
        (EDITED, ("o2", 4.0, Way.CASH, Item("x"), dt.date(2026, 1, 2))),
    ],
    ids=["none", "as it is", "edited"],
)
def test_what_was_approved_is_called(value: Any, called: Any, cached: int) -> None:
    """As it was bound, or with the edited arguments, of the types of the parameters."""

    async def body(bench: Bench) -> None:
        run = await asked(bench)
        await decide(bench, run, value)
        assert await bench.result(run) == f"{called[0]} {called[1]} {called[2].value}"
        assert made == [called]
        assert type(made[0][1]) is float

    virtually([pays, refund], body, url=URL, cached=cached)


@pytest.mark.parametrize(
    ("value", "field"),
    [
        ({**AS_IT_IS, "amount": "much"}, "value.amount"),
        ({**AS_IT_IS, "more": 1}, "value"),
        ({"amount": 4}, "value.order"),
        ({**AS_IT_IS, "way": "gold"}, "value.way"),
        ([], "value"),
    ],
)
def test_what_does_not_fit_the_parameters_is_refused(value: Any, field: str) -> None:
    """The approval stays open, and nothing is called."""

    async def body(bench: Bench) -> None:
        run = await asked(bench)
        with pytest.raises(InvalidInput) as refused:
            await decide(bench, run, value)
        assert refused.value.field == field
        await decide(bench, run)
        assert await bench.result(run) == "o1 5.0 card"

    virtually([pays, refund], body, url=URL)


def test_a_denial_has_its_reason() -> None:
    """It is the comment."""

    async def body(bench: Bench) -> None:
        run = await asked(bench)
        no = Approval(Decision.REJECTED, comment="too much")
        await Approvals(bench.engine).decide(run, "refund", no)
        assert await bench.result(run) == "denied: too much"
        assert made == []

    virtually([pays, refund], body, url=URL)


# --- taken once ----------------------------------------------------------------------------------


@workflow
async def misuses(how: str) -> Any:
    call = bind(refund, "o1", 5.0, item=(item := Item("x")))
    if how == "before":
        return await call.run(Approval(Decision.APPROVED))
    answer = await approval("refund", binds=call)
    if how == "again":
        return [await call.run(answer), await call.run(answer)]
    if how == "at once":
        return await asyncio.gather(call.run(answer), call.run(answer))
    if how == "another call":
        return await bind(refund, "o1", 5.0).run(answer)
    if how == "another answer":
        return await call.run(Approval(Decision.APPROVED, {**AS_IT_IS, "amount": 1_000_000}))
    if how == "changed":
        item.count = 1_000
        return await call.run(answer)
    if how == "bound twice":
        return await approval("refund", binds=call)
    if how == "forgotten":
        call.run(answer)  # type: ignore[unused-coroutine]
        return None
    return await call.run(answer)


@pytest.mark.parametrize(
    ("how", "said", "times"),
    [
        ("before", "is none to an approval", 0),
        ("again", "taken once", 1),
        ("at once", "taken once", 1),
        ("another call", "is none to an approval", 0),
        ("another answer", "is none to an approval", 0),
        ("changed", "were changed", 0),
        ("bound twice", "bind another", 0),
        ("denied", "was not approved", 0),
        ("forgotten", "never awaited", 0),
    ],
)
def test_it_is_taken_once_and_for_this_call_only(how: str, said: str, times: int) -> None:
    """Anything else is refused, before anything is called."""

    async def body(bench: Bench) -> None:
        run = await asked(bench, "misuses", how=how)
        if how != "before":
            decision = Decision.REJECTED if how == "denied" else Decision.APPROVED
            await Approvals(bench.engine).decide(run, "refund", Approval(decision))
        with pytest.raises(Ended) as ended:
            await bench.result(run)
        assert ended.value.failure is not None
        assert ended.value.failure.type == "UsageError"
        assert said in ended.value.failure.message
        assert len(made) <= times

    virtually([misuses, refund], body, url=URL, cached=0)


@pytest.mark.parametrize("cached", [256, 0])
def test_a_retry_of_the_run_asks_again(cached: int) -> None:
    """What was approved has failed: a retry opens the approval, and calls once it is approved."""
    broken.add("bank")

    async def body(bench: Bench) -> None:
        run = await asked(bench)
        await decide(bench, run)
        with pytest.raises(Ended):
            await bench.result(run)
        broken.clear()
        await asyncio.sleep(100)
        await bench.engine.retry(run)
        await asyncio.sleep(100)
        assert len(made) == 1
        assert (await bench.engine.get(run)).state is RunState.PARKED
        await decide(bench, run, {**AS_IT_IS, "amount": 3})
        assert await bench.result(run) == "o1 3.0 card"
        assert len(made) == 2

    virtually([pays, refund], body, url=URL, cached=cached)


@task
async def tell(notice: Notice) -> None:
    told.append((str(notice.kind), notice.call))


@workflow
async def tells() -> str:
    call = bind(refund, **setup)
    answer = await approval("refund", binds=call, notify=tell)
    return await call.run(answer)


@pytest.mark.parametrize("cached", [256, 0])
def test_a_retry_of_the_run_tells_people_that_it_asks_again(cached: int) -> None:
    """They were told of a decision that counts no more: whoever retries must agree to that."""
    broken.add("bank")
    told.clear()

    async def body(bench: Bench) -> None:
        run = await asked(bench, "tells")
        await decide(bench, run)
        with pytest.raises(Ended):
            await bench.result(run)
        broken.clear()
        with pytest.raises(RunConflict, match="decided"):
            await bench.engine.retry(run)
        await bench.engine.retry(run, discard_cleanup=True)
        await asyncio.sleep(100)
        assert len(made) == 1
        await decide(bench, run)
        assert await bench.result(run) == "o1 5.0 card"
        assert [kind for kind, _ in told] == ["asked", "decided", "asked", "decided"]
        assert {call for _, call in told} == {
            'refund(order="o1", amount=5.0, way="card", item=null, day=null)'
        }

    virtually([tells, refund, tell], body, url=URL, cached=cached)


@workflow
async def fails_before() -> str:
    call = bind(refund, **setup)
    answer = await approval("refund", binds=call)
    await sleep(5)
    if broken:
        raise ValueError("a bug")
    return await call.run(answer)


def test_what_was_not_taken_stands_on_a_retry() -> None:
    """An error before the call takes nothing."""
    broken.add("bug")

    async def body(bench: Bench) -> None:
        run = await asked(bench, "fails_before")
        await decide(bench, run)
        with pytest.raises(Ended):
            await bench.result(run)
        broken.clear()
        await bench.engine.retry(run)
        assert await bench.result(run) == "o1 5.0 card"

    virtually([fails_before, refund], body, url=URL, cached=0)


@workflow
async def tries_on() -> list[str]:
    told: list[str] = []
    while True:
        call = bind(refund, **setup)
        answer = await approval("refund", binds=call)
        try:
            return [*told, await call.run(answer)]
        except TaskError as error:
            told.append(error.type)


def test_a_second_try_needs_a_second_approval() -> None:
    """A body that calls again, after a call that failed, asks again."""
    broken.add("bank")

    async def body(bench: Bench) -> None:
        run = await asked(bench, "tries_on")
        await decide(bench, run)
        await asyncio.sleep(5)
        broken.clear()
        assert len(made) == 1
        await decide(bench, run, key="refund.3")
        assert await bench.result(run) == ["ConnectionError", "o1 5.0 card"]

    virtually([tries_on, refund], body, url=URL, cached=0)


# --- what is recorded and shown ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"amount": 6.0}, "amount differs (recorded 5.0, asked for 6.0)"),
        ({"order": "o22"}, "order differs"),
    ],
)
def test_other_arguments_are_another_call(change: dict[str, Any], told: str) -> None:
    """Code that asks otherwise than was recorded makes the run stuck, and calls nothing."""

    async def body(bench: Bench) -> None:
        run = await asked(bench)
        setup.update(change)
        await decide(bench, run)
        await asyncio.sleep(5)
        header = await bench.engine.get(run)
        assert header.state is RunState.STUCK
        assert told in header.error
        assert made == []

    virtually([pays, refund], body, url=URL, cached=0)


async def recorded(bench: Bench, run: str) -> dict[str, Any]:
    _, history = await bench.engine.history(run)
    [entry] = [each for each in history.entries if isinstance(each, Scheduled)]
    assert entry.args is not None
    found: dict[str, Any] = RunCodec(SECRET, run).decode(
        entry.args, key=entry.key, purpose=Purpose.APPROVAL
    )
    return found


def test_the_form_is_made_of_the_arguments() -> None:
    """An untouched form, as a browser sends it, gives the arguments as they are."""

    async def body(bench: Bench) -> None:
        setup.update(order="a\nb", item=Item("x", 2), day=dt.date(2026, 1, 2))
        run = await asked(bench)
        asked_with = await recorded(bench, run)
        whole = {
            "order": "a\nb",
            "amount": 5.0,
            "way": "card",
            "item": {"name": "x", "count": 2},
            "day": "2026-01-02",
        }
        assert asked_with["binds"] == {"task": "refund", "arguments": whole}
        form = Drawing(None, {}).control(root_field(asked_with["form"]))
        posted = {
            each.name: [o.token for o in each.options if o.is_chosen]
            or [each.text.replace("\n", "\r\n")]
            for each in form.all()
        }
        assert parse(asked_with["form"], posted) == (whole, {})

    virtually([pays, refund], body, url=URL)


@task
async def odd(given: object, data: bytes, texts: list[str], late: int = 3) -> str:
    made.append((given, data, texts, late))
    return "done"


@workflow
async def oddly() -> str:
    call = bind(odd, {1, 2}, b"abc", [" a ", "b\nc"])
    answer = await approval("odd", binds=call)
    return await call.run(answer)


def test_what_no_form_gives_back_is_shown_and_stays() -> None:
    """A form is made of the rest."""

    async def body(bench: Bench) -> None:
        run = await asked(bench, "oddly")
        asked_with = await recorded(bench, run)
        assert list(asked_with["form"]["properties"]) == ["data", "late"]
        assert list(asked_with["binds"]["arguments"]) == ["given", "data", "texts", "late"]
        await decide(bench, run, {"data": "YWJj", "late": 4}, key="odd")
        assert await bench.result(run) == "done"
        assert made == [({1, 2}, b"abc", [" a ", "b\nc"], 4)]

    virtually([oddly, odd], body, url=URL)


@workflow
async def fixed() -> str:
    call = bind(whatever, {1, 2})
    return await call.run(await approval("odd", binds=call))


@task
async def whatever(given: object) -> str:
    return f"called with {given}"


def test_where_nothing_can_be_edited_nothing_is() -> None:
    """A value is refused, and no run is made to fail by one."""

    async def body(bench: Bench) -> None:
        run = await asked(bench, "fixed")
        assert (await recorded(bench, run))["form"] is None
        values: list[Any] = [{"given": 1}, {}, [1], "x"]
        for value in values:
            with pytest.raises(InvalidInput, match="cannot be edited"):
                await decide(bench, run, value, key="odd")
        await decide(bench, run, key="odd")
        assert await bench.result(run) == "called with {1, 2}"

    virtually([fixed, odd, whatever], body, url=URL)


@workflow
async def wrongly(how: str) -> Any:
    if how == "form":
        return await approval(binds=bind(refund, "o1", 1.0), form={"type": "object"})
    if how == "no task":
        return bind(print, "o1")  # type: ignore[arg-type]
    call: Call[str] = bind(refund, "o1")  # type: ignore[call-arg]
    return call


@pytest.mark.parametrize(
    ("how", "said"),
    [("form", "leave form= out"), ("no task", "@task"), ("arguments", "amount")],
)
def test_what_cannot_be_bound_is_told(how: str, said: str) -> None:
    """At once."""

    async def body(bench: Bench) -> None:
        with pytest.raises(Ended) as ended:
            await bench.run("wrongly", how=how)
        assert ended.value.failure is not None
        assert said in ended.value.failure.message

    virtually([wrongly, refund], body, url=URL)


@workflow
async def sends(size: int) -> int:
    call = bind(send, "ann", "x" * size)
    return await call.run(await approval("send", binds=call))


@task
async def send(to: str, text: str) -> int:
    return len(to + text)


@pytest.mark.parametrize("size", [10, 40_000, 400_000])
def test_a_call_of_any_size_can_be_approved(size: int) -> None:
    """What is too large for a form is approved as it is; the rest can still be edited."""

    async def body(bench: Bench) -> None:
        run = await asked(bench, "sends", size=size)
        edited = {"to": "bo", **({"text": "y"} if size == 10 else {})}
        await decide(bench, run, edited, "send")
        assert await bench.result(run) == (3 if size == 10 else size + 2)

    virtually([sends, send], body, url=URL)
