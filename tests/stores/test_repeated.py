"""What is one write is repeated as one: whoever was told that it had failed is told what it did."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import msgspec
import pytest

from rewake.clock import SystemClock
from rewake.errors import StoreUnavailable
from rewake.kinds import Kind, OutcomeKind
from rewake.noted import Try
from rewake.records import Failure, Header, Operation, Outcome, Scheduled, Started, Value
from rewake.states import RunState
from rewake.stores.answers import Committed, RunClaim, TaskClaim
from rewake.stores.memory import MemoryTable
from rewake.stores.protocol import Store
from rewake.stores.reads import TRIES
from rewake.stores.table import Written
from tests.stores.test_joins import Heard

T = TypeVar("T")
VALUE = Value("json", msgspec.Raw(b"1"))
TASK = Operation("r", "a", Kind.TASK)
ASKED = [Scheduled("a", Kind.TASK, "task", "", VALUE)]


class Denying(MemoryTable):
    """Makes one write of what runs together, and says of each as often that it failed."""

    joins = True

    def __init__(self) -> None:
        super().__init__()
        self.denials = TRIES - 1
        self._left: int | None = None

    async def together(self, work: Callable[[], Awaitable[T]]) -> T:
        if self._left is not None:  # it is within another
            return await work()
        self._left = 0
        try:
            found = await work()
        finally:
            self._left = None
        if self.denials:
            self.denials -= 1
            raise StoreUnavailable("it was done, and is denied")
        self.denials = TRIES - 1
        return found


def test_each_is_recognised_by_what_it_wrote() -> None:
    """A start, a claim, a commit, a park with a task, and a delivery; none happens twice."""

    async def main() -> None:
        table, marks = Denying(), iter(map(str, range(10_000)))
        store = Store(table, table, mark=lambda: next(marks), clock=SystemClock(), here=Heard())
        header = Header("r", "main", 1, seed=1, runtime=1)
        _, new = await store.start(header, Started(1, VALUE))
        assert new
        held = await store.claim("r", RunClaim("turn", 1, 60_000))
        assert isinstance(held, Header)
        assert held.epoch == 1
        done = await store.commit(held, ASKED, progress=True)
        assert isinstance(done, Committed)
        assert done.header.count == 2
        claim = TaskClaim("r", "a", "task", "worker", 1, 60_000)
        parked = await store.park(done.header, [], gap=1, wake=None, check_at=10**15, take=[claim])
        assert isinstance(parked, Committed)
        assert parked.header.state is RunState.PARKED
        assert parked.taken["a"].attempts == 1
        delivery = await store.deliver(
            TASK, Outcome(OutcomeKind.OK, VALUE), 2, claim=RunClaim("next", 2, 60_000), sole=True
        )
        assert delivery.won
        assert delivery.claimed
        assert delivery.header is not None
        assert delivery.header.epoch == 2

    asyncio.run(main())


class DenyingOne(MemoryTable):
    """Makes a change, and says once that it failed."""

    denies = False

    async def update(self, *given: Any, **named: Any) -> Written:
        written = await super().update(*given, **named)
        if self.denies:
            self.denies = False
            raise StoreUnavailable("it was done, and is denied")
        return written


@pytest.mark.parametrize("way", ["retry", "release", "lose"])
def test_a_task_that_was_let_go_is_known_to_be(way: str) -> None:
    """Else no message is sent for its next attempt, which then waits for a sweep."""
    failure = Failure("ValueError", "no")

    async def main() -> None:
        table, marks = DenyingOne(), iter(map(str, range(10_000)))
        store = Store(table, table, mark=lambda: next(marks), clock=SystemClock(), here=Heard())
        await store.start(Header("r", "main", 1, seed=1, runtime=1), Started(1, VALUE))
        await store.claim_task(TaskClaim("r", "a", "task", "worker", 1, 60_000))
        calls: Mapping[str, Callable[[], Awaitable[bool]]] = {
            "retry": lambda: store.retry_task(
                "r", "a", "worker", at=9, failure=failure, tries=[Try(1, 1, 2)]
            ),
            "release": lambda: store.release_task("r", "a", "worker", 9),
            "lose": lambda: store.lose_task("r", "a", "worker", 9, failure),
        }
        table.denies = True
        assert await calls[way]()
        assert not await calls[way](), "it holds it no more"

    asyncio.run(main())


def test_it_is_not_repeated_for_ever() -> None:
    """After some tries whoever asked is told."""

    async def main() -> None:
        table = Denying()
        table.denials = TRIES
        store: Any = Store(table, table, mark=lambda: "m", clock=SystemClock(), here=Heard())
        with pytest.raises(StoreUnavailable):
            await store.claim_task(TaskClaim("r", "a", "task", "worker", 1, 60_000))

    asyncio.run(main())
