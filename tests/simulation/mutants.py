"""Mutants: the promises of the protocol, broken one at a time, to see that the simulation notices.

Each is a context manager that breaks one thing and mends it afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from unittest.mock import patch

import msgspec

from rewake.authoring.context import TaskContext
from rewake.engine.instances.cache import Kept
from rewake.engine.logs.log_keeper import LogKeeper
from rewake.engine.logs.logs import AttemptLog
from rewake.engine.process.apart import Stay
from rewake.engine.process.heart import Heart
from rewake.engine.services import Services
from rewake.engine.turns import instance as engine_instance
from rewake.engine.turns import interrupted as engine_interrupted
from rewake.engine.turns import steps as engine_steps
from rewake.engine.turns.commits import Commits
from rewake.engine.turns.turn import Turn
from rewake.kinds import Kind
from rewake.records import Entry, Header, Invocation, Millis, Operation, Outcome, Scheduled
from rewake.replay.execution import Execution
from rewake.replay.operation import OpenOp
from rewake.states import RunState
from rewake.stores import operations as stores_operations
from rewake.stores import turns as stores_turns
from rewake.stores import writes as stores_writes
from rewake.stores.answers import Committed, Delivery, Fenced, RunClaim, TaskClaim
from rewake.stores.keys import header_key
from rewake.stores.protocol import Store
from rewake.stores.table import Check
from rewake.streamed import LogBatch

Mutant = Callable[[], AbstractContextManager[None]]


@contextmanager
def no_epoch_check() -> Iterator[None]:
    """The fence asks only for the count: a writer that was overtaken may still commit."""

    def fence(self: Store, held: Header, *, count: bool = True) -> list[list[Check]]:
        return [[Check("count", "=", held.count)]]

    with patch.object(Store, "_fence", fence):
        yield


@contextmanager
def no_arrival_condition() -> Iterator[None]:
    """A run parks although something arrived after its outcomes were read."""
    append = Store._append

    async def blind(
        self: Store, held: Header, entries: Sequence[Entry], changes: Any, **_: Any
    ) -> Any:
        return await append(self, held, entries, changes)

    with patch.object(Store, "_append", blind):
        yield


@contextmanager
def no_mark() -> Iterator[None]:
    """A failed commit counts as one's own success if the count has advanced."""
    append = Store._append

    async def hopeful(
        self: Store, held: Header, entries: Sequence[Entry], changes: Any, **more: Any
    ) -> Any:
        result = await append(self, held, entries, changes, **more)
        if isinstance(result, Fenced):
            found = await self.header(held.run)
            if found.count >= held.count + len(entries):
                return Committed(found)
        return result

    with patch.object(Store, "_append", hopeful):
        yield


@contextmanager
def dispatch_before_commit() -> Iterator[None]:
    """Tasks are sent off before the history asks for them."""
    park = Commits.park

    async def hasty(self: Commits, execution: Execution, wake: Millis | None) -> bool:
        await self._services.dispatcher.dispatch(
            [
                Invocation(self.header.run, entry.key, entry.name, entry.args)
                for entry in execution.fresh
                if isinstance(entry, Scheduled) and entry.kind is Kind.TASK
            ]
        )
        return await park(self, execution, wake)

    with patch.object(Commits, "park", hasty):
        yield


@contextmanager
def due_let_go_too_early() -> Iterator[None]:
    """An outcome's item stops guarding itself before its run was told."""
    arrive = Store._arrive

    async def careless(self: Store, won: bool, operation: Operation, *rest: Any) -> Delivery:
        await self._unguard(operation)
        return await arrive(self, won, operation, *rest)

    with patch.object(Store, "_arrive", careless):
        yield


@contextmanager
def last_wins() -> Iterator[None]:
    """A later outcome replaces the recorded one."""

    async def settle(
        self: Store, operation: Operation, outcome: Outcome, at: Millis, **_: Any
    ) -> tuple[bool, Operation]:
        written = await self._update(
            self.layout.item(operation),
            set={"outcome": outcome, "at": at, "owner": "", "lease": 0},
            create=operation,
        )
        return True, written.item

    with patch.object(Store, "settle", settle):
        yield


@contextmanager
def open_wait() -> Iterator[None]:
    """A timeout is observed without being settled: a decision can still come in."""

    async def observe(self: Turn, op: OpenOp, outcome: Outcome, due: Millis) -> Operation:
        return Operation(
            self._commits.header.run, op.key, op.kind, name=op.name, outcome=outcome, at=due
        )

    with patch.object(Turn, "_time_out", observe):
        yield


