"""Starting a run where one may exist already: names, generations, and the caller's policy.

A start without a name makes a run that no other start can mean. A caller names a run:

- by an *id*, which is the id of one run for ever;
- by an *idempotency key*, which stands for a series of runs, its *generations*: `key-<hash>`, then
  `key-<hash>.2`, `key-<hash>.3` and so on. The key means the newest of them.

Generation k + 1 is created only after generation k was seen to have ended, by one conditional write
of its header. A run that has ended never goes on, but for a failed one that is retried: so before
that, generation k is marked as superseded while it has ended, and then it cannot be retried. Where
the database joins writes, the mark and the creation are one; elsewhere a start that dies between
them leaves the mark, and the same start asked for again goes on from it. Hence:

1. The generations are 1 to n without a gap, and all but the newest have ended. A reader that finds
   one that has not ended has found the newest; otherwise n is found by O(log n) reads.
2. Of several starts that all want to begin generation k + 1, one succeeds. The others find its run,
   and treat it by their own policies.

No further item says which generation is the newest: it would be a second item that has to agree
with the headers, and a crash between two writes would make it lie. A gap would hide the newer ones,
and let two of them run at once. So in the place of the first one that is removed stays a stone, for
as long as any other exists, and says from which generation on there is no gap (`Header.floor`;
`rewake.stores.removal` has the rules). That one is read again once the newest is found: what was
removed meanwhile looks like the end of the series.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum

from rewake.errors import InvalidInput, RunConflict
from rewake.kin import AN_ID, is_id, is_of_child
from rewake.limited import HIGHEST
from rewake.records import Header
from rewake.states import TERMINAL, RunState
from rewake.stores.generations import generation, is_of_key, place_of
from rewake.values.text import storable, stored_size

LONGEST_KEY = 255
"""The most bytes of an idempotency key, as JSON writes it: the header has little room."""

Create = Callable[[str, Header | None], Awaitable[tuple[Header, bool]]]
"""Creates a run of this id unless it exists. Returns the run, and whether it is new.

The second is the failed run that the new one follows, or the stone of the first of its key. That is
marked first, in one write with the creation where the database joins writes; it is returned if it
is not as it was: if it goes on, say.
"""
Find = Callable[[str], Awaitable[Header | None]]
"""Finds what stands in the place of a run's header; None if nothing does."""


class IfRunning(StrEnum):
    """The effect of starting again while the run has not ended (a stuck run has not)."""

    ATTACH = "attach"
    REJECT = "reject"


class IfFinished(StrEnum):
    """The effect of starting again after the run's end. `restart_failed` attaches after success."""

    ATTACH = "attach"
    REJECT = "reject"
    RESTART = "restart"
    RESTART_FAILED = "restart_failed"


class Act(StrEnum):
    """The effect of a policy on one existing run."""

    ATTACH = "attach"
    REJECT = "reject"
    RESTART = "restart"


RESTARTS = frozenset({IfFinished.RESTART, IfFinished.RESTART_FAILED})
"""The policies that may make another run of the same name; they are for keys only."""


@dataclass(frozen=True, slots=True)
class StartPolicy:
    """The caller's policy for an existing run of that name."""

    if_running: IfRunning = IfRunning.ATTACH
    if_finished: IfFinished = IfFinished.ATTACH

    def act(self, state: RunState) -> Act:
        """The effect on an existing run in this state."""
        if state not in TERMINAL:
            return Act(self.if_running)
        if self.if_finished is IfFinished.RESTART_FAILED:
            return Act.ATTACH if state is RunState.DONE else Act.RESTART
        return Act(self.if_finished)


@dataclass(frozen=True, slots=True)
class Name:
    """The name of a start: the id of its first run, and whether a series may follow it."""

    first: str
    series: bool = False

    def generation(self, number: int) -> str:
        """The id of the n-th run of this name."""
        return generation(self.first, number)

    def has(self, run: str) -> bool:
        """Whether this is the id of a run of this name."""
        place = place_of(run)
        return run == self.first or (self.series and place is not None and place[0] == self.first)


def name_of_key(workflow: str, key: str, tenant: str = "") -> Name:
    """The name that an idempotency key of one workflow gives: to each tenant one of its own."""
    whose = f"\0{tenant}" if tenant else ""
    named = f"{workflow}\0{key}{whose}".encode("utf-8", "surrogatepass")
    return Name(f"key-{hashlib.sha256(named).hexdigest()[:32]}", series=True)


