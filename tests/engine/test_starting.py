"""What starting a run promises where one of that name may be there, in virtual time."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewake import Approval, Decision, step, wait_for_approval, workflow
from rewake.engine.engine import Engine
from rewake.engine.outside.approvals import Approvals
from rewake.engine.runs.runs import LONGEST_REASON
from rewake.engine.starts.starting import (
    Act,
    IfFinished,
    IfRunning,
    Name,
    StartPolicy,
    begin_or_find,
    name_of_key,
    newest,
)
from rewake.errors import InvalidInput, RunConflict, StoreUnavailable
from rewake.records import Header
from rewake.states import TERMINAL, RunState
from rewake.stores.table import Written
from tests.support.virtual import TABLES, Bench, virtually

everywhere = pytest.mark.parametrize("table", TABLES)
FIRST = name_of_key("waits", "k").first
ENDS = {"done": RunState.DONE, "failed": RunState.FAILED, "cancelled": RunState.CANCELLED}
held: list[str] = []


@workflow
async def waits(number: int = 0, hang: bool = False) -> int:
    if hang:
        await asyncio.Event().wait()
    answer = await wait_for_approval("end")
    if not answer.approved:
        raise ValueError("rejected")
    return number


async def start(
    engine: Engine,
    if_running: IfRunning | None = None,
    if_finished: IfFinished | None = None,
    **arguments: Any,
) -> tuple[str, bool]:
    """Start with the key `k`: the generation's suffix (empty for the first), and if it is new."""
    header, new = await engine.start(
        "waits",
        arguments,
        idempotency_key="k",
        if_running=if_running,
        if_finished=if_finished,
    )
    assert header.run.startswith(FIRST)
    return header.run.removeprefix(FIRST), new


async def end(engine: Engine, run: str, how: str) -> None:
    """Let a run that waits end in this way."""
    await asyncio.sleep(1)
    if how == "cancelled":
        await engine.cancel(run)
    else:
        decision = Decision.APPROVED if how == "done" else Decision.REJECTED
        await Approvals(engine).decide(run, "end", Approval(decision))
    await engine.result(run, 100)
    assert (await engine.get(run)).state is ENDS[how]


# --- the rules ---------------------------------------------------------------------------------


@pytest.mark.parametrize("state", RunState)
@pytest.mark.parametrize("if_running", IfRunning)
@pytest.mark.parametrize("if_finished", IfFinished)
def test_each_policy_is_for_its_states(
    state: RunState, if_running: IfRunning, if_finished: IfFinished
) -> None:
    """One policy is for runs that have not ended, stuck ones too, the other for those that have."""
    act = StartPolicy(if_running, if_finished).act(state)
    if state not in TERMINAL:
        assert act.value == if_running.value
    elif if_finished is IfFinished.RESTART_FAILED:
        assert act is (Act.ATTACH if state is RunState.DONE else Act.RESTART)
    else:
        assert act.value == if_finished.value


@given(st.integers(1, 5000), st.booleans())
def test_the_newest_generation_is_found_by_few_reads(count: int, over: bool) -> None:
    """Of n generations the last is found by at most 2 log2 n + 1 reads; one read if n is 1."""
    name, reads = Name("k", series=True), 0

    def header(number: int) -> Header:
        state = RunState.DONE if over or number < count else RunState.PARKED
        return Header(name.generation(number), "w", 0, seed=0, runtime=1, state=state)

    async def look(run: str) -> Header | None:
        nonlocal reads
        reads += 1
        number = int(run.partition(".")[2])
        return header(number) if number <= count else None

    number, found = asyncio.run(newest(name, 1, header(1), look))
    assert (number, found) == (count, header(count))
    assert reads <= 2 * (count - 1).bit_length() + 1


def test_a_start_that_is_always_too_late_takes_what_it_finds() -> None:
    """However many generations come and end meanwhile, the one that is met running is taken."""
    name = Name("k", series=True)
    there = [Header("k", "w", 0, seed=0, runtime=1, state=RunState.DONE)]

    async def create(run: str, failed: Header | None) -> tuple[Header, bool]:
        assert not failed  # only a failed run must be marked
        if await look(run) is None:  # somebody else begins it just before
            state = RunState.DONE if len(there) < 8 else RunState.PARKED
            there.append(Header(run, "w", 0, seed=0, runtime=1, state=state))
        return there[-1] if run != "k" else there[0], False

    async def look(run: str) -> Header | None:
        return next((header for header in there if header.run == run), None)

    policy = StartPolicy(if_finished=IfFinished.RESTART)
    header, new = asyncio.run(begin_or_find(name, policy, create, look))
    assert (header.run, new) == ("k.9", False)


