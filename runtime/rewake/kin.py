"""The kinship of runs, and what else a command may say of what it asks for.

A run that another has begun is its *child*, and has an id that no caller can be given: it follows
from the operation that begins it, so that whoever begins it again finds it (`child_of`).
"""

from __future__ import annotations

import hashlib
import re

import msgspec

from rewake.limited import FREE, Terms

DEEPEST = 64
"""How many runs may lie below one another: a workflow that begins itself for ever ends there."""
_CHILD = "child-"
_OF_A_CHILD = re.compile(rf"{_CHILD}[0-9a-f]{{26}}")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}")
AN_ID = "1 to 128 of a-z, A-Z, 0-9, '-', '_', '.' and ':', a letter or digit first"
"""What the id of a run is."""


def is_id(run: str) -> bool:
    """Whether this can be the id of a run."""
    return _ID.fullmatch(run) is not None


def is_of_child(run: str) -> bool:
    """Whether this is an id as that of a child, which no caller can be given."""
    return _OF_A_CHILD.fullmatch(run) is not None


def child_of(run: str, key: str, round: int) -> str:
    """The id of the child that a run begins by the operation of this key and round."""
    named = f"{run}\0{key}\0{round}".encode("utf-8", "surrogatepass")
    return f"{_CHILD}{hashlib.sha256(named).hexdigest()[:26]}"


def is_child_of(child: str, run: str, key: str, rounds: int) -> bool:
    """Whether a run gave this id itself, in one of its rounds up to this one."""
    return any(child == child_of(run, key, each) for each in range(rounds + 1))


class OtherRun(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """The run that an operation is about, and how it is to be begun."""

    run: str
    """Its id."""
    held: bool = False
    """Whether it is asked to cancel once the operation is given up, if this run has begun it."""
    new_or_ended: bool = False
    """Whether one of this id that has not ended is refused."""
    new_or_live: bool = False
    """Whether one of this id that has ended is refused."""
    by: str = ""
    """Who started the run that asks; so whom approvals of the other one take for its starter."""
    tied: bool = False
    """Whether it ends with the run that starts it, which may be killed before it hears of that."""


class Parent(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """The operation of another run that has begun a run, and whether it waits for its end.

    `sole`, `joined` and `spared`: as in the message that asked for it (`Invocation`).
    """

    run: str
    key: str
    round: int = 0
    waits: bool = False
    sole: bool = False
    joined: bool = False
    spared: bool = False


class Watcher(msgspec.Struct, frozen=True, omit_defaults=True):
    """An operation that waits for the end of the run under which this is kept."""

    run: str
    """The id of the run that waits."""
    key: str
    """The key of the operation there."""
    round: int = 0
    """The round of its outcome."""


class Asked(msgspec.Struct, frozen=True):
    """What may be said of an operation, where its command has the field for that."""

    @property
    def tag(self) -> str:
        """Which servers carry a task out; empty: those that serve what has no tag."""
        return ""

    @property
    def about(self) -> OtherRun | None:
        """The other run that it is about, if it is about one."""
        return None

    @property
    def terms(self) -> Terms:
        """Under which limits a task is carried out, and before which others."""
        return FREE
