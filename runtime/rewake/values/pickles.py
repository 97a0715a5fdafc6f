"""Pickles as stored values: signed when they are written, verified before they are loaded.

A pickle is code. Its signature binds it to the Python minor, run, key and purpose that it was
written for. A body, in base64, is a line `pickle <minor>`, 32 bytes of signature, the pickle; the
line is `code <minor>` if bytecode is in it, which only that minor can read.
"""

from __future__ import annotations

import base64
import binascii
import pickle
import re
import sys
from typing import Any, NamedTuple

import msgspec

from rewake.errors import CheckpointUnreadable, ReadableElsewhere, UsageError
from rewake.signing.secret import Secret
from rewake.values import culprits
from rewake.values.digests import type_name
from rewake.values.failures import described
from rewake.values.references import dumped

PYTHON: str = f"{sys.version_info.major}.{sys.version_info.minor}"
"""The Python minor of this process."""

_SIGNATURE = 32
_MODULE = re.compile(r"\bmodule '([^']+)'")
_TEXT_DECODER = msgspec.json.Decoder(str)


class Pickle(NamedTuple):
    """A pickle, the Python minor that wrote it, and whether only that one can read it."""

    payload: bytes
    holds_code: bool
    python: str

    @property
    def header(self) -> bytes:
        """The line before it."""
        return f"{'code' if self.holds_code else 'pickle'} {self.python}".encode()


class Place(NamedTuple):
    """Where a value belongs."""

    run: str
    key: str
    purpose: str

    def __str__(self) -> str:
        return f"the {self.purpose} of {self.key or 'the workflow'} in run {self.run}"


def unreadable(place: Place, reason: str) -> CheckpointUnreadable:
    """The error for a value that cannot be read."""
    return CheckpointUnreadable(f"cannot read {place}: {reason}")


def pickled(value: Any, place: Place) -> Pickle:
    """The pickle of a value, proved by reading it. Raises `UsageError` if either fails."""
    try:
        made = Pickle(*dumped(value), PYTHON)
    except Exception as error:
        told = f"{_refused(value, place)} cannot be pickled ({error}){culprits.told(value)}"
        raise UsageError(told) from error
    try:
        pickle.loads(made.payload)  # noqa: S301 - it is ours
    except Exception as error:
        reason = f"can be pickled, and not read again ({described(error)})"
        raise UsageError(f"{_refused(value, place)} {reason}") from error
    return made


def _refused(value: Any, place: Place) -> str:
    return f"cannot store {place}: a {type_name(type(value))}"


def unpickled(made: Pickle, place: Place) -> Any:
    """The value of a pickle whose signature was verified.

    Raises `CheckpointUnreadable`; `ReadableElsewhere` if it is the other Python minor's.
    """
    if made.holds_code and made.python != PYTHON:
        reason = f"it holds code of Python {made.python}, and this is Python {PYTHON}"
        raise ReadableElsewhere(f"cannot read {place}: {reason}", reason=reason)
    try:
        return pickle.loads(made.payload)  # noqa: S301 - its signature was verified
    except Exception as error:
        missing = isinstance(error, ImportError | AttributeError)
        if made.python != PYTHON and not (missing and _is_of_users(error)):
            reason = f"Python {made.python} wrote it, and this is Python {PYTHON} ({error})"
            raise ReadableElsewhere(f"cannot read {place}: {reason}", reason=reason) from error
        if missing:
            reason = f"something that it is made of was moved or renamed ({error})"
            raise unreadable(place, reason) from error
        raise unreadable(place, f"unpickling it raised {described(error)}") from error


def _is_of_users(error: Exception) -> bool:
    """Whether what is missing is not the standard library's."""
    named = _MODULE.search(str(error))
    module = (error.name if isinstance(error, ImportError) else named and named[1]) or ""
    return module.partition(".")[0] not in sys.stdlib_module_names


def seal(made: Pickle, secret: Secret, place: Place) -> bytes:
    """The JSON body that holds a pickle, signed for its place."""
    signature = secret.sign("pickle", *_bound(made, place))
    sealed = b"%b\n%b%b" % (made.header, signature, made.payload)
    return b'"%b"' % base64.b64encode(sealed)


def opened(body: msgspec.Raw, secret: Secret, place: Place) -> Pickle:
    """The pickle in `body`, verified. Raises `CheckpointUnreadable`."""
    try:
        made, signature = _parse(body)
    except (msgspec.MsgspecError, ValueError) as error:
        raise unreadable(place, f"its body is damaged ({error})") from error
    if not secret.verify(signature, "pickle", *_bound(made, place)):
        raise unreadable(place, "its signature is wrong: damaged, moved, or another secret's")
    return made


def _parse(body: msgspec.Raw) -> tuple[Pickle, bytes]:
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
    if codec not in (b"pickle", b"code") or not newline or len(rest) < _SIGNATURE:
        raise ValueError("no header")
    made = Pickle(rest[_SIGNATURE:], codec == b"code", python.decode())
    return made, rest[:_SIGNATURE]


def _bound(made: Pickle, place: Place) -> tuple[bytes, ...]:
    return (made.header, *(part.encode() for part in place), made.payload)
