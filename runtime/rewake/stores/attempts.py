"""Attempts at tasks in the store, between their claim and their outcome.

What an attempt tells of itself (`Operation.progress`) is for the attempt after it. It is written in
place of a look at the claim, and like all that is written here only while the claim still holds the
task: so an attempt that was overtaken takes nothing back of what its successor has told.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rewake.noted import Try
from rewake.records import Failure, Millis, Operation, Value
from rewake.stores.operations import Operations, tries_of
from rewake.stores.suspects import BLAMED, CLEARED
from rewake.stores.table import Check, When
from rewake.stores.writes import UNOWNED


class Attempts(Operations):
    """The writes of the protocol by which a claimed task is kept, told of, and given up."""

    async def renew_task(
        self,
        run: str,
        key: str,
        owner: str,
        now: Millis,
        lease: Millis,
        *,
        process: str = "",
        apart: bool = False,
    ) -> bool:
        """Hold a task by the lease of a process, or go on by one of its own, and guard it.

        False if it has an outcome or another owner.
        """
        written = await self._update(
            self.layout.operation(run, key),
            when=_open_and_of(owner),
            set={**self._held_until(now, lease, process), "apart": apart},
        )
        return written.ok

    async def has_task(self, run: str, key: str, owner: str) -> bool:
        """Whether this owner holds the task, which has no outcome."""
        found = await self._held_task(run, key, owner)
        return found is not None and found.outcome is None

    async def report_task(self, run: str, key: str, owner: str, told: Mapping[str, Any]) -> bool:
        """Keep what an attempt has told: changes of its item. False as in `renew_task`."""
        written = await self._update(
            self.layout.operation(run, key), when=_open_and_of(owner), set=told
        )
        return written.ok

    async def absolve_task(self, run: str, key: str, owner: str) -> None:
        """Forget the deaths under a task, if it was last taken from this owner, who lives."""
        where = self.layout.operation(run, key)
        found: Operation | None = await self._table.get(where)
        # Read first: most tasks that are stopped were withdrawn, and must not cost a write.
        if found is not None and found.taken == owner:
            await self._update(where, when=[[Check("taken", "=", owner)]], set=CLEARED)

    async def retry_task(
        self,
        run: str,
        key: str,
        owner: str,
        *,
        at: Millis,
        failure: Failure,
        tries: list[Try],
        due: Millis | None = None,
        args: Value | None = None,
        told: Mapping[str, Any] = {},
    ) -> bool:
        """Record that the attempt failed; the next one may begin from `at` on, with `args`.

        `due`: when a sweep must look, if that is later, since a message goes out for `at`. `told`:
        what it has told and is not written yet, as in `report_task`. One of `tries` that is lost
        counts as that.
        """
        kept = await self._blobs.offload(run, args, key=key)
        more: dict[str, Any] = {"failure": failure, "tries": tries, "args": kept, **told}
        more["due"] = at if due is None else due
        lost = {"lost": 1} if tries[-1].lost else {}
        return await self._free(run, key, owner, at, add=lost, **more)

    async def release_task(
        self, run: str, key: str, owner: str, at: Millis, now: Millis | None = None
    ) -> bool:
        """Release the task, and do not count the attempt; any process may begin it from `at` on.

        The attempt's number is not given back: what it logged stays where it is. Without `now`
        (when it ended) it never began, and nothing of it stays.
        """
        if now is None:
            return await self._free(run, key, owner, at, add={"attempts": -1, "number": -1})
        found = await self._held_task(run, key, owner)
        if found is None:
            return False
        return await self._free(
            run, key, owner, at, add={"attempts": -1}, tries=tries_of(found, now)
        )

    async def lose_task(self, run: str, key: str, owner: str, at: Millis, failure: Failure) -> bool:
        """Count the attempt as lost although its process lives; any may begin it from `at` on."""
        found = await self._held_task(run, key, owner)
        if found is None:
            return False
        tries = tries_of(found, at, failure, lost=True)
        lost = {"lost": 1, **BLAMED}
        return await self._free(run, key, owner, at, add=lost, failure=failure, tries=tries)

    async def _held_task(self, run: str, key: str, owner: str) -> Operation | None:
        """The task's item, None if this owner does not hold it."""
        where = self.layout.operation(run, key)
        found: Operation | None = await self._again(lambda: self._table.get(where))
        return None if found is None or found.owner != owner else found

    async def _free(
        self,
        run: str,
        key: str,
        owner: str,
        at: Millis,
        *,
        add: Mapping[str, int] = {},
        **more: Any,
    ) -> bool:
        mark = self._mark()
        written = await self._update(
            self.layout.operation(run, key),
            when=_open_and_of(owner),
            set={**UNOWNED, "mark": mark, "not_before": at, "due": at, **more},
            add=add,
        )
        freed: Operation | None = written.item
        return written.ok or (freed is not None and freed.mark == mark)


def _open_and_of(owner: str) -> When:
    """The condition that the task has no outcome, and this owner holds it."""
    return [[Check("owner", "=", owner), Check("outcome", "absent")]]