def test_a_start_that_meets_a_retry_takes_the_run_that_goes_on() -> None:
    """The failed run was retried before it could be marked as superseded: there is no other."""
    failed = Header("k", "w", 0, seed=0, runtime=1, state=RunState.FAILED)
    retried = Header("k", "w", 0, seed=0, runtime=1, state=RunState.READY)
    asked = list[tuple[str, Header | None]]()

    async def create(run: str, follows: Header | None) -> tuple[Header, bool]:
        asked.append((run, follows))
        return (retried if follows else failed), False

    async def look(_: str) -> Header | None:
        return None

    policy, name = StartPolicy(if_finished=IfFinished.RESTART), Name("k", series=True)
    found = asyncio.run(begin_or_find(name, policy, create, look))
    assert (found, asked) == ((retried, False), [("k", None), ("k.2", failed)])


# --- starting ----------------------------------------------------------------------------------


@everywhere
def test_a_running_run_is_attached_to_or_rejects(table: str) -> None:
    """By default the run that is there is given; `reject` refuses, and names it."""

    async def body(bench: Bench) -> None:
        assert await start(bench.engine) == ("", True)
        assert await start(bench.engine, IfRunning.ATTACH, IfFinished.RESTART) == ("", False)
        names: list[dict[str, Any]] = [{"idempotency_key": "k"}, {"run": "mine"}]
        for by in names:
            there, _ = await bench.engine.start("waits", {}, **by)
            with pytest.raises(RunConflict, match="has not ended") as refused:
                await bench.engine.start("waits", {}, **by, if_running=IfRunning.REJECT)
            assert refused.value.run == there.run

    virtually([waits], body, table=table)


@everywhere
@pytest.mark.parametrize("how", ENDS)
@pytest.mark.parametrize("if_finished", [None, *IfFinished])
def test_a_finished_run_is_treated_as_asked(
    table: str, how: str, if_finished: IfFinished | None
) -> None:
    """It is given, refused or followed by a new one; `restart_failed` spares one that succeeded."""

    async def body(bench: Bench) -> None:
        await start(bench.engine)
        await end(bench.engine, FIRST, how)
        spared = if_finished is IfFinished.RESTART_FAILED and how == "done"
        if if_finished is IfFinished.REJECT:
            with pytest.raises(RunConflict, match="has ended already") as refused:
                await start(bench.engine, if_finished=if_finished)
            assert refused.value.run == FIRST
        elif if_finished in (None, IfFinished.ATTACH) or spared:
            assert await start(bench.engine, if_finished=if_finished) == ("", False)
        else:
            assert await start(bench.engine, if_finished=if_finished) == (".2", True)
            await end(bench.engine, f"{FIRST}.2", "done")

    virtually([waits], body, table=table)


@everywhere
def test_a_key_means_the_newest_of_its_runs(table: str) -> None:
    """Attaching and rejecting are about the newest generation; the older ones stay as they are."""

    async def body(bench: Bench) -> None:
        for suffix in ("", *(f".{number}" for number in range(2, 8))):
            assert await start(bench.engine, if_finished=IfFinished.RESTART) == (suffix, True)
            assert await start(bench.engine) == (suffix, False)
            with pytest.raises(RunConflict) as refused:
                await start(bench.engine, IfRunning.REJECT)
            assert refused.value.run == f"{FIRST}{suffix}"
            await end(bench.engine, f"{FIRST}{suffix}", "done")
            assert await start(bench.engine) == (suffix, False)
        headers, _ = await bench.engine.list()
        assert len(headers) == 7
        assert {header.state for header in headers} == {RunState.DONE}

    virtually([waits], body, table=table)


def test_a_new_generation_may_have_other_arguments() -> None:
    """Attaching compares with the newest run; one that is begun anew has what it was given."""

    async def body(bench: Bench) -> None:
        engine, second = bench.engine, f"{FIRST}.2"
        await start(engine, number=1)
        with pytest.raises(RunConflict, match="other arguments"):
            await start(engine, if_finished=IfFinished.RESTART, number=2)
        await end(engine, FIRST, "done")
        assert await start(engine, if_finished=IfFinished.RESTART, number=2) == (".2", True)
        assert await start(engine, number=2) == (".2", False)
        with pytest.raises(RunConflict, match="other arguments") as refused:
            await start(engine, number=1)
        assert refused.value.run == second
        await end(engine, second, "done")
        assert await bench.result(second) == 2

    virtually([waits], body)


