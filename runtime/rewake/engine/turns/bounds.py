"""The bounds of what one run may store: how long its history gets, and how large a value is.

Who comes near one is warned, at a half and at four fifths, once each: by the commit that passes the
mark. What would pass a bound is refused before it is written: the run is stuck, and goes on once
the bound is raised, or a deploy gives it less to write. A task whose result is too large fails.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import NamedTuple

from rewake.engine.settings import Settings
from rewake.errors import LimitReached
from rewake.records import Entry, Header, Value
from rewake.stores.blobs import value_of

log = logging.getLogger("rewake.engine")
MARKS = (50, 80)
"""At so many percent of a bound somebody is warned."""


def check_history(header: Header, entries: Sequence[Entry], most: int) -> None:
    """Raise `LimitReached` if these entries do not fit; warn of a history that becomes long."""
    before, after = header.count, header.count + len(entries)
    if after > most:
        told = f"its history would have {after:,} entries, and may have {most:,}"
        fix = "call continue_as_new() in time; to let this run go on, raise REWAKE_MOST_ENTRIES"
        raise LimitReached(f"{told} (REWAKE_MOST_ENTRIES): {fix}, and resume it")
    if after * 100 < MARKS[0] * most:
        return
    for mark in MARKS:
        if _passed(before, most) < mark <= _passed(after, most):
            told = "the history of run %s has %d entries, %d %% of the most: continue_as_new()"
            log.warning(told, header.run, after, mark)


def check_values(run: str, entries: Sequence[Entry], largest: int) -> None:
    """Raise `LimitReached` if a value among these entries is too large; warn of large ones."""
    for entry in entries:
        value = value_of(entry)
        if value is not None and not value.blob:
            check_size(run, getattr(entry, "key", ""), value, largest)


def check_size(run: str, key: str, value: Value, largest: int) -> None:
    """Raise `LimitReached` if a value is too large; warn of a large one."""
    size = len(bytes(value.body))
    if size * 100 < MARKS[0] * largest:
        return
    what = f"a value of {key}" if key else "a value"
    if size > largest:
        told = f"{what} has {size:,} bytes, and may have {largest:,} (REWAKE_LARGEST_VALUE)"
        raise LimitReached(f"{told}: keep it elsewhere, and pass its address on")
    told = "%s of run %s has %d bytes: %d %% of the largest that there may be"
    log.warning(told, what, run, size, _passed(size, largest))


class Usage(NamedTuple):
    """How much of its bounds a run has used: entries, of so many, the mark that they have passed,
    and how many bytes a value may have.
    """

    entries: int
    most_entries: int
    passed: int
    most_bytes: int


def usage_of(header: Header, settings: Settings) -> Usage:
    """How much of its bounds a run has used."""
    passed = _passed(header.count, settings.entries)
    return Usage(header.count, settings.entries, passed, settings.value)


def _passed(count: int, most: int) -> int:
    """The last of the `MARKS` that so many have come to; 0: none."""
    return max((mark for mark in MARKS if count * 100 >= mark * most), default=0)
