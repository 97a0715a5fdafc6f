"""All that is shown of a run that has ended, as one JSON document, in parts.

It is what `rewake runs export` puts together of the pages of a server: how the run stands, the
entries of its history, its operations, its lines of log. Entries are told as they are read;
operations, and lines, once all are known, for a later page may have the last word on one, and lines
are in the order of time. So it takes as much memory as a replay does.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

import msgspec
from msgspec import Raw

from rewake.errors import CheckpointUnreadable, ReadableElsewhere
from rewake.records import Header, Value
from rewake.signing.secret import Secret
from rewake.stores.pages import Place
from rewake.stores.reads import Reads
from rewake.values.run_codec import RunCodec
from rewake.views.history_pages import Asked, history_page
from rewake.views.log_pages import Lines, LogPlace, log_page
from rewake.views.runs import RunView
from rewake.views.values import Values

AT_ONCE = 100
"""How many entries, or lines, a part has of what it reads."""


async def told_whole(
    store: Reads, header: Header, run: RunView, secret: Secret
) -> AsyncGenerator[bytes]:
    """The parts of the document. Raises as pages do, and `ReadableElsewhere`.

    What another process could read is not told as unreadable: it would be lost with the run.
    """
    RunCodec(secret, header.run, header.digest_key)  # opens its key, or raises
    yield b'{"run":%b,"entries":[' % msgspec.json.encode(run)
    operations: dict[str, dict[str, Any]] = {}
    place, first = Place(round=header.round), True
    values = _Whole(secret, header.run)
    while True:
        page = await history_page(store, header, place, Asked(AT_ONCE, values=values))
        yield _listed(page.entries, first=first)
        first &= not page.entries
        for view in page.operations:
            operations[view.key] = _plain(view)
        for changed in page.changed:
            if changed.key in operations:
                operations[changed.key] = told(operations[changed.key], _plain(changed))
        place = page.place
        if not page.more:
            break
    yield b'],"operations":['
    for part in _some(list(operations.values())):
        yield part
    yield b'],"lines":['
    for part in _some(await _lines(store, header)):
        yield part
    yield b"]}"


def told(operation: Mapping[str, Any], changed: Mapping[str, Any]) -> dict[str, Any]:
    """An operation, and what a later page says of it."""
    whole = {**operation, **changed}
    if whole.get("ended") and whole.get("duration") is None:
        began, ended = (datetime.fromisoformat(whole[name]) for name in ("asked", "ended"))
        whole["duration"] = max(0, (ended - began) // timedelta(milliseconds=1))
    return whole


class _Whole(Values):
    """Shows the values of a run, unless another process could read one."""

    def show(self, value: Value, *, key: str, purpose: str) -> Raw:
        try:
            self.opened(value, key=key, purpose=purpose)
        except ReadableElsewhere:
            raise
        except CheckpointUnreadable:
            pass  # for good: it is shown as that
        return super().show(value, key=key, purpose=purpose)


async def _lines(store: Reads, header: Header) -> list[dict[str, Any]]:
    found = list[dict[str, Any]]()
    place: LogPlace | None = LogPlace()
    while place is not None:
        page = await log_page(store, header, place, Lines(), AT_ONCE)
        found += page.lines
        place = page.place
    return sorted(found, key=lambda line: line["at"])


def _plain(view: msgspec.Struct) -> dict[str, Any]:
    """A view as it is told, with its values as they are."""
    return msgspec.json.decode(msgspec.json.encode(view), type=dict[str, Any])


def _some(items: list[dict[str, Any]]) -> Iterable[bytes]:
    for begin in range(0, len(items), AT_ONCE):
        yield _listed(items[begin : begin + AT_ONCE], first=begin == 0)


def _listed(items: list[dict[str, Any]], *, first: bool) -> bytes:
    told = msgspec.json.encode(items)[1:-1]
    return told if first or not items else b"," + told