def test_a_stuck_run_counts_as_running() -> None:
    """It can still be resumed, so that nothing is begun in its place."""

    async def body(bench: Bench) -> None:
        restart = IfFinished.RESTART
        await start(bench.engine, hang=True)
        await asyncio.sleep(1)
        assert (await bench.engine.get(FIRST)).state is RunState.STUCK
        assert await start(bench.engine, if_finished=restart, hang=True) == ("", False)
        with pytest.raises(RunConflict):
            await start(bench.engine, IfRunning.REJECT, restart, hang=True)
        await bench.engine.cancel(FIRST, even_stuck=True)
        assert await start(bench.engine, if_finished=restart) == (".2", True)

    virtually([waits], body)


@pytest.mark.parametrize(
    ("given", "field", "says"),
    [
        ({"if_running": IfRunning.ATTACH}, "if_running", "needs an idempotency key or a run id"),
        ({"if_finished": IfFinished.REJECT}, "if_finished", "needs an idempotency key or a run id"),
        ({"run": "r", "if_finished": IfFinished.RESTART}, "if_finished", "use an idempotency key"),
        (
            {"run": "r", "if_finished": IfFinished.RESTART_FAILED},
            "if_finished",
            "use an idempotency key",
        ),
        ({"run": FIRST}, "id", "those of idempotency keys"),
        ({"run": f"{FIRST}.3"}, "id", "those of idempotency keys"),
        ({"run": ""}, "id", "a run id is 1 to 128"),
    ],
)
def test_a_policy_that_does_not_fit_is_refused(given: Any, field: str, says: str) -> None:
    """It needs a name that it is about; an id is one run's for ever, and no key's. None exists."""

    async def body(bench: Bench) -> None:
        with pytest.raises(InvalidInput, match=says) as refused:
            await bench.engine.start("waits", {}, **given)
        assert refused.value.field == field
        assert await bench.engine.list() == ([], None)

    virtually([waits], body)


def test_a_fresh_key_costs_no_more_than_no_key() -> None:
    """Policies or not, a key that is new is two writes and no read; a running one no more."""

    async def body(bench: Bench) -> None:
        calls: Counter[str] = Counter()
        await bench.engine.start("waits", {})  # the first of a day notes that day
        await bench.engine.close()  # whatever is started now is only written down

        def count(name: str) -> None:
            original = getattr(bench.table, name)

            async def counted(*given: Any, **more: Any) -> Any:
                calls[name] += 1
                return await original(*given, **more)

            setattr(bench.table, name, counted)

        for name in ("get", "put", "update", "query", "delete"):
            count(name)
        key = {"idempotency_key": "l"}
        again = {**key, "if_running": IfRunning.ATTACH, "if_finished": IfFinished.RESTART}
        named: list[tuple[dict[str, Any], bool]] = [({}, True), (again, True), (again, False)]
        for names, expected in named:
            calls.clear()
            _, new = await bench.engine.start("waits", {}, **names)
            assert (new, calls) == (expected, {"put": 2})

    virtually([waits], body)


@workflow
async def holds() -> None:
    await step("hold", hold)


async def hold() -> None:
    held.append("begun")
    await asyncio.sleep(100)


def test_a_start_does_not_go_on_with_what_another_process_has_taken_over() -> None:
    """Its write was denied, it stood still, and its lease ran out: its run is new, and not its."""
    held.clear()

    async def body(bench: Bench) -> None:
        put = bench.table.put
        denied: list[str] = []

        async def stalls(key: Any, item: Any, **more: Any) -> Written:
            written = await put(key, item, **more)
            if isinstance(item, Header) and not denied:
                denied.append(item.run)
                await asyncio.sleep(20)
                raise StoreUnavailable("it was done, and is denied")
            return written

        bench.table.put = stalls  # type: ignore[method-assign]
        other = bench.another()
        other.open()
        header, new = await bench.engine.start("holds", {}, idempotency_key="k")
        assert (new, header.epoch) == (True, 2)
        await bench.engine.result(header.run, 200)
        assert held == ["begun"]
        await other.close()

    virtually([holds], body)


# --- any sequence ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Start:
    """One start, by one of two processes."""

    process: int
    number: int
    if_running: IfRunning | None
    if_finished: IfFinished | None


