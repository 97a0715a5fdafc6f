"""A table as one process sees it: every call may fail, lie, or be the process's last."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rewake.errors import StoreUnavailable
from rewake.records import Item, Millis
from rewake.stores.table import Due, Key, Page, Spread, T, When, Written
from rewake.testing.loop import for_ever
from tests.simulation.faults import BEFORE, CRASH_AFTER, CRASH_BEFORE, STALL, TOLD_FAILED
from tests.support.stores import WholeTable

if TYPE_CHECKING:
    from tests.simulation.world import Replica


class Died(BaseException):
    """Unwinds a transaction of a process that died in it. Nothing else ever sees it."""


class FaultyTable:
    """`base`, with the faults that the replica's world has for it. All that is written is watched.

    In a transaction no call can wait; one that dies there takes the whole transaction with it.
    `gate` is awaited before a call, by who directs what happens.
    """

    def __init__(self, replica: Replica, base: WholeTable, *, transactions: bool) -> None:
        self._replica = replica
        self._base = base
        self._transactions = transactions
        self._inside: list[tuple[Key, Written]] | None = None
        self.gate: Callable[[str, str], Awaitable[None]] | None = None

    @property
    def joins(self) -> bool:
        """As the table that everybody shares."""
        return self._base.joins

    @property
    def spread(self) -> Spread:
        """As the table that everybody shares."""
        return self._base.spread

    async def get(self, key: Key) -> Any:
        return await self._call("get", key, lambda: self._base.get(key))

    async def get_many(self, keys: Sequence[Key]) -> list[Any]:
        first = keys[0] if keys else None
        return await self._call("get", first, lambda: self._base.get_many(keys))

    async def put(self, key: Key, item: Item, *, absent: bool = False) -> Written:
        return await self._call("put", key, lambda: self._base.put(key, item, absent=absent))

    async def update(
        self,
        key: Key,
        *,
        when: When = (),
        set: Mapping[str, Any] | None = None,
        add: Mapping[str, int] | None = None,
        create: Item | None = None,
    ) -> Written:
        return await self._call(
            "update",
            key,
            lambda: self._base.update(key, when=when, set=set, add=add, create=create),
        )

    async def query(
        self,
        partition: str,
        prefix: str = "",
        *,
        limit: int | None = None,
        cursor: str | None = None,
        reverse: bool = False,
    ) -> Page:
        return await self._call(
            "query",
            Key(partition, prefix),
            lambda: self._base.query(
                partition, prefix, limit=limit, cursor=cursor, reverse=reverse
            ),
        )

    async def due(
        self,
        until: Millis,
        *,
        limit: int,
        tag: str = "",
        partition: str | None = None,
        after: Due | None = None,
    ) -> list[Due]:
        assert partition is None, "teach the simulation to sweep for one run alone"
        return await self._call(
            "due", None, lambda: self._base.due(until, limit=limit, tag=tag, after=after)
        )

    async def delete(self, keys: Sequence[Key], *, when: When = ()) -> None:
        for key in keys:
            await self._call("delete", key, lambda key=key: self._remove(key, when))  # type: ignore[misc]

    async def _remove(self, key: Key, when: When) -> None:
        await self._base.delete([key], when=when)
        self._replica.world.watch.removed(key, when)

    async def put_blob(self, run: str, name: str, data: bytes) -> None:
        where = Key(run, name)
        await self._call("put_blob", where, lambda: self._base.put_blob(run, name, data))

    async def get_blob(self, run: str, name: str) -> bytes:
        return await self._call("get_blob", Key(run, name), lambda: self._base.get_blob(run, name))

    async def delete_blobs(self, run: str, *, limit: int) -> bool:
        where = Key(run, "")
        return await self._call(
            "delete_blobs", where, lambda: self._base.delete_blobs(run, limit=limit)
        )

    async def together(self, work: Callable[[], Awaitable[T]]) -> T:
        if not self._transactions or self._inside is not None:
            return await self._base.together(work)
        fault = await self._begin("together", None)
        buffer: list[tuple[Key, Written]] = []

        async def inside() -> T:
            buffer.clear()  # it may be run again, after nothing of it was written
            self._inside = buffer
            try:
                return await work()
            finally:
                self._inside = None

        try:
            result = await self._base.together(inside)
        except Died:
            await for_ever()
            raise
        for key, written in buffer:
            self._replica.world.watch.wrote(self._replica, key, written)
        await self._end("together", fault)
        return result

    async def close(self) -> None:
        """The table is everybody's."""

    async def _call(self, call: str, key: Key | None, act: Callable[[], Awaitable[T]]) -> T:
        if self._inside is not None:
            return await self._inner(call, key, act, self._inside)
        fault = await self._begin(call, key)
        result = await act()
        if isinstance(result, Written) and key is not None:
            self._replica.world.watch.wrote(self._replica, key, result)
        await self._end(call, fault)
        return result

    async def _begin(self, call: str, key: Key | None) -> str | None:
        replica = self._replica
        if replica.dead:
            await for_ever()
        chaos = replica.world.chaos
        await replica.lag(chaos.lag())
        letter = "" if key is None else key.sort[:1]
        if self.gate is not None:
            await self.gate(call, letter)
            await replica.lag(0.0)
        fault = chaos.of_call(
            call, replica.world.seconds, letter=letter, refused=replica.is_refused
        )
        replica.world.trace(replica.name, call, "" if key is None else key.sort, fault or "")
        if fault == STALL:
            await replica.stall()
        if fault == CRASH_BEFORE:
            await self._die()
        if fault == BEFORE:
            raise StoreUnavailable(f"{call}: the simulation did not do it")
        return fault

    async def _end(self, call: str, fault: str | None) -> None:
        if fault == CRASH_AFTER:
            await self._die()
        if fault == TOLD_FAILED:
            raise StoreUnavailable(f"{call}: the simulation did it and denies it")
        await self._replica.lag(self._replica.world.chaos.lag())

    async def _inner(
        self,
        call: str,
        key: Key | None,
        act: Callable[[], Awaitable[T]],
        buffer: list[tuple[Key, Written]],
    ) -> T:
        world = self._replica.world
        letter = "" if key is None else key.sort[:1]
        refused = self._replica.is_refused
        fault = world.chaos.of_call(
            call, world.seconds, letter=letter, can_stall=False, refused=refused
        )
        world.trace(self._replica.name, f"  {call}", "" if key is None else key.sort, fault or "")
        if fault in (CRASH_BEFORE, CRASH_AFTER):
            self._replica.die(f"{fault} in a transaction")
            raise Died
        if fault == BEFORE:
            raise StoreUnavailable(f"{call}: the simulation did not do it")
        result = await act()
        if isinstance(result, Written) and key is not None:
            buffer.append((key, result))
        if fault == TOLD_FAILED:
            raise StoreUnavailable(f"{call}: the simulation did it and denies it")
        return result

    async def _die(self) -> None:
        self._replica.die("a crash")
        await for_ever()