def name_of_id(run: str) -> Name:
    """The name that a caller's id gives.

    Raises `InvalidInput`, also for an id that a key makes, or a run for its child.
    """
    check_id(run)
    if is_of_key(run):
        raise InvalidInput("ids of this form are those of idempotency keys", field="id")
    if is_of_child(run):
        raise InvalidInput("ids of this form are those of child runs", field="id")
    return Name(run)


def check_id(run: str) -> None:
    """Raise `InvalidInput` unless `run` can be the id of a run."""
    if not is_id(run):
        raise InvalidInput(f"a run id is {AN_ID}", field="id")


def check_key(key: str) -> None:
    """Raise `InvalidInput` unless `key` can be an idempotency key."""
    size = stored_size(storable(key))
    if not 1 <= size <= LONGEST_KEY:
        told = f"an idempotency key has 1 to {LONGEST_KEY} bytes of UTF-8, and this one {size}"
        raise InvalidInput(told, field="Idempotency-Key")


def check_priority(priority: int | None) -> None:
    """Raise `InvalidInput` unless it can be the priority of a start, or is None."""
    if priority is not None and (isinstance(priority, bool) or not -HIGHEST <= priority <= HIGHEST):
        told = f"a priority is a whole number from -{HIGHEST} to {HIGHEST}"
        raise InvalidInput(told, field="priority")


def policy_of(
    if_running: IfRunning | None,
    if_finished: IfFinished | None,
    *,
    run: str | None,
    key: str | None,
) -> StartPolicy:
    """The policy of a start, from the two wishes of its caller (None: no wish).

    Raises `InvalidInput` for a wish if nothing names the run, since no other run can have its name
    (the caller has omitted it); and for a restart of an id, which is the id of one run for ever.
    """
    asked = {"if_running": if_running, "if_finished": if_finished}
    for field, value in asked.items():
        if value is not None and run is None and key is None:
            raise InvalidInput(f"{field} needs an idempotency key or a run id", field=field)
    if if_finished in RESTARTS and key is None:
        told = "an id is that of one run for ever; use an idempotency key to start anew"
        raise InvalidInput(told, field="if_finished")
    return StartPolicy(if_running or IfRunning.ATTACH, if_finished or IfFinished.ATTACH)


async def begin_or_find(
    name: Name, policy: StartPolicy, create: Create, find: Find
) -> tuple[Header, bool]:
    """Begin a run of this name, or find one by the policy. Returns it, and whether it is new.

    A new name costs one call of `create` and nothing else. Raises `RunConflict`, which names the
    run, if the policy rejects.
    """
    number, follows = 1, None
    while True:  # again if another start was quicker, which is progress
        header, new = await create(name.generation(number), follows)
        if new:
            return header, True
        if name.series:
            number = 1 if header.run == name.first else number
            number, header = await newest(name, number, header, find)
            if not number:
                number, follows = 1, None
                continue
        match policy.act(header.was or header.state):
            case Act.ATTACH:
                return header, False
            case Act.REJECT:
                raise rejected(header)
        marked = header.state is RunState.FAILED or header.floor > 0
        follows = header if marked else None
        number += 1


def newer_than(run: str) -> str:
    """The id of the run that follows this one of an idempotency key."""
    place = place_of(run)
    assert place is not None
    return generation(place[0], place[1] + 1)


async def newest(name: Name, number: int, header: Header, find: Find) -> tuple[int, Header]:
    """The newest generation, found from an existing one by doubling and halving the stride.

    Of a key of which none is left it is the stone of the first, with the number of the last; with
    the number 0, the key was forgotten meanwhile.
    """
    while True:
        stone, floor = header if number == 1 else None, header.floor
        if stone is None or not floor:
            return await _newest_from(name, number, header, find)
        found = await find(name.generation(floor))
        number = floor - 1
        if found is not None:
            number, header = await _newest_from(name, floor, found, find)
        again = await find(name.first)
        if again is None:
            return 0, header
        if again.floor <= number + 1:
            return number, header
        number, header = 1, again


async def _newest_from(name: Name, number: int, header: Header, find: Find) -> tuple[int, Header]:
    """The same from one behind which there is no gap."""
    missing, stride = 0, 1  # 0: none is known to be missing
    while header.state in TERMINAL and missing != number + 1:
        tried = (number + missing) // 2 if missing else number + stride
        found = await find(name.generation(tried))
        if found is None:
            missing = tried
        else:
            number, header, stride = tried, found, 2 * stride
    return number, header


def rejected(header: Header) -> RunConflict:
    """The refusal of a start by its policy for the run that there is."""
    ended = header.state in TERMINAL
    told = "has ended already (if_finished" if ended else "has not ended (if_running"
    return RunConflict(f"run {header.run!r} {told}=reject)", run=header.run)