STARTS = st.builds(
    Start,
    st.integers(0, 1),
    st.integers(0, 1),
    st.none() | st.sampled_from(IfRunning),
    st.none() | st.sampled_from(IfFinished),
)


class Model:
    """What a key stands for: a list of runs, each its argument and how it ended, if it has."""

    def __init__(self) -> None:
        self.runs: list[tuple[int, str]] = []

    def start(self, asked: Start) -> tuple[str, bool] | None:
        """The newest run's suffix, and whether it is new; None if this is refused."""
        if not self.runs:
            return self._new(asked)
        number, ended = self.runs[-1]
        policy = str((asked.if_finished if ended else asked.if_running) or "attach")
        if policy == "restart" or (policy == "restart_failed" and ended != "done"):
            return self._new(asked)
        return None if policy == "reject" or number != asked.number else (self.suffix, False)

    def _new(self, asked: Start) -> tuple[str, bool]:
        self.runs.append((asked.number, ""))
        return self.suffix, True

    @property
    def suffix(self) -> str:
        """What the newest run's id ends in."""
        return f".{len(self.runs)}" if len(self.runs) > 1 else ""

    def end(self, how: str) -> bool:
        """End the newest run, if there is one that has not ended."""
        if not self.runs or self.runs[-1][1]:
            return False
        self.runs[-1] = (self.runs[-1][0], how)
        return True


@everywhere
@settings(max_examples=100, deadline=None)
@given(actions=st.lists(STARTS | st.sampled_from(list(ENDS)), max_size=20))
def test_any_sequence_of_starts_is_as_simple_as_a_list(
    table: str, actions: list[Start | str]
) -> None:
    """Starts by several processes, and ends, come to what a plain list of runs says."""

    async def body(bench: Bench) -> None:
        model, engines = Model(), (bench.engine, bench.another())
        engines[1].open()
        for action in actions:
            if isinstance(action, str):
                if model.end(action):
                    await end(bench.engine, f"{FIRST}{model.suffix}", action)
                continue
            expected = model.start(action)
            engine = engines[action.process]
            asking = start(engine, action.if_running, action.if_finished, number=action.number)
            if expected is not None:
                assert await asking == expected
                continue
            with pytest.raises(RunConflict) as refused:
                await asking
            assert refused.value.run == f"{FIRST}{model.suffix}"
        headers, _ = await bench.engine.list(limit=100)
        assert len(headers) == len(model.runs)
        await engines[1].close()

    virtually([waits], body, table=table)


# --- the reason to cancel ----------------------------------------------------------------------


@pytest.mark.parametrize("unit", ["x", "é", "\U0001f600", '"', "\n", "\0"])
def test_the_reason_to_cancel_has_room_in_the_header(unit: str) -> None:
    """A reason is kept if it has at most 200 bytes as stored, and refused with one unit more."""
    size = {"x": 1, "é": 2, "\U0001f600": 4, '"': 2, "\n": 2, "\0": 6}[unit]
    longest = unit * (LONGEST_REASON // size)

    async def body(bench: Bench) -> None:
        await start(bench.engine)
        await asyncio.sleep(1)
        for reason in (longest + unit, longest + "xxxxxx", "\ud800"):
            with pytest.raises(InvalidInput) as refused:
                await bench.engine.cancel(FIRST, reason)
            assert refused.value.field == "reason"
        assert (await bench.engine.get(FIRST)).cancel is None
        await bench.engine.cancel(FIRST, longest)
        await bench.engine.result(FIRST, 10)
        assert (await bench.engine.get(FIRST)).cancel == longest

    virtually([waits], body)


def test_a_start_that_died_keeps_no_failed_run_from_being_retried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The older run is marked, and the newer one made, in one transaction."""

    async def body(bench: Bench) -> None:
        engine = bench.engine
        place = engine.services.store._place

        async def dies(header: Header, *rest: Any) -> Any:
            if header.run != FIRST:
                raise RuntimeError("dead")
            return await place(header, *rest)

        assert await start(engine) == ("", True)
        await end(engine, FIRST, "failed")
        with monkeypatch.context() as patch:
            patch.setattr(engine.services.store, "_place", dies)
            with pytest.raises(RuntimeError, match="dead"):
                await start(engine, None, IfFinished.RESTART)
        assert (await engine.retry(FIRST)).state is RunState.READY

    virtually([waits], body, table="sqlite")
