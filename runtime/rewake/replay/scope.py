"""Structured identity: every durable operation has a key made of where it is in the program.

A *scope* is one branch: the main body of a workflow, or one asyncio task that it created. An
operation's key is the path of scopes that leads to it, then its name, then (from the second
on) its count in that scope: `fetch`, `fetch.2`, `one[3]/charge`. A child scope is named after its
coroutine and numbered in creation order. So keys depend on the order of the program
within one branch, never on which branch finished first.

Two different places never share a key: `.`, `/`, `[` and `]` in names are escaped, and child
scopes of one name come from one counter, however they are made. Keys are bounded, because those of
a store are: a long name or a deep path is cut, and a digest stands for the missing part.
"""

from __future__ import annotations

import hashlib
from typing import Any
from urllib.parse import quote

from rewake.laps import lap_of, prefix_of

_SAFE = "".join(map(chr, range(0x20, 0x7F))).translate(str.maketrans("", "", "%./[]"))

MAX_NAME = 100
"""Longest name in a key, in characters after escaping."""

LONGEST_NAME = 200
"""Longest name that is recorded, in bytes of UTF-8."""

MAX_PATH = 300
"""Longest path in a key, so that with a name and a count it stays below 512 bytes of ASCII."""


def escape(name: str) -> str:
    """The name as one part of a key, in ASCII: `%`, `.`, `/`, `[` and `]` are percent-encoded.

    Raises `ValueError` for an empty name, which could not be told from no name at all, and
    `TypeError` for one that is no text.
    """
    given: object = name
    if not isinstance(given, str):
        raise TypeError(f"the name of a durable operation is text, not {given!r}")
    if name.isidentifier() and name.isascii() and len(name) <= MAX_NAME:
        return name
    if not name:
        raise ValueError("a durable operation needs a name that is not empty")
    quoted = quote(name, safe=_SAFE, errors="backslashreplace").replace(".", "%2E")
    if len(quoted) <= MAX_NAME:
        return quoted
    return f"{quoted[: MAX_NAME - 33]}~{_digest(name)}"


def bounded(name: str) -> str:
    """The name as it is recorded: valid UTF-8, of at most `LONGEST_NAME` bytes."""
    if len(name) <= LONGEST_NAME and name.isascii():
        return name
    data = name.encode(errors="backslashreplace")
    if len(data) <= LONGEST_NAME:
        return data.decode()
    return f"{data[: LONGEST_NAME - 33].decode(errors='ignore')}~{_digest(name)}"


def short_name(qualified: str) -> str:
    """The last part of a `__qualname__`: `one` of `main.<locals>.one`, `lambda` of a lambda."""
    return qualified.rpartition(".")[2].strip("<>") or "anonymous"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="backslashreplace")).hexdigest()[:32]


class Scope:
    """One branch of a workflow, and the names already used there."""

    __slots__ = ("_branches", "_counts", "_groups", "inside", "path")

    def __init__(self, path: str = "", inside: Any = None) -> None:
        self.path = path
        self.inside = inside
        """The attempt at a block that it is inside of (`replay/blocks.py`); None: of no block."""
        self._counts: dict[str, int] = {}
        self._groups: dict[str, int] = {}
        self._branches: dict[str, Group] = {}

    def key(self, name: str) -> str:
        """A new key for an operation of this name. Raises `ValueError` for an empty name."""
        return self.path + _counted(name, self._counts)

    def branch(self, name: str) -> Scope:
        """A new child scope for an asyncio task of this name."""
        group = self._branches.get(name)
        if group is None:
            group = self._branches[name] = self.group(name)
        return group.next()

    def group(self, name: str) -> Group:
        """A new group of numbered child scopes: `parallel[0]`, `parallel[1]`, `parallel.2[0]`."""
        return Group(self.path, _counted(name, self._groups), inside=self.inside)

    def enclosing(self, name: str) -> tuple[str, Group]:
        """A new key for an operation, and a group of child scopes whose paths begin with it."""
        count = max(self._counts.get(name, 0), self._groups.get(name, 0))
        self._counts[name] = self._groups[name] = count
        return self.key(name), self.group(name)

    def named(self, name: str, number: int) -> Scope:
        """A new child scope of this name that is the `number`-th of its siblings, from 0.

        The number is in its path, as that of a group's is: keys tell how wide a run is.
        """
        return Group(self.path, _counted(name, self._groups), number, self.inside).next()


class Group:
    """Child scopes of one name, numbered in the order in which they are made."""

    __slots__ = ("_inside", "_name", "_next", "_path")

    def __init__(self, path: str, name: str, first: int = 0, inside: Any = None) -> None:
        cut = len(path) + len(name) >= MAX_PATH - 8
        self._path = f"{prefix_of(lap_of(path))}~{_digest(path)}/" if cut else path
        self._name = name
        self._next = first
        self._inside = inside

    def next(self) -> Scope:
        """The next child scope."""
        number = self._next
        self._next += 1
        return Scope(f"{self._path}{self._name}[{number}]/", self._inside)


def _counted(name: str, counts: dict[str, int]) -> str:
    escaped = escape(name)
    count = counts[name] = counts.get(name, 0) + 1
    return escaped if count == 1 else f"{escaped}.{count}"
