"""What a durable operation can be: one row a kind, with all that other rooms need to know of it.

An operation is what a workflow awaits under a key. The replay core, the turn, the store and the
command line ask its kind's *traits* and name no kind themselves; so a new kind is a row here, and
rooms of its own: one in `authoring/` (how it is asked for) and one in `engine/` (how it ends).

    kind      it ends because ...                     and the run learns it from ...
    task      an invocation of its own called it      an outcome in an item of its own
    step      the turn called it                      an entry of the history
    timer     its moment has come                     an entry of the history
    approval  a person decided, or its time was over  an outcome in an item of its own
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Self


class Purpose(StrEnum):
    """What a stored value is for. A pickle's signature is bound to it, so it is never changed."""

    INPUT = "input"
    """The arguments of a run."""
    OUTPUT = "output"
    """What a run returned."""
    CALL = "call"
    """The arguments of a task, or the closure and its arguments."""
    RESULT = "result"
    """What a task or a step returned."""
    APPROVAL = "approval"
    """What an approval was asked with, and what was decided."""


class OutcomeKind(StrEnum):
    """How an operation or a run ended."""

    OK = "ok"
    ERROR = "error"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"


class DueMeans(StrEnum):
    """What it means that an operation's due time has come."""

    END = "end"
    """The operation ends with success: a timer fires."""
    DEADLINE = "deadline"
    """The operation ends in a timeout, unless it has an outcome from before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """What is true of all operations of one kind."""

    awaited: bool
    """Its outcome is delivered from outside of the run, into an item of its own."""
    dispatched: bool
    """An invocation of its own carries it out: sent off once it is committed, and again if lost."""
    inline: bool
    """The turn itself carries it out, between two commits."""
    due: DueMeans | None
    """What its due time means; None: it never has one."""
    asked_with: Purpose | None
    """What the value that it is asked with is for; None: it has none."""
    ends_with: Purpose | None
    """What the value that it ends with is for; None: it has none."""
    waiting: str
    """How people call it while nothing has come of it yet."""

    @property
    def suspends(self) -> bool:
        """Whether nothing in any process works on it while it is open."""
        return not (self.dispatched or self.inline)


class Kind(StrEnum):
    """What sort of durable operation a key stands for. Each member is made with its traits."""

    traits: Traits

    def __new__(cls, value: str, traits: Traits) -> Self:
        kind = str.__new__(cls, value)
        kind._value_ = value
        kind.traits = traits
        return kind

    TASK = (
        "task",
        Traits(
            awaited=True,
            dispatched=True,
            inline=False,
            due=None,
            asked_with=Purpose.CALL,
            ends_with=Purpose.RESULT,
            waiting="queued",
        ),
    )
    STEP = (
        "step",
        Traits(
            awaited=False,
            dispatched=False,
            inline=True,
            due=None,
            asked_with=None,
            ends_with=Purpose.RESULT,
            waiting="queued",
        ),
    )
    TIMER = (
        "timer",
        Traits(
            awaited=False,
            dispatched=False,
            inline=False,
            due=DueMeans.END,
            asked_with=None,
            ends_with=None,
            waiting="sleeping",
        ),
    )
    APPROVAL = (
        "approval",
        Traits(
            awaited=True,
            dispatched=False,
            inline=False,
            due=DueMeans.DEADLINE,
            asked_with=Purpose.APPROVAL,
            ends_with=Purpose.APPROVAL,
            waiting="to be decided",
        ),
    )
