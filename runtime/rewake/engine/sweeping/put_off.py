"""Tasks of a paused run that are due: they are put off, and begin when it is resumed.

No item can say that its run is paused, for the header decides, and a task's due time is its own. So
who looks at such a task finds the run paused, and looks again once the pause has lasted for twice
as long, but after a quarter of an hour at the latest: a pause of a week costs each task that was to
be tried again some 700 looks, and no claim. A resumed run is due for a check of its tasks, which
lets those begin that were put off. Should somebody put one off in just that moment, and die before
it has looked once more, then it begins with its next look.
"""

from __future__ import annotations

from rewake.engine.services import Services
from rewake.records import Header, Millis, Operation
from rewake.stores.paused import is_paused
from rewake.stores.table import Key

LONGEST: Millis = 900_000
"""The longest time between two looks at a task whose run is paused."""


async def put_off(services: Services, header: Header, key: Key, due: Millis, now: Millis) -> None:
    """Look at a task of a paused run later, unless that was resumed meanwhile. `due`: it is now."""
    lasts = now - header.changed if not header.pause else 0
    later = now + min(max(lasts, services.settings.grace), LONGEST)
    if await services.store.postpone(key, due, later):
        found = await services.store.find(header.run)
        if found is not None and not is_paused(found):
            await services.store.postpone(key, later, now)


def is_put_off(task: Operation, now: Millis, grace: Millis) -> bool:
    """Whether a task could begin, and is looked at later than any but a paused one is."""
    free = task.outcome is None and not task.owner and (task.not_before or 0) <= now
    free = free and task.line is None  # else it waits for a limit, and is let in by a message
    return free and task.due is not None and task.due > now + grace
