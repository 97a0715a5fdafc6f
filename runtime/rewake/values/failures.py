"""Exceptions as data: bounded texts, made without ever raising."""

from __future__ import annotations

import traceback
import types

from rewake.errors import TaskError
from rewake.records import Failure

_MESSAGE = 4 * 1024
_TRACEBACK = 8 * 1024
_CUT = "…"
_HOSTS = frozenset({"rewake", "asyncio", "concurrent", "threading"})


def failure_of(exc: BaseException, attempts: int) -> Failure:
    """Return `exc` as data, after so many `attempts`.

    The message is at most 4 KiB and the traceback at most 8 KiB of UTF-8; of the message the
    head is kept, of the traceback the tail. Never raises, even if the exception's own code does.
    """
    return Failure(
        type=type(exc).__name__,
        message=_head(_message_of(exc), _MESSAGE),
        traceback=_tail(_traceback_of(exc), _TRACEBACK),
        attempts=attempts,
    )


def task_error(failure: Failure) -> TaskError:
    """Return the exception that a workflow sees for `failure`."""
    return TaskError(
        failure.message,
        type=failure.type,
        traceback=failure.traceback,
        attempts=failure.attempts,
    )


def _message_of(exc: BaseException) -> str:
    try:
        return str(exc)
    except BaseException as error:  # user code, which may raise even `SystemExit`
        return f"<no message: its text raised {type(error).__name__}>"


def described(exc: BaseException) -> str:
    """An exception in a few words. Never raises."""
    return f"{type(exc).__name__}: {_message_of(exc)}"


def _traceback_of(exc: BaseException) -> str:
    try:
        own = _users_part(exc.__traceback__)
        return "".join(traceback.format_exception(type(exc), exc, own))
    except BaseException:
        return ""


def _users_part(trace: types.TracebackType | None) -> types.TracebackType | None:
    """Return `trace` from the first frame that is not the runtime's; all of it if there is none."""
    own = trace
    while own is not None and _is_host(own.tb_frame):
        own = own.tb_next
    return own or trace


def _is_host(frame: types.FrameType) -> bool:
    module = frame.f_globals.get("__name__", "")
    return str(module).partition(".")[0] in _HOSTS


def _head(text: str, size: int) -> str:
    data = _bytes_of(text[: size + 1])
    if len(data) <= size:
        return data.decode()
    return data[: size - len(_CUT.encode())].decode(errors="ignore") + _CUT


def _tail(text: str, size: int) -> str:
    data = _bytes_of(text[-size - 1 :])
    if len(data) <= size:
        return data.decode()
    kept = data[len(_CUT.encode()) + 1 - size :].decode(errors="ignore")
    whole_lines = kept.partition("\n")[2]
    return f"{_CUT}\n{whole_lines or kept}"


def _bytes_of(text: str) -> bytes:
    return text.encode(errors="backslashreplace")
