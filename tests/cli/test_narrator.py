"""A recorded history, told to a person: line by line, and where the code of today differs."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from rewake import (
    Approval,
    Decision,
    callback,
    respond,
    sleep,
    step,
    task,
    wait_for_approval,
    workflow,
)
from rewake.app import App
from rewake.cli.replay.narrator import Narrator
from rewake.cli.replay.tracer import LONGEST, Difference, Tracer
from rewake.engine.instances.program import RunProgram
from rewake.engine.outside.approvals import Approvals, open_approvals
from rewake.records import Header, Logged
from rewake.stores.history import History
from rewake.testing.clock import EPOCH
from rewake.views.values import Values
from tests.support.virtual import SECRET, Bench, virtually

Body = Callable[[str], Coroutine[Any, Any, Any]]
Recorded = tuple[Header, History]
DAY = "2023-11-14T"
"""The day of EPOCH; runs begin at 22:13:20."""
MARGIN = " " * 26


@task
async def greet(name: str, *, mark: str = "!") -> str:
    if name == "nobody":
        raise ValueError("whom?")
    return f"hello {name}{mark}"


def members(body: Body) -> list[object]:
    """This body as the workflow `main`, and its task."""
    return [workflow(name="main")(body), greet]


def recorded(body: Body, who: str = "you", *, cancel: bool = False) -> Recorded:
    """What is stored of a run of this body, to which people were kind."""
    found: list[Recorded] = []

    async def record(bench: Bench) -> None:
        run = (await bench.start("main", who=who)).run
        await asyncio.sleep(0.5)
        _, history = await bench.engine.history(run)
        for key in open_approvals(history):
            await Approvals(bench.engine).decide(run, key, Approval(Decision.APPROVED))
        if cancel:
            await bench.engine.cancel(run, "enough")
        await asyncio.sleep(10)
        found.append(await bench.engine.history(run))

    virtually(members(body), record, url="https://app.example")
    return found[0]


def tracer_of(body: Body, run: Recorded) -> Tracer:
    app, header = App(), run[0]
    for member in members(body):
        app.add(member)
    program = RunProgram(app, header, SECRET)
    return Tracer(program, Values(SECRET, header.run), run=header.run, seed=header.seed)


def feed(tracer: Tracer, run: Recorded) -> Tracer:
    """The tracer, after it was fed all that is recorded."""
    tracer.replay(run[1].entries, run[1].outcomes())
    tracer.drop()
    return tracer


# --- line by line ------------------------------------------------------------------------------


async def whole(who: str) -> int:
    said = await greet(who, mark="?")
    await wait_for_approval("boss")
    await sleep(1)
    return await step("count", lambda: len(said))


async def flaky(who: str) -> str:
    tries: list[str] = []

    def once_more() -> str:
        tries.append(who)
        if len(tries) < 2:
            raise ConnectionError("down")
        return who

    return await step("flaky", once_more, retries=1, delay=2, jitter=0)


async def sleeps(who: str) -> str:
    await sleep(100)
    return who


async def greets(who: str) -> str:
    return await greet(who)


async def chats(who: str) -> None:
    logging.getLogger("app").warning("said by the body")
    await sleep(1)


async def quiet(who: str) -> None:
    await sleep(1)


async def answers(who: str) -> None:
    await respond(who)
    await sleep(1)


WHOLE = f"""\
{DAY}22:13:20.000Z  started      {{"who":"you"}}
{MARGIN}asks for   greet  task greet("you", mark="?")
{DAY}22:13:20.000Z  completed  greet  ok "hello you?"
{MARGIN}asks for   boss  approval boss {{"form":null,"description":null}}
{DAY}22:13:20.500Z  completed  boss  ok {{"decision":"approved","value":null,"approver":null,\
"comment":null,"decisions":[{{"approver":null,"action":"approve","value":null,"comment":null,"at":"2023-11-1…
{MARGIN}asks for   sleep  timer sleep until {DAY}22:13:21.500Z (1.0 s)
{DAY}22:13:21.500Z  fired      sleep
{MARGIN}asks for   count  step count
{DAY}22:13:21.500Z  stepped    count  ok 10
{MARGIN}ends
"""
FLAKY = f"""\
{DAY}22:13:20.000Z  started      {{"who":"you"}}
{MARGIN}asks for   flaky  step flaky
{DAY}22:13:20.000Z  stepped    flaky  error: ConnectionError: down, to be tried again
{DAY}22:13:22.000Z  stepped    flaky  ok "you"
{MARGIN}ends
"""
CANCELLED = f"""\
{DAY}22:13:20.000Z  started      {{"who":"you"}}
{MARGIN}asks for   sleep  timer sleep until {DAY}22:15:00.000Z (1 min 40 s)
{DAY}22:13:20.500Z  cancel       enough
{MARGIN}cancels    sleep
{MARGIN}ends
"""
FAILED = f"""\
{DAY}22:13:20.000Z  started      {{"who":"nobody"}}
{MARGIN}asks for   greet  task greet("nobody")
{DAY}22:13:20.000Z  completed  greet  error: ValueError: whom?
{MARGIN}ends
"""


@pytest.mark.parametrize(
    ("body", "who", "cancel", "story"),
    [
        (whole, "you", False, WHOLE),
        (flaky, "you", False, FLAKY),
        (sleeps, "you", True, CANCELLED),
        (greets, "nobody", False, FAILED),
    ],
    ids=["whole", "retried", "cancelled", "failed"],
)
def test_a_history_is_told_line_by_line(
    body: Body, who: str, cancel: bool, story: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each event with its moment and what it brought, then what the code asked for, to the end."""
    run = recorded(body, who, cancel=cancel)
    assert run[0].created == EPOCH
    tracer = tracer_of(body, run)
    Narrator(tracer, run[1])
    capsys.readouterr()
    feed(tracer, run)
    assert capsys.readouterr().out == story
    assert (tracer.difference, tracer.error) == (None, None)


def test_an_answer_is_no_timer(capsys: pytest.CaptureFixture[str]) -> None:
    """A run that answers is said to have answered; what had its time has fired."""
    run = recorded(answers)
    tracer = tracer_of(answers, run)
    Narrator(tracer, run[1])
    capsys.readouterr()
    feed(tracer, run)
    said = [line.split()[1:3] for line in capsys.readouterr().out.splitlines() if "Z  " in line]
    assert said[1:] == [["answered", "respond"], ["fired", "sleep"]]


def test_a_narrator_speaks_only_while_somebody_listens(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Once nobody listens any more, the rest of the history is fed in silence."""
    run = recorded(whole)
    tracer = tracer_of(whole, run)
    Narrator(tracer, run[1], lambda: tracer.events < 3)
    capsys.readouterr()
    feed(tracer, run)
    assert capsys.readouterr().out.splitlines() == WHOLE.splitlines()[:4]
    assert tracer.events == 5


async def called(who: str) -> Any:
    wait = callback("paid", result=dict[str, int], heartbeat_timeout=1)
    try:
        return await wait
    except TimeoutError:
        return who


def test_of_a_callback_nothing_is_shown_that_only_its_link_needs(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Its name and its time are told, and neither the facts of its link nor its encoded type."""
    run = recorded(called)
    tracer = tracer_of(called, run)
    Narrator(tracer, run[1])
    capsys.readouterr()
    feed(tracer, run)
    [asks] = [each for each in capsys.readouterr().out.splitlines() if "asks for" in each]
    assert asks.strip().startswith("asks for   paid  callback paid")
    assert not {"{", "["} & set(asks)


def test_a_long_value_is_cut(capsys: pytest.CaptureFixture[str]) -> None:
    """A line stays a line: of each value its beginning is shown, and that there is more."""
    run = recorded(greets, "you" * 200)
    tracer = tracer_of(greets, run)
    Narrator(tracer, run[1])
    capsys.readouterr()
    feed(tracer, run)
    _, asks, brings, _ = capsys.readouterr().out.splitlines()
    start = json.dumps("you" * 200)[: LONGEST - 1]
    assert asks == f"{MARGIN}asks for   greet  task greet({start}…)"
    assert brings.endswith("…")
    assert len(brings) < LONGEST + 60


# --- where it differs --------------------------------------------------------------------------


async def other_argument(who: str) -> str:
    return await greet(f"{who}!")


async def no_json(who: Any) -> Any:
    return await greet({who})  # type: ignore[arg-type]


async def a_step(who: str) -> str:
    return await step("greet", lambda: who)


async def greets_and_sleeps(who: str) -> str:
    said = await greet(who)
    await sleep(3)
    return said


async def other_result(who: str) -> str:
    return (await greet(who)).upper()


async def other_end(who: str) -> str:
    await greet(who)
    raise KeyError(who)


@pytest.mark.parametrize(
    ("old", "new", "difference"),
    [
        (greets, other_argument, ("greet", 'task greet("you")', 'task greet("you!")')),
        (greets, no_json, ("greet", 'task greet("you")', 'task greet(["you"])')),
        (greets, a_step, ("greet", 'task greet("you")', "step greet")),
        (
            greets,
            greets_and_sleeps,
            ("sleep", 'the end: ok "hello you!"', f"timer sleep until {DAY}22:13:23.000Z (3.0 s)"),
        ),
        (
            greets_and_sleeps,
            greets,
            ("sleep", f"timer sleep until {DAY}22:13:23.000Z (3.0 s)", 'the end: ok "hello you!"'),
        ),
        (
            greets,
            other_end,
            ("the end", 'the end: ok "hello you!"', "the end: error: KeyError: 'you'"),
        ),
    ],
)
def test_the_first_difference_is_told(old: Body, new: Body, difference: tuple[str, ...]) -> None:
    """At which key, what is recorded there, and what the code asks for now, in the same words."""
    run = recorded(old)
    tracer = feed(tracer_of(new, run), run)
    assert tracer.difference == Difference(*difference)
    assert tracer.error is not None


def test_another_result_is_told_although_it_may_differ() -> None:
    """A replay does not stop at it, but a person who tries new code wants to know."""
    run = recorded(greets)
    tracer = feed(tracer_of(other_result, run), run)
    assert tracer.error is None
    assert tracer.difference == Difference(
        "the end", 'the end: ok "hello you!"', 'the end: ok "HELLO YOU!"'
    )


def test_what_the_body_logs_is_no_difference() -> None:
    """Lines of log may come and go: the code is the same with them or without."""
    for old, new in ((chats, quiet), (quiet, chats)):
        run = recorded(old)
        assert any(isinstance(entry, Logged) for entry in run[1].entries) is (old is chats)
        tracer = feed(tracer_of(new, run), run)
        assert (tracer.difference, tracer.error, tracer.events) == (None, None, 2)
