"""The kinds of durable operation: one row each, with all that other rooms need to know of it.

An operation is what a workflow awaits under a key. The replay core, the turn, the store and the
command line ask its kind's *traits* and name no kind themselves; so a new kind is a row here, and
rooms of its own: one in `authoring/` (how it is asked for) and one in `engine/` (how it ends).

    kind      it ends because ...                     and the run learns it from ...
    task      an invocation of its own called it      an outcome in an item of its own
    step      the turn called it                      an entry of the history
    timer     its moment has come                     an entry of the history
    approval  a person decided, or its time was over  an outcome in an item of its own
    callback  a machine called, or was silent         an outcome in an item of its own
    event     one that it waits for was published     an outcome in an item of its own
    response  it was asked for                        an entry of the history
    emit      it was asked for                        nothing: it goes on at once
    block     what it does inside has ended           an entry of the history
    child     the run that it is has ended            an outcome in an item of its own
    child_start, child_result, child_cancel
              another run is begun, has ended, or     an outcome in an item of its own
              is asked to cancel
    signal    one came, or its time was over          an entry of the history
    answer    it was asked for                        nothing: it goes on at once
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Self


class Purpose(StrEnum):
    """The use of a stored value. Signatures of pickles are bound to it, so no text here changes."""

    INPUT = "input"
    """The arguments of a run."""
    OUTPUT = "output"
    """The result of a run."""
    CALL = "call"
    """The arguments of a task, or the closure and its arguments."""
    RESULT = "result"
    """The result of a task or a step."""
    APPROVAL = "approval"
    """The form and description of an approval, and the decision on it."""
    CALLBACK = "callback"
    """The link of a callback and the type of its result, and what was sent to it."""
    EVENT = "event"
    """Which event a run waits for, that event as it is told to the run; an event's own data."""
    RESPONSE = "response"
    """What a run answers its caller."""
    STATE = "state"
    """The value of a keyed state."""
    STATUS = "status"
    """The status and progress that a run shows."""
    PROGRESS = "progress"
    """How far an attempt at a task has come."""
    EMITTED = "emitted"
    """An item that a run has emitted."""
    SIGNAL = "signal"
    """What a signal says, the type that a wait for one takes, and the answer to an update."""


class OutcomeKind(StrEnum):
    """How an operation or a run ended."""

    OK = "ok"
    ERROR = "error"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"


class DueMeans(StrEnum):
    """The meaning of an operation's due time."""

    END = "end"
    """The operation ends with success: a timer fires."""
    DEADLINE = "deadline"
    """The operation ends in a timeout, unless it had an outcome by then."""
    EXPIRY = "expiry"
    """The turn ends the operation in a timeout: whoever is outside settles nothing of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """The properties that all operations of one kind share."""

    awaited: bool
    """Its outcome is delivered from outside of the run, into an item of its own."""
    dispatched: bool
    """An invocation of its own carries it out: sent after the commit, and again if it was lost."""
    inline: bool
    """The turn itself carries it out, between two commits."""
    due: DueMeans | None
    """The meaning of its due time; None: it never has one."""
    asked_with: Purpose | None
    """The purpose of the value that it is asked with; None: there is none."""
    ends_with: Purpose | None
    """The purpose of the value that it ends with; None: there is none."""
    answers: bool = False
    """What it is asked with is what the run answers its caller, from that commit on."""
    waiting: str
    """The word that people are shown for its state while it waits."""
    subscribes: bool = False
    """The turn that asks for it makes known, once that is committed, that it is waited for."""
    at_once: bool = False
    """It has ended as soon as it is asked for: its record in the history is all there is of it."""
    of_run: bool = False
    """It is about another run: who gets its message asks that (`engine/outside/children.py`)."""
    streamed: bool = False
    """What it is asked with is an item of its run's stream."""
    heard: bool = False
    """It ends by a signal to its run."""
    linked: bool = False
    """The body is given links of it, which are of its run: a fork's body has others."""

    @property
    def fires(self) -> bool:
        """Whether its due time ends it by an entry of the history, `Fired`."""
        return self.due in (DueMeans.END, DueMeans.EXPIRY)

    encloses: bool = False
    """Its work is other operations, whose keys are inside of its own (`replay/blocks.py`)."""
    remembered: bool = False
    """What came of it decides about later ones, wherever in the run: no replay passes over it."""

    @property
    def suspends(self) -> bool:
        """Whether nothing in any process works on it while it is open."""
        return not (self.dispatched or self.inline or self.encloses)