@contextmanager
def no_strikes() -> Iterator[None]:
    """Nobody counts how often a run or a task killed its process."""
    update = Store._update

    async def forgiving(
        self: Store, key: Any, *, add: Mapping[str, int] | None = None, **more: Any
    ) -> Any:
        kept = {name: by for name, by in (add or {}).items() if name not in ("strikes", "deaths")}
        return await update(self, key, add=kept, **more)

    with patch.object(Store, "_update", forgiving):
        yield


@contextmanager
def clock_goes_back() -> Iterator[None]:
    """The clock of a run is just the machine's."""

    def clock(entries: Sequence[Entry], _: Millis) -> Millis:
        return max(getattr(entry, "clock", 0) for entry in entries)

    with patch("rewake.stores.writes._clock_of", clock):
        yield


@contextmanager
def waits_for_the_clock() -> Iterator[None]:
    """What was written before the clock was set back is late by as much."""
    with patch.object(stores_writes, "is_ahead", lambda *_: False):
        yield


@contextmanager
def takes_what_is_behind_for_new() -> Iterator[None]:
    """An instance goes on from where it was, although another process has committed since."""
    with patch.object(Kept, "is_at", lambda *_: True):
        yield


@contextmanager
def takes_all_for_read() -> Iterator[None]:
    """An instance that goes on to a header takes all that has arrived by then for observed."""
    with patch.object(engine_instance, "read_at", lambda header: header.arrivals):
        yield


@contextmanager
def release_anything() -> Iterator[None]:
    """The fence does not ask whether the run is still running (a bug that this found)."""

    def old(self: Store, owner: str) -> list[Check]:
        return [Check("owner", "=", owner)]

    with patch.object(Store, "_held_by", old):
        yield


@contextmanager
def cancel_without_custody() -> Iterator[None]:
    """A cancellation leaves the run's due time alone (a bug that this found)."""
    update = Store._update

    async def old(self: Store, key: Any, **changes: Any) -> Any:
        if "cancel" in (changes.get("set") or ()):
            changes["set"] = {k: v for k, v in changes["set"].items() if k != "due"}
        return await update(self, key, **changes)

    with patch.object(Store, "_update", old):
        yield


@contextmanager
def no_looking_after() -> Iterator[None]:
    """Nobody looks after the tasks of a run whose step takes long (a bug that this found)."""

    async def nothing(self: Turn, execution: Execution) -> None:
        self._check_at = None

    with patch.object(Turn, "_look_after_tasks", nothing):
        yield


@contextmanager
def half_a_value() -> Iterator[None]:
    """Whoever carries a run on gets a large value without its body (a bug that this found)."""

    async def told(self: Store, delivery: Delivery) -> Delivery:
        return delivery

    with patch.object(Store, "_told", told):
        yield


@contextmanager
def closes_what_nobody_asked() -> Iterator[None]:
    """A wait that is not committed yet is closed for good (a bug that this found)."""
    settled = Turn._settled

    async def old(self: Turn, execution: Execution, known: Any, now: Millis) -> Any:
        fresh, execution.fresh = execution.fresh, []
        try:
            return await settled(self, execution, known, now)
        finally:
            execution.fresh = fresh

    with patch.object(Turn, "_settled", old):
        yield


@contextmanager
def _looking_where(holds: Callable[[Header], list[Check]]) -> Iterator[None]:
    """A sweeper moves the due time of a run wherever these conditions hold, and no others."""

    async def old(
        self: Store,
        seen: Header,
        *,
        check_at: Millis | None,
        wake: Millis | None,
        arrived: bool = False,
    ) -> bool:
        due = min((each for each in (check_at, wake) if each is not None), default=None)
        written = await self._update(
            header_key(seen.run),
            when=[holds(seen)],
            set={"check_at": check_at, "due": due},
            add={"arrivals": int(arrived)},
        )
        return written.ok

    with patch.object(Store, "recheck", old):
        yield


@contextmanager
def stale_check() -> Iterator[None]:
    """A sweeper moves a due time although the run went on meanwhile (a bug that this found)."""
    with _looking_where(lambda seen: [Check("state", "=", seen.state)]):
        yield


@contextmanager
def forgotten_losers() -> Iterator[None]:
    """Nobody sees to it that what an ended run withdrew is cancelled (a bug that this found)."""
    finish = Store.finish

    async def old(self: Store, *args: Any, state: RunState, due: Millis | None) -> Any:
        return await finish(self, *args, state=state, due=None)

    with patch.object(Store, "finish", old):
        yield


