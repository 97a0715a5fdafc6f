"""Every error that Rewake raises, as one tree.

    RewakeError
    ├── UsageError            the caller's fault: fix code or call; trying again will not help
    │   ├── AppError              an app that cannot be loaded, or two things of one name in it
    │   ├── ConfigError           a setting that is missing or wrong
    │   ├── InvalidInput          input that does not fit; `field` names the part
    │   ├── ForbiddenInWorkflow   I/O, threads or signals inside a workflow body
    │   ├── NotInARun             a call that only code of a run can make, made outside one
    │   └── NothingDue            a test waits for what will never come (`rewake.testing`)
    ├── RunError              about one run
    │   ├── RunNotFound           no such run, operation or workflow
    │   ├── UpdateRejected        a workflow has said no to an update; the reason is its own
    │   ├── NotYet                the run has not written it down yet: try again
    │   ├── RunConflict           the run's state does not allow it (finished, decided, exists)
    │   │   └── RunRemoved            it has ended, and nothing is left of it
    │   └── StuckError            the run needs a person; it is kept whole and can go on after a fix
    │       ├── LimitReached          it would store more than it may; nothing of it was written
    │       ├── NonDeterminismError   the code no longer does what the history says
    │       └── CheckpointUnreadable  a stored value cannot be read, or is not authentic
    │           ├── CheckpointForged      it is encrypted, and was changed, moved or forged
    │           └── ReadableElsewhere     another process can: nobody is needed but it
    ├── TaskError             a task or step ended without a value: what workflows catch
    ├── NonRetryable          raised by a task: do not try again
    ├── RetryAfter            raised by a task: try again after that long
    ├── AttemptOver           a heartbeat of an attempt of which nothing counts any more
    ├── EventConflict         there is an event of this name and id, with other data
    ├── StoreError            the database's fault
    │   ├── StoreUnavailable      try again; a write may or may not have happened
    │   │   └── ArchiveUnavailable    the archive of ended runs is out of reach, or refuses it
    │   ├── StoreFull             no room to write; nothing was changed
    │   └── StoreUnsuitable       no database that this Rewake can use; choose another
    ├── Throttled             a start that its workflow's `throttle` refuses now: try again later
    ├── Overloaded            a server that has no room for this now; nothing was done: try again
    ├── ServerUnavailable     a server that cannot be reached, or failed: try again
    ├── TransportUnavailable  a queue or function that carries messages refused, or is out of reach
    ├── IssuerUnavailable     who issued a token cannot be asked now: try again
    ├── LinkExpired           a signed link whose time is over; ask for a new one
    ├── TokenError            about one API token
    │   ├── TokenNotFound         there is none of that name
    │   └── TokenExists           there is one of that name; revoke it first, or take another name
    ├── ScheduleError         about one schedule
    │   ├── ScheduleNotFound      there is none of that name
    │   └── ScheduleConflict      there is one of that name, or it has too much to do already
    ├── DecisionForbidden     a person who may not decide on this approval: they are not asked
    ├── InsufficientScope     a token that is good, but not for this; `scope` is what it lacks
    └── Unauthentic           a signature that is missing, wrong or stale; never retried

Beside it stands one warning, `DeterminismWarning`: a workflow uses something that gives another
answer on replay, such as the clock, randomness or an id.

Each class says whose fault it is and what to do next; `http/problems.py` maps them to statuses.
"""

from __future__ import annotations

from datetime import timedelta

__all__ = [
    "AppError",
    "ArchiveUnavailable",
    "AttemptOver",
    "CheckpointForged",
    "CheckpointUnreadable",
    "ConfigError",
    "DecisionForbidden",
    "DeterminismWarning",
    "EventConflict",
    "ForbiddenInWorkflow",
    "InsufficientScope",
    "InvalidInput",
    "IssuerUnavailable",
    "LimitReached",
    "LinkExpired",
    "NonDeterminismError",
    "NonRetryable",
    "NotInARun",
    "NotYet",
    "NothingDue",
    "Overloaded",
    "ReadableElsewhere",
    "RetryAfter",
    "RewakeError",
    "RunConflict",
    "RunError",
    "RunNotFound",
    "RunRemoved",
    "ScheduleConflict",
    "ScheduleError",
    "ScheduleNotFound",
    "ServerUnavailable",
    "StoreError",
    "StoreFull",
    "StoreUnavailable",
    "StoreUnsuitable",
    "StuckError",
    "TaskError",
    "Throttled",
    "TokenError",
    "TokenExists",
    "TokenNotFound",
    "TransportUnavailable",
    "Unauthentic",
    "UpdateRejected",
    "UsageError",
]


