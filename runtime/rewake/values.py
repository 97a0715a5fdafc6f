"""Values are faithful: what a task returned is what the workflow sees, live and on replay.

A value is stored in the first of three codecs that restores it exactly, of the same types deep
down. Nothing is guessed: what a codec would change (a tuple into a list, an `IntEnum` into an
`int`, a named zone into an offset) goes to the next one.

    json     plain data: None, bool, int, float, str, list, dict with str keys (`rewake.plain`)
    typed    JSON that a type hint restores; proved at once by restoring and comparing
    pickle   cloudpickle, for the rest

The first two can be read by eye and by any Python. A pickle is code: it is loaded only after its
signature was verified, which binds it to the Python minor, run, key and purpose that it was
written for. Its body, in base64, is a line `pickle <minor>`, 32 bytes of signature, the pickle.

What no codec keeps is aliasing between plain values: one list that occurs twice comes back as two
equal ones. That is the same live and on replay, since a workflow is only ever handed the decoded
value.

A *failure* is an exception as data. It is text, bounded, and never fails itself.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import enum
import pickle
import sys
import traceback
import types
import uuid
from collections.abc import Callable, Collection, Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Any, NamedTuple

import cloudpickle
import msgspec

from rewake.digests import digest, field_names, type_name
from rewake.errors import CheckpointUnreadable, TaskError, UsageError
from rewake.plain import plain_types
from rewake.records import Failure, Value
from rewake.secret import Secret

__all__ = ["PYTHON", "Secret", "decode", "digest", "encode", "failure_of", "task_error"]

PYTHON: str = f"{sys.version_info.major}.{sys.version_info.minor}"
"""The Python minor that runs: it reads the pickles of no other."""

_SIGNATURE = 32


class _Place(NamedTuple):
    """Where a value belongs."""

    run: str
    key: str
    purpose: str

    def __str__(self) -> str:
        return f"the {self.purpose} of {self.key or 'the workflow'} in run {self.run}"


# --- encode and decode -------------------------------------------------------------------------

_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder()
_TEXT_DECODER = msgspec.json.Decoder(str)
_NULL = b"null"


def encode(
    value: Any, *, hint: Any = None, secret: Secret, run: str, key: str, purpose: str
) -> Value:
    """Encode `value` so that `decode` restores it exactly.

    `hint` is the declared type, resolved (no strings), or `None` for none. `run`, `key` and
    `purpose` (a word such as `result`) say where the value belongs: `decode` must be given the
    same. Raises `UsageError` if the value cannot be pickled either.
    """
    body = _plain_json(value)
    if body is not None:
        return Value("json", msgspec.Raw(body))
    body = _typed_json(value, hint)
    if body is not None:
        return Value("typed", msgspec.Raw(body))
    place = _Place(run, key, purpose)
    return Value("pickle", msgspec.Raw(_seal(_pickled(value, place), secret, place)))


def decode(
    value: Value, *, hint: Any = None, secret: Secret, run: str, key: str, purpose: str
) -> Any:
    """Restore what `encode` was given, under the same `hint`, `run`, `key` and `purpose`.

    Raises `CheckpointUnreadable` for a body that is damaged, not authentic, kept apart and not
    yet fetched, of another Python minor, or of a type that no longer exists or fits.
    """
    place = _Place(run, key, purpose)
    if value.blob and bytes(value.body) == _NULL:
        raise _unreadable(place, f"its body is kept apart in {value.blob} and was not fetched")
    match value.codec:
        case "json":
            return _from_json(value.body, place)
        case "typed":
            return _from_typed(value.body, hint, place)
        case "pickle":
            return _unpickled(_open(value.body, secret, place), place)
        case codec:
            raise _unreadable(place, f"its codec {codec!r} is not known to this version")


def _unreadable(place: _Place, reason: str) -> CheckpointUnreadable:
    return CheckpointUnreadable(f"cannot read {place}: {reason}")


def _from_json(body: msgspec.Raw, place: _Place) -> Any:
    try:
        return _DECODER.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise _unreadable(place, f"its JSON is damaged ({error})") from error


# --- plain JSON --------------------------------------------------------------------------------


def _plain_json(value: Any) -> bytes | None:
    """Return `value` as JSON if plain JSON restores it exactly."""
    if plain_types(value) is None:
        return None
    try:
        return _ENCODER.encode(value)
    except UnicodeEncodeError:
        return None


# --- JSON that a type hint restores ------------------------------------------------------------

_EQUAL: frozenset[type] = frozenset({types.NoneType, bool, int, str, bytes, bytearray})
# Equality alone would take 0.0 for -0.0, 1.0 for 1.00, and one zone for another.
_IDENTITY: Mapping[type, Callable[[Any], object]] = {
    float: float.hex,
    Decimal: repr,
    dt.date: repr,
    dt.datetime: repr,
    dt.time: repr,
    dt.timedelta: repr,
    uuid.UUID: lambda value: (value.int, value.is_safe),
}


def _typed_json(value: Any, hint: Any) -> bytes | None:
    """Return `value` as JSON if decoding it under `hint` restores it exactly."""
    if hint is None or hint is Any:
        return None
    try:
        body = _ENCODER.encode(value)
        return body if _same(value, _typed_decoder(hint).decode(body)) else None
    except Exception:
        return None


def _from_typed(body: msgspec.Raw, hint: Any, place: _Place) -> Any:
    if hint is None:
        raise _unreadable(place, "it was written under a type hint, and there is none now")
    try:
        return _typed_decoder(hint).decode(body)
    except Exception as error:
        raise _unreadable(place, f"it does not fit its type hint {hint!r} ({error})") from error


@lru_cache(maxsize=512)
def _typed_decoder(hint: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(hint)


def _same(one: Any, other: Any) -> bool:
    """Tell whether two values are equal and of the same types, deep down."""
    kind = type(one)
    if kind is not type(other):
        return False
    if kind in _EQUAL:
        return bool(one == other)
    if kind in _IDENTITY:
        return bool(_IDENTITY[kind](one) == _IDENTITY[kind](other))
    if issubclass(kind, enum.Enum):
        return one is other
    if kind is dict:
        return _same_items(one.items(), other.items())
    if kind is list or kind is tuple:
        return _same_items(one, other)
    if kind is set or kind is frozenset:
        return _same_members(one, other)
    return _same_objects(kind, one, other)


def _same_items(one: Collection[Any], other: Collection[Any]) -> bool:
    return len(one) == len(other) and all(map(_same, one, other))


def _same_members(one: Collection[Any], other: Collection[Any]) -> bool:
    members = {member: member for member in other}
    return len(one) == len(other) and all(
        member in members and _same(member, members[member]) for member in one
    )


# These hold content outside of what `__getstate__` tells.
_BUILT_IN = (BaseException, dict, list, set, frozenset, str, int, float, bytes)


def _same_objects(kind: type, one: Any, other: Any) -> bool:
    # The whole state, for an object may carry more than its declared fields.
    if not _same(object.__getstate__(one), object.__getstate__(other)):
        return False
    if issubclass(kind, tuple):
        return _same_items(one, other)
    return field_names(kind) is not None and not issubclass(kind, _BUILT_IN)


# --- pickles -----------------------------------------------------------------------------------


def _pickled(value: Any, place: _Place) -> bytes:
    try:
        return bytes(cloudpickle.dumps(value))
    except Exception as error:
        raise UsageError(
            f"cannot store {place}: a {type_name(type(value))} cannot be pickled ({error})"
        ) from error


def _unpickled(payload: bytes, place: _Place) -> Any:
    try:
        return pickle.loads(payload)  # noqa: S301 - its signature was verified
    except (ImportError, AttributeError) as error:
        reason = f"something that it is made of was moved or renamed ({error})"
        raise _unreadable(place, reason) from error
    except Exception as error:
        raise _unreadable(place, f"unpickling it raised {_described(error)}") from error


def _seal(payload: bytes, secret: Secret, place: _Place) -> bytes:
    signature = secret.sign("pickle", *_bound(PYTHON, place, payload))
    sealed = b"pickle %b\n%b%b" % (PYTHON.encode(), signature, payload)
    return b'"%b"' % base64.b64encode(sealed)


def _open(body: msgspec.Raw, secret: Secret, place: _Place) -> bytes:
    """Return the pickle in `body`, verified; raise `CheckpointUnreadable` otherwise."""
    try:
        python, signature, payload = _parse(body)
    except (msgspec.MsgspecError, ValueError) as error:
        raise _unreadable(place, f"its body is damaged ({error})") from error
    if not secret.verify(signature, "pickle", *_bound(python, place, payload)):
        raise _unreadable(place, "its signature is wrong: damaged, moved, or another secret's")
    if python != PYTHON:
        reason = f"Python {python} pickled it, and this is Python {PYTHON}"
        raise _unreadable(place, reason)
    return payload


def _parse(body: msgspec.Raw) -> tuple[str, bytes, bytes]:
    text = _TEXT_DECODER.decode(body).encode()
    try:
        sealed = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from error
    # Several texts decode to the same bytes; only one of them was written.
    if base64.b64encode(sealed) != text:
        raise ValueError("not canonical base64")
    header, newline, rest = sealed.partition(b"\n")
    codec, _, python = header.partition(b" ")
    if codec != b"pickle" or not newline or len(rest) < _SIGNATURE:
        raise ValueError("no header")
    return python.decode(), rest[:_SIGNATURE], rest[_SIGNATURE:]


def _bound(python: str, place: _Place, payload: bytes) -> tuple[bytes, ...]:
    return (python.encode(), *(part.encode() for part in place), payload)


# --- failures ----------------------------------------------------------------------------------

_MESSAGE = 4 * 1024
_TRACEBACK = 8 * 1024
_CUT = "…"
_HOSTS = frozenset({"rewake", "asyncio", "concurrent", "threading"})


def failure_of(exc: BaseException, attempts: int) -> Failure:
    """Return `exc` as data, after so many `attempts`.

    The message is at most 4 KiB and the traceback at most 8 KiB of UTF-8; of the message the
    head is kept, of the traceback the tail. Never raises, whatever the exception does.
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
    except Exception as error:
        return f"<no message: its text raised {type(error).__name__}>"