@contextmanager
def costly_logs() -> Iterator[None]:
    """An attempt fails if what it logged cannot be kept (a bug that this found)."""

    async def old(self: LogKeeper, context: TaskContext, logs: AttemptLog) -> None:
        logs.take(over=True)
        for part, lines in enumerate(logs.pending):
            batch = LogBatch(context.run, context.key, context.attempt, lines)
            store: Any = self._streams._store
            place = store.layout.log(context.run, context.key, context.attempt, part)
            await store._put(place, batch)

    with patch.object(LogKeeper, "end", old):
        yield


@contextmanager
def repeated_logs() -> Iterator[None]:
    """What a body logged is said, and kept, again by each replay."""

    def noisy(self: Execution, level: str, message: str) -> bool:
        self._log.add(self.clock, level, message)
        return True

    with patch.object(Execution, "log", noisy):
        yield


@contextmanager
def begins_beside_itself() -> Iterator[None]:
    """A process does not know which tasks it carries out (a bug that this found)."""

    class Forgetful(dict[tuple[str, str], str]):
        def __setitem__(self, here: tuple[str, str], owner: str) -> None:
            pass

    made = Services.__post_init__

    def forgetful(self: Services) -> None:
        made(self)
        self.attempts = Forgetful()

    with patch.object(Services, "__post_init__", forgetful):
        yield


@contextmanager
def takes_its_own_for_dead() -> Iterator[None]:
    """After a pause a process does not ask what it holds itself."""

    async def keeps(self: Heart, owner: str) -> bool:
        return False

    claim = Services.run_claim

    def takes_all(self: Services, run: str) -> RunClaim:
        return msgspec.structs.replace(claim(self, run), takes_over=True)

    with patch.object(Heart, "keeps", keeps), patch.object(Services, "run_claim", takes_all):
        yield


@contextmanager
def suspects_together() -> Iterator[None]:
    """A process begins all suspects at once, and blames each for its death."""
    run_claim, task_claim = Services.run_claim, Services.task_claim

    def run(self: Services, run: str) -> RunClaim:
        return msgspec.structs.replace(run_claim(self, run), apart=True)

    def task(self: Services, run: str, asked: Any) -> TaskClaim:
        return msgspec.structs.replace(task_claim(self, run, asked), apart=True)

    with patch.object(Services, "run_claim", run), patch.object(Services, "task_claim", task):
        yield


@contextmanager
def strikes_for_all() -> Iterator[None]:
    """Whatever is lost with its process is blamed, also what was not alone in it."""

    def losing(found: Header | Operation) -> Mapping[str, int]:
        return {"deaths": 1, "strikes": 1}

    with (
        patch.object(stores_operations, "losing", losing),
        patch.object(stores_turns, "losing", losing),
    ):
        yield


@contextmanager
def lets_in_too_early() -> Iterator[None]:
    """The next suspect begins before it is written that the last one is apart no more."""
    keep = Stay.keep

    def hasty(self: Stay) -> bool:
        if not (kept := keep(self)):
            self.leave()
        return kept or True

    with patch.object(Stay, "keep", hasty):
        yield


@contextmanager
def lost_attempts_without_numbers() -> Iterator[None]:
    """A step's attempt that died with its process gives its number back (a bug that was here)."""

    async def forgetful(*_: object, **__: object) -> bool:
        return True

    with patch.object(engine_interrupted, "_count_lost", forgetful):
        yield


@contextmanager
def interrupted_attempts_without_record() -> Iterator[None]:
    """A turn that is released says that it left nothing, and keeps nothing of its steps."""

    async def forgetful(*_: object, **__: object) -> None:
        pass

    with patch.object(engine_steps, "keep_interrupted", forgetful):
        yield


MUTANTS: Sequence[Mutant] = (
    lost_attempts_without_numbers,
    interrupted_attempts_without_record,
    suspects_together,
    strikes_for_all,
    lets_in_too_early,
    begins_beside_itself,
    no_epoch_check,
    no_arrival_condition,
    no_mark,
    dispatch_before_commit,
    due_let_go_too_early,
    last_wins,
    open_wait,
    no_strikes,
    clock_goes_back,
    waits_for_the_clock,
    takes_what_is_behind_for_new,
    takes_all_for_read,
    release_anything,
    cancel_without_custody,
    no_looking_after,
    half_a_value,
    closes_what_nobody_asked,
    stale_check,
    forgotten_losers,
    costly_logs,
    repeated_logs,
)