class RewakeError(Exception):
    """Base of every error that Rewake raises."""


class UsageError(RewakeError):
    """The call or the code is wrong; trying again will not help."""


class AppError(UsageError):
    """The app cannot be loaded, or names in it clash."""


class ConfigError(UsageError):
    """A setting is missing or wrong. The message names it and says what to set."""


class InvalidInput(UsageError):
    """Input that does not fit what was declared.

    `field` is the path of the part that does not fit, such as `urls[2]`, or empty. `names_only`:
    the message has names of fields and types alone, and nothing of a value.
    """

    def __init__(self, message: str, *, field: str = "", names_only: bool = False) -> None:
        super().__init__(message)
        self.field = field
        self.names_only = names_only


class ForbiddenInWorkflow(UsageError):
    """A workflow body tried I/O, a thread or a signal. Put that in a task or a step."""


class NotInARun(UsageError):
    """The call is only for code of a run; a test must supply the answer."""


class NothingDue(UsageError):
    """A test waits, and in its environment nothing will happen any more."""


class RunError(RewakeError):
    """Something about one run."""


class RunNotFound(RunError):
    """There is no such run, operation or workflow."""


class NotYet(RunError):
    """The run has not written down yet what is asked about. Try again in a moment."""


class UpdateRejected(RunError):
    """The workflow has said no to an update. `reason` is what it said; nothing else went wrong."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class RunConflict(RunError):
    """The state of the run or operation does not allow this. Nothing was changed.

    `run` is the id of the existing run because of which a start was refused, or empty.
    """

    def __init__(self, message: str, *, run: str = "") -> None:
        super().__init__(message)
        self.run = run


class RunRemoved(RunConflict):
    """The run of this id or key has ended, and nothing is left of it. Nothing was started.

    A key can be started anew with `if_finished=restart`.
    """


class StuckError(RunError):
    """The run cannot go on without a person. It is kept whole."""


class LimitReached(StuckError):
    """The run would store more than it may. Nothing of it was written; the message has the fix."""


class NonDeterminismError(StuckError):
    """The workflow's code does not do what its history says it did.

    It is never raised into workflow code, so that it cannot be caught there. `key` names the first
    operation that differs. Run the code that the history was made with, or fix it to match.
    """

    def __init__(self, message: str, *, key: str = "") -> None:
        super().__init__(message)
        self.key = key


class CheckpointUnreadable(StuckError):
    """A stored value is missing, damaged, not authentic, or only readable elsewhere."""


class CheckpointForged(CheckpointUnreadable):
    """Stored data is not what was encrypted for its place: changed, moved, or forged."""


class ReadableElsewhere(CheckpointUnreadable):
    """A stored value cannot be read here but by another process, which what needs it waits for.

    `reason` says why, without the place of the value. `outline`: what can be read of it, if
    anything.
    """

    def __init__(self, message: str, *, reason: str = "", outline: object = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.outline = outline


class TaskError(RewakeError):
    """A task or step ended without a value.

    It is the same live and on replay. `type` is the name of the original exception's type, or
    `TimeoutError` if time ran out, or `lost` if its process kept dying; `message` is the original
    text, `traceback` its traceback as text, `attempts` how many attempts were made.
    """

    def __init__(
        self, message: str, *, type: str = "", traceback: str = "", attempts: int = 1
    ) -> None:
        super().__init__(f"{type}: {message}" if type else message)
        self.message = message
        self.type = type
        self.traceback = traceback
        self.attempts = attempts

    def __reduce__(self) -> tuple[object, ...]:
        keywords = {"type": self.type, "traceback": self.traceback, "attempts": self.attempts}
        return (_rebuild_task_error, (self.message, keywords))


def _rebuild_task_error(message: str, keywords: dict[str, object]) -> TaskError:
    return TaskError(message, **keywords)  # type: ignore[arg-type]


class NonRetryable(RewakeError):
    """Raise it from a task or step to end it without further attempts."""


class RetryAfter(RewakeError):
    """Raise it from a task or step to choose the wait before the next attempt.

    `delay` is in seconds, or a `timedelta`. It uses up a retry like any other failure.
    """

    def __init__(self, delay: float | timedelta, message: str = "") -> None:
        seconds = delay.total_seconds() if isinstance(delay, timedelta) else float(delay)
        super().__init__(message or f"retry after {seconds:g} s")
        self.seconds = seconds

    def __reduce__(self) -> tuple[object, ...]:
        # Past `__init__`, which takes other arguments than are in `args`; a subclass's may, too.
        return (_rebuild_retry_after, (type(self), self.args), self.__dict__)


def _rebuild_retry_after(kind: type[RetryAfter], args: tuple[object, ...]) -> RetryAfter:
    return kind.__new__(kind, *args)


class AttemptOver(RewakeError):
    """The attempt that calls is over: it was given up, ran out of time, or its task was cancelled.

    Nothing that it does counts any more, so its code should end. A thread hears of that only so.
    """


class EventConflict(RewakeError):
    """An event of this name and id was published with other data. That one stands."""


class StoreError(RewakeError):
    """The database refused or failed."""


class StoreUnavailable(StoreError):
    """The database is out of reach for now: try again. A write may or may not have happened."""


class ArchiveUnavailable(StoreUnavailable):
    """The archive is out of reach, or refuses what is asked. What is to be archived stays."""


class StoreFull(StoreError):
    """The database has no room to write. Nothing was changed."""


class StoreUnsuitable(StoreError):
    """There is no database here that this Rewake can use, such as a file of another program."""


class Throttled(RewakeError):
    """A start that the `throttle` of its workflow refuses. Nothing was started: try again later.

    `seconds`: after how long there is room for it, if nobody else takes that.
    """

    def __init__(self, message: str, *, seconds: float = 0) -> None:
        super().__init__(message)
        self.seconds = seconds


class Overloaded(RewakeError):
    """The server has no room for this now. Nothing was done: try again in a moment."""


class ServerUnavailable(RewakeError):
    """A Rewake server cannot be reached, or failed. Try again; it may have done its work."""


class TransportUnavailable(RewakeError):
    """A queue or a function that carries messages refused, or cannot be reached.

    No work is lost by it: due times cover what a message was about. `code` is what the service
    calls it; `passes`: it may answer otherwise if it is asked again.
    """

    def __init__(self, message: str, *, code: str = "", passes: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.passes = passes


class IssuerUnavailable(RewakeError):
    """Who issued a bearer token cannot be asked now, so nobody knows whether it is good: try again.

    Only tokens of that issuer are concerned.
    """


class LinkExpired(RewakeError):
    """A signed link whose time is over, or that was withdrawn. Only a new one helps."""


class TokenError(RewakeError):
    """Something about one API token."""


class TokenNotFound(TokenError):
    """There is no token of that name."""


class TokenExists(TokenError):
    """There is a token of that name. Revoke it first, or take another name."""


class ScheduleError(RewakeError):
    """Something about one schedule."""


class ScheduleNotFound(ScheduleError):
    """There is no schedule of that name."""


class ScheduleConflict(ScheduleError):
    """There is a schedule of that name already, or it cannot take on more now."""


class DecisionForbidden(RewakeError):
    """This person may not decide on this approval: they are not asked, or started the run."""


class InsufficientScope(RewakeError):
    """A token that is good, but not for this. `scope` is what it lacks: ask for one that has it."""

    def __init__(self, message: str, *, scope: str = "") -> None:
        super().__init__(message)
        self.scope = scope


class Unauthentic(RewakeError):
    """A signature or token is missing, wrong or stale.

    `why` is for the server's own log, where the sender is not told as much.
    """

    def __init__(self, message: str, *, why: str = "") -> None:
        super().__init__(message)
        self.why = why or message


class DeterminismWarning(UserWarning):
    """A workflow uses something that gives another answer on replay: the clock, randomness, an id.

    It is given when an app is loaded. The message says what to use instead, and a note names the
    file and line.
    """
