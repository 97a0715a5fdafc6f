"""The name that the user's own code gives to an asyncio task, which is then part of keys.

Only a name that the workflow's own package passes counts: libraries name their tasks by addresses
and by counters of the process, and no replay would find such keys again. Until Python 3.12 asyncio
names a task only once it is made, and on each minor in another way; so its frames are asked.
"""

from __future__ import annotations

from types import FrameType

_ASYNCIO = frozenset({"asyncio.tasks", "asyncio.taskgroups"})


def name_given(name: str | None, frame: FrameType | None, package: str) -> str:
    """The name of the asyncio task that this frame makes; '' unless `package` has named it.

    `name`: the one that has come as far as the event loop.
    """
    while frame is not None and frame.f_globals.get("__name__") in _ASYNCIO:
        given = frame.f_locals
        name = given.get("name", given.get("kwargs", {}).get("name"))
        frame = frame.f_back
    if not name or frame is None:
        return ""
    module = str(frame.f_globals.get("__name__", ""))
    return str(name) if module.partition(".")[0] == package else ""