def _described(exc: BaseException) -> str:
    return f"{type(exc).__name__}: {_message_of(exc)}"


def _traceback_of(exc: BaseException) -> str:
    try:
        own = _users_part(exc.__traceback__)
        return "".join(traceback.format_exception(type(exc), exc, own))
    except Exception:
        return ""


def _users_part(trace: types.TracebackType | None) -> types.TracebackType | None:
    """Return `trace` from the first frame that is not the runtime's; whole if there is none."""
    own = trace
    while own is not None and _is_host(own.tb_frame):
        own = own.tb_next
    return own or trace


def _is_host(frame: types.FrameType) -> bool:
    module = frame.f_globals.get("__name__", "")
    return str(module).partition(".")[0] in _HOSTS


def _head(text: str, size: int) -> str:
    data = _storable(text[: size + 1])
    if len(data) <= size:
        return data.decode()
    return data[: size - len(_CUT.encode())].decode(errors="ignore") + _CUT


def _tail(text: str, size: int) -> str:
    data = _storable(text[-size - 1 :])
    if len(data) <= size:
        return data.decode()
    kept = data[len(_CUT.encode()) + 1 - size :].decode(errors="ignore")
    whole_lines = kept.partition("\n")[2]
    return f"{_CUT}\n{whole_lines or kept}"


def _storable(text: str) -> bytes:
    # Lone surrogates are legal in a message and not in UTF-8.
    return text.encode(errors="backslashreplace")
