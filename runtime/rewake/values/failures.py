"""Exceptions as data: bounded texts, made without ever raising."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import re
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path

import cloudpickle
import msgspec

import rewake.errors
from rewake.errors import RewakeError, TaskError, UsageError
from rewake.records import Failure
from rewake.values.sealing import for_people, readable, unmarked

_TYPE = 200
_MESSAGE = 4 * 1024
_TRACEBACK = 8 * 1024
_CUT = "…"
_MEMBERS = 3
_ERROR = "the error of an operation"
_PACKAGES = (rewake.errors, asyncio, concurrent.futures, cloudpickle)
_HOSTS = tuple(f"{Path(str(part.__file__)).parent}{os.sep}" for part in _PACKAGES)
_HOST_FILES = frozenset({threading.__file__})


class _Traced(Exception):
    """The traceback of a task's error as text, shown as the cause of what its workflow saw."""


_TRACED = re.compile(rf"^(.*?){__name__}\._Traced: \n?", re.MULTILINE)


def failure_of(exc: BaseException, attempts: int) -> Failure:
    """Return `exc` as data, after so many `attempts`.

    The type is at most 200 bytes, the message at most 4 KiB and the traceback at most 8 KiB of
    UTF-8; of the traceback the tail is kept, of the others the head. Never raises, even
    if the exception's own code does.
    """
    return Failure(
        type=_head(type(exc).__name__, _TYPE),
        message=_head(_message_of(exc), _MESSAGE),
        traceback=_tail(_traceback_of(exc), _TRACEBACK),
        attempts=attempts,
        wraps=_head(exc.type, _TYPE) if isinstance(exc, TaskError) else "",
    )


def unwrapped(exc: BaseException, attempts: int) -> Failure:
    """The same; of the error of an operation, what that had failed with."""
    failure = failure_of(exc, attempts)
    if not isinstance(exc, TaskError) or not exc.type:
        return failure
    kind, message = _head(exc.type, _TYPE), _head(exc.message, _MESSAGE)
    return msgspec.structs.replace(failure, type=kind, message=message, wraps="")


def inner(failure: Failure) -> Failure:
    """The failure; of one by the error of an operation, what that had failed with."""
    if not failure.wraps:
        return failure
    message = failure.message.removeprefix(f"{failure.wraps}: ")
    return msgspec.structs.replace(failure, type=failure.wraps, message=message, wraps="")


def told_failure(type: str, message: str) -> Failure:
    """An error that somebody outside tells of, bounded like one of our own."""
    return Failure(type=_head(type, _TYPE), message=_head(message, _MESSAGE))


def task_error(failure: Failure) -> TaskError:
    """Return the exception that a workflow sees for `failure`.

    Raises `CheckpointUnreadable` if it is sealed, and cannot be opened here.
    """
    return TaskError(
        readable(failure.message, _ERROR),
        type=readable(failure.type, _ERROR),
        traceback=readable(failure.traceback, _ERROR),
        attempts=failure.attempts,
    )


def _message_of(exc: BaseException) -> str:
    try:
        if isinstance(exc, BaseExceptionGroup):
            return f"{exc}: {_members_of(exc)}"
        return str(exc)
    except BaseException as error:  # user code, which may raise even `SystemExit`
        return f"<no message: its text raised {type(error).__name__}>"


def _members_of(group: BaseExceptionGroup) -> str:
    """What a group is made of, for its own message says only how many there are."""
    named = [described(each) for each in group.exceptions[:_MEMBERS]]
    return "; ".join(named + ["…"] * (len(group.exceptions) > _MEMBERS))


def described(exc: BaseException) -> str:
    """An exception in a few words. Never raises."""
    return f"{type(exc).__name__}: {_message_of(exc)}"


def said_of(failure: Failure | None) -> str:
    """A failure in a few words; empty without one."""
    return (
        f"{for_people(failure.type)}: {for_people(failure.message)}" if failure is not None else ""
    )


def _traceback_of(exc: BaseException) -> str:
    """The traceback, with what caused the exception, without the runtime's own frames."""
    try:
        told = traceback.TracebackException.from_exception(exc)
        for error, each in _chained(exc, told):
            if isinstance(error, TaskError) and error.traceback:
                cause = _Traced("\n" + error.traceback.rstrip())
                each.__cause__ = traceback.TracebackException.from_exception(cause)
            elif isinstance(error, UsageError) and _is_all_hosts(each.__cause__):
                each.__cause__ = None  # what it says is in the error's own message
            own = [frame for frame in each.stack if not _is_host(frame.filename)]
            if own:
                each.stack = traceback.StackSummary.from_list(own)
            elif isinstance(error, RewakeError):  # it says what the user did, but not where
                each.stack = None  # type: ignore[assignment]  # no frames, and no title above them
            # Else an error that nobody foresaw: the runtime's frames are all there is to see.
        return _TRACED.sub(r"\1", "".join(told.format()))
    except BaseException:
        return ""


def _chained(
    exc: BaseException, told: traceback.TracebackException
) -> Iterator[tuple[BaseException, traceback.TracebackException]]:
    """An exception with its traceback; its causes' and, of a group, its members' with theirs."""
    left = [(exc, told)]
    while left:
        error, each = left.pop()
        yield error, each
        members = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
        below = [
            (error.__cause__, each.__cause__),
            (error.__context__, each.__context__),
            *zip(members, each.exceptions or (), strict=False),
        ]
        left += [(e, t) for e, t in below if e is not None and t is not None]


def _is_all_hosts(told: traceback.TracebackException | None) -> bool:
    return told is not None and all(_is_host(frame.filename) for frame in told.stack)


def _is_host(file: str) -> bool:
    return file.startswith(_HOSTS) or file in _HOST_FILES


def _head(text: str, size: int) -> str:
    data = _bytes_of(unmarked(text[: size + 1]))
    if len(data) <= size:
        return data.decode()
    return data[: size - len(_CUT.encode())].decode(errors="ignore") + _CUT


def _tail(text: str, size: int) -> str:
    data = _bytes_of(unmarked(text[-size - 1 :]))
    if len(data) <= size:
        return data.decode()
    kept = data[len(_CUT.encode()) + 1 - size :].decode(errors="ignore")
    whole_lines = kept.partition("\n")[2]
    return f"{_CUT}\n{whole_lines or kept}"


def _bytes_of(text: str) -> bytes:
    return text.encode(errors="backslashreplace")
