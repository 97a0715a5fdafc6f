"""Values that any Python minor reads, whichever wrote them.

`python -m tests.values.portable` adds what this Python writes to `portable.json`.
"""

from __future__ import annotations

import asyncio
import base64
import collections
import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import functools
import inspect
import ipaddress
import json
import operator
import os.path
import pathlib
import re
import sys
import types
import uuid
import warnings
import zipfile
import zoneinfo
from pathlib import Path
from typing import Any, NamedTuple

from rewake import task
from rewake.values.digests import text_of
from rewake.values.references import dumped

RECORDED = Path(__file__).with_name("portable.json")
MINOR = f"{sys.version_info.major}.{sys.version_info.minor}"


@dataclasses.dataclass
class Plain:
    a: int
    b: Any = None


@dataclasses.dataclass(slots=True, frozen=True)
class Slotted:
    a: int


class Pair(NamedTuple):
    a: int
    b: int


class Colour(enum.Enum):
    RED = 1


class Access(enum.Flag):
    READ = 1
    WRITE = 2


class Problem(Exception):
    pass


def function() -> int:
    return 1


@task
async def charge(n: int) -> int:
    return n


VALUES: dict[str, Any] = {
    "path": pathlib.Path("/a/b"),
    "pure path": [pathlib.PurePosixPath("a"), pathlib.PureWindowsPath("c:/a")],
    "classes of paths": [pathlib.Path, pathlib.PurePath, pathlib.PosixPath, zipfile.Path],
    "own": [Plain(1, Plain(2)), Slotted(1), Pair(1, 2), Colour.RED, Access.READ | Access.WRITE],
    "named": [Plain, Colour, function, charge, len, os.path.join, os.path.islink, int, type(None)],
    "moved": [re.error, warnings.catch_warnings, inspect.getdoc, asyncio.CancelledError],
    "bound": [functools.partial(function), operator.itemgetter(1), Plain(1).__eq__, "a".upper],
    "moments": [
        dt.datetime(2026, 1, 2, fold=1, tzinfo=dt.UTC),
        dt.datetime(2026, 1, 2, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin")),
        dt.timedelta(1),
        dt.date(2026, 1, 2),
        dt.time(1),
        dt.timezone(dt.timedelta(hours=1)),
    ],
    "numbers": [decimal.Decimal("1.0"), fractions.Fraction(1, 3), 1j, 10**50, uuid.UUID(int=5)],
    "containers": [
        (1, {2}, frozenset({3}), b"b", bytearray(b"c"), range(3), slice(1, 2)),
        collections.OrderedDict(a=1),
        collections.Counter("aab"),
        collections.deque([1], 3),
        collections.defaultdict(list, a=[1]),
        types.SimpleNamespace(a=1),
        {1: 2}.keys(),
        types.MappingProxyType({"a": 1}),
    ],
    "errors": [ValueError("x"), Problem("y"), KeyError(1), ExceptionGroup("g", [OSError(2, "z")])],
    "patterns": [re.compile("a", re.IGNORECASE), re.IGNORECASE | re.MULTILINE],
    "hints": [list[int], dict[str, Any], int | None],
    "addresses": [ipaddress.ip_address("10.0.0.1"), ipaddress.ip_network("10.0.0.0/8")],
    "aliases": [[shared := [1], shared]],
}


def told(value: Any) -> str:
    """A value in words that are the same on every minor."""
    return text_of(value) + re.sub(r" at 0x\w+|_local\.|typing\.", "", repr(value))


def written() -> dict[str, str]:
    """What this Python writes."""
    found = {}
    for name, value in VALUES.items():
        payload, holds_code = dumped(value)
        assert not holds_code, name
        found[name] = base64.b64encode(payload).decode()
    return found


if __name__ == "__main__":
    known = json.loads(RECORDED.read_text()) if RECORDED.exists() else {}
    from tests.values import portable  # its classes must not be those of `__main__`

    known[MINOR] = portable.written()
    RECORDED.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