class Kind(StrEnum):
    """The kind of a durable operation. Each member is made with its traits."""

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
            linked=True,
        ),
    )
    CALLBACK = (
        "callback",
        Traits(
            awaited=True,
            dispatched=False,
            inline=False,
            due=DueMeans.DEADLINE,
            asked_with=Purpose.CALLBACK,
            ends_with=Purpose.CALLBACK,
            waiting="to be called",
            linked=True,
        ),
    )
    EVENT = (
        "event",
        Traits(
            awaited=True,
            dispatched=False,
            inline=False,
            due=DueMeans.DEADLINE,
            asked_with=Purpose.EVENT,
            ends_with=Purpose.EVENT,
            subscribes=True,
            waiting="for an event",
            remembered=True,
        ),
    )
    RESPONSE = (
        "response",
        Traits(
            awaited=False,
            dispatched=False,
            inline=False,
            due=DueMeans.END,
            asked_with=Purpose.RESPONSE,
            ends_with=None,
            answers=True,
            waiting="to be given",
            remembered=True,
        ),
    )
    EMIT = (
        "emit",
        Traits(
            awaited=False,
            dispatched=False,
            inline=False,
            due=None,
            asked_with=Purpose.EMITTED,
            ends_with=None,
            waiting="emitted",
            at_once=True,
            streamed=True,
        ),
    )
    SIGNAL = (
        "signal",
        Traits(
            awaited=False,
            dispatched=False,
            inline=False,
            due=DueMeans.EXPIRY,
            asked_with=Purpose.SIGNAL,
            ends_with=Purpose.SIGNAL,
            waiting="for a signal",
            heard=True,
        ),
    )
    ANSWER = (
        "answer",
        Traits(
            awaited=False,
            dispatched=False,
            inline=False,
            due=None,
            asked_with=Purpose.SIGNAL,
            ends_with=None,
            waiting="answered",
            at_once=True,
        ),
    )
    BLOCK = (
        "block",
        Traits(
            awaited=False,
            dispatched=False,
            inline=False,
            due=None,
            asked_with=None,
            ends_with=Purpose.RESULT,
            waiting="under way",
            encloses=True,
        ),
    )
    CHILD = (
        "child",
        Traits(
            awaited=True,
            dispatched=True,
            inline=False,
            due=None,
            asked_with=Purpose.CALL,
            ends_with=Purpose.RESULT,
            waiting="to end",
            of_run=True,
        ),
    )
    CHILD_START = (
        "child_start",
        Traits(
            awaited=True,
            dispatched=True,
            inline=False,
            due=None,
            asked_with=Purpose.CALL,
            ends_with=Purpose.RESULT,
            waiting="to begin",
            of_run=True,
        ),
    )
    CHILD_RESULT = (
        "child_result",
        Traits(
            awaited=True,
            dispatched=True,
            inline=False,
            due=None,
            asked_with=None,
            ends_with=Purpose.RESULT,
            waiting="to end",
            of_run=True,
        ),
    )
    CHILD_CANCEL = (
        "child_cancel",
        Traits(
            awaited=True,
            dispatched=True,
            inline=False,
            due=None,
            asked_with=None,
            ends_with=None,
            waiting="to be asked",
            of_run=True,
        ),
    )
