"""Items, as the contracts store them."""

from __future__ import annotations

from typing import Any

import msgspec

from rewake.kinds import Kind, OutcomeKind
from rewake.ledger import View
from rewake.records import Chunk, Header, Item, Operation, Outcome, Scheduled, Value
from rewake.states import RunState
from rewake.stores.table import Check, Key, Op, Page
from rewake.streamed import LogBatch, LogLine

H = Key("R#1", "H")
"""Where most of the tests write."""
NOW = 1_700_000_000_000
"""A moment with as many digits as one has."""


def header(**changes: Any) -> Header:
    """A header, but for `changes`."""
    base = Header(run="1", workflow="main", created=1, seed=7, runtime=1)
    return msgspec.structs.replace(base, **changes)


def operation(key: str, **changes: Any) -> Operation:
    """An operation, but for `changes`."""
    return msgspec.structs.replace(Operation(run="1", key=key, kind=Kind.TASK), **changes)


def one(attribute: str, op: Op, value: Any = None) -> list[list[Check]]:
    """The condition that is one check."""
    return [[Check(attribute, op, value)]]


def sorts(page: Page) -> list[str]:
    """The sort keys of a page."""
    return [key.sort for key, _ in page.items]


VALUE = Value("json", msgspec.Raw(b'{"a":[1,"\xc3\xa9"]}'))
ENTRY = Scheduled("fetch", Kind.TASK, "fetch", "d1", VALUE, due=5)
SAMPLES: list[tuple[Key, Item]] = [
    (H, header(state=RunState.PARKED, due=5, tail=[ENTRY], cancel="why")),
    (Key("R#1", "C#3#w"), Chunk("C#1#w", [ENTRY])),
    (Key("R#1", "O#fetch"), operation("fetch", outcome=Outcome(OutcomeKind.OK, VALUE), at=9)),
    (Key("R#1", "L#fetch#1#1"), LogBatch("1", "fetch", 1, [LogLine(3, "info", "hello")])),
    (Key("V", "main#1"), View("1", "main", 1)),
    (Key("V", "H"), View("1", "main", 1)),
]
"""An item of each type that differs in how it is read."""

NEW = header(workflow="new")
"""What an update makes where there is nothing."""
FOUND: dict[str, Header | None] = {"none": None, "absent": header(), "five": header(due=5)}
"""What a check is tried on."""
CHECKS: list[tuple[Op, Any, set[str]]] = [
    # a test of `due`, and of which of the found ones it is true
    ("=", 5, {"five"}),
    ("=", 6, set()),
    ("<", 6, {"five"}),
    ("<", 5, set()),
    ("<=", 5, {"five"}),
    ("<=", 4, set()),
    ("in", [4, 5], {"five"}),
    ("in", [], set()),
    ("absent", None, {"none", "absent"}),
    ("present", None, {"five"}),
]
