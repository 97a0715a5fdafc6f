"""What is noted of attempts, of an end, and of laps: parts of histories and of items."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from rewake.encoded import Failure, Outcome
from rewake.kinds import Kind

Millis = int
"""A moment, as in `rewake.records`."""


class Cause(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """What a failed run ended by: the place in its history from which a retry goes on."""

    event: int
    """The number of the event, from 0, after which the error was raised."""
    key: str = ""
    """The operation whose error it was; empty: the body itself raised it."""
    late: bool = False
    """Whether the error is, or follows from, a `TimeoutError`."""


class Attempted(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """What there is to say of one attempt at a step."""

    began: Millis
    retry_at: Millis | None = None
    number: int = 0
    """Its number, if attempts that did not end lie between; 0: it is the next one."""
    where: str = ""
    """The process, as `host:pid`; empty: that of the attempt before it in the history."""
    ended: Millis | None = None
    """When it ended, if its run was retried since, and this is how that was seen again."""
    once: bool = False
    """Of a failed attempt: whether its step runs at most once."""


class Stepped(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True, tag="stepped"):
    """Event: an inline step's attempt ended.

    With `retry_at`, the attempt failed and another follows at that moment: the workflow does
    not see this one. `attempt` is None, and takes no room, for the first attempt at a step, if it
    began when it was asked for, in the process of the attempt before it in the history.
    """

    key: str
    clock: Millis
    outcome: Outcome
    attempt: Attempted | None = None

    kind: ClassVar[Kind] = Kind.STEP

    @property
    def ended(self) -> Millis:
        """When it ended: before `clock`, if that is when it was seen again after a retry."""
        return (self.attempt.ended if self.attempt is not None else None) or self.clock

    @property
    def once(self) -> bool:
        """Whether it failed, and its step runs at most once, so that no other may follow."""
        return self.attempt is not None and self.attempt.once

    @property
    def retry_at(self) -> Millis | None:
        """When another attempt follows; None: the workflow sees this one."""
        return None if self.attempt is None else self.attempt.retry_at

    @property
    def number(self) -> int:
        """The attempt's number; 0: it is the next one."""
        return 0 if self.attempt is None else self.attempt.number

    @property
    def where(self) -> str:
        """The process of the attempt; empty: that of the attempt before it in the history."""
        return "" if self.attempt is None else self.attempt.where


class BlockEnded(Stepped, frozen=True, array_like=True, omit_defaults=True, tag="block"):
    """Event: the function of a block ended. Of one that failed: what it failed by, inside of it.

    It is a type of its own, so that the end of a step takes no room for it.
    """

    cause: Cause | None = None
    kind: ClassVar[Kind] = Kind.BLOCK


class HeardEvents(msgspec.Struct, frozen=True, array_like=True):
    """What a run has had of the events of one name and `where` (`rewake.authoring.events`)."""

    since: Millis
    """The place from which on it has missed none."""
    had: dict[str, Millis]
    """The marks of those from there on that it has had, with their places."""


class LapBegun(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """What is noted where a lap of a run begins."""

    number: int = 1
    """Its number, from 1."""
    carried: int = 0
    """How many entries behind it are what the body of the lap before has said."""
    items: int = 0
    lines: int = 0
    """How many items and lines the bodies of all laps had told before those."""
    heard: list[str] = []
    """The ids of the signals that the lap before has consumed: those are not delivered again."""
    over: list[str] = []
    """Those of the lap before that, which are removed: their ids are forgotten."""
    events: dict[str, HeardEvents] = {}
    """By what they are of: the events that the lap before has had. Its waits go on behind them."""
    blob: str = ""
    """Where `heard`, `over` and `events` are on the shelf, if together they are large."""


class LapState(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """The lap in which a run is, and what is left of earlier ones."""

    number: int = 1
    """Its number, from 1."""
    cleared: int = 1
    """The newest lap at whose beginning what earlier ones had left was looked after."""
    gone: int = 0
    """The number of the first batch of the run's stream that may be there."""
    old: int = 0
    """The number of the first batch that is not of the laps before the one that is `cleared`."""


class Try(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """An attempt that is over without an outcome: it failed, was lost, or was handed over."""

    attempt: int
    began: Millis | None
    ended: Millis | None
    where: str = ""
    """The process, as `host:pid`."""
    type: str = ""
    """The type of its exception; empty: there was none. `message` is the beginning of its text."""
    message: str = ""
    lost: bool = False
    """Whether its lease ran out."""


class Forked(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True, tag="forked"):
    """Event: what is before it was copied from another run (`rewake.engine.runs.forking`).

    Open waits move on to this moment, and what the body draws from here on is of another seed.
    """

    clock: Millis
    run: str
    """The run that was forked."""
    key: str
    """The operation before which it was."""
    seed: int
    over: str = ""
    """The timer that had fired, and fires again at once."""


class Origin(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """The run that a run was made of: forked before the operation `key`, or else started anew."""

    run: str
    key: str = ""


class Retried(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True, tag="retried"):
    """Event: the run had failed, and goes on from here. `rewake.engine.runs.retries` has the rules.

    Open waits move on to this moment, as if the time between had not been.
    """

    clock: Millis
    epoch: int
    """The run's epoch when it was retried."""
    failure: Failure
    """The error that had ended it."""
    over: str = ""
    """The timer that had fired, and fires again at once."""
    anew: str = ""
    """The timer that had ended the run, and begins anew."""
    forgot: list[str] = []
    """The keys of what was carried out after the error, and is forgotten."""
    round: int = 0
    """The round that begins with it."""
