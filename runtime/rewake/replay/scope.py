"""Structured identity: every durable operation has a key made of where it is in the program.

A *scope* is one branch: the main body of a workflow, or one asyncio task that it created. An
operation's key is the path of scopes that leads to it, then its name, then (from the second
on) its count in that scope: `fetch`, `fetch.2`, `one[3]/charge`. A child scope is named after its
coroutine and numbered in creation order. Keys so depend on the order of the program within
one branch, never on which branch finished first.
"""

from __future__ import annotations

from urllib.parse import quote

_SAFE = "".join(map(chr, range(0x20, 0x7F))).translate(str.maketrans("", "", "%./[]"))


def escape(name: str) -> str:
    """The name as one part of a key: `%`, `.`, `/`, `[` and `]` are percent-encoded."""
    if name.isidentifier() and name.isascii():
        return name
    return quote(name, safe=_SAFE).replace(".", "%2E")


def short_name(qualified: str) -> str:
    """The last part of a `__qualname__`: `one` of `main.<locals>.one`, `lambda` of a lambda."""
    return qualified.rpartition(".")[2].strip("<>") or "anonymous"


class Scope:
    """One branch of a workflow, and the names already used there."""

    __slots__ = ("_branches", "_counts", "path")

    def __init__(self, path: str = "") -> None:
        self.path = path
        self._counts: dict[str, int] = {}
        self._branches: dict[str, int] = {}

    def key(self, name: str) -> str:
        """A new key for an operation of this name."""
        name = escape(name)
        count = self._counts.get(name, 0) + 1
        self._counts[name] = count
        return f"{self.path}{name}" if count == 1 else f"{self.path}{name}.{count}"

    def branch(self, name: str) -> Scope:
        """A new child scope for an asyncio task of this name."""
        name = escape(name)
        number = self._branches.get(name, 0)
        self._branches[name] = number + 1
        return Scope(f"{self.path}{name}[{number}]/")


def numbered(base: str, index: int) -> Scope:
    """The scope of one of a group of branches whose own key is `base`: `parallel[3]`."""
    return Scope(f"{base}[{index}]/")
