"""Pickles as stored values: signed when they are written, verified before they are loaded.

A pickle is code. Its signature binds it to the Python minor, run, key and purpose that it was
written for. A body, in base64, is a line `pickle <minor> <key id>`, 32 bytes of signature, the
pickle; the line begins with `code` if bytecode is in it, which only that minor can read. The id
names the key that signed it: what a key signed that is not known here waits for a process that
knows it, while a wrong signature of a known one is damage or a forgery.
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
_HEADER = re.compile(rb"(pickle|code) (\d+\.\d+) ([0-9a-f]{16})")
_MODULE = re.compile(r"\bmodule '([^']+)'")
_TEXT_DECODER = msgspec.json.Decoder(str)


class Pickle(NamedTuple):
    """A pickle, the Python minor that wrote it, and whether only that one can read it."""

    payload: bytes
    holds_code: bool
    python: str

    def header(self, key_id: str) -> bytes:
        """The line before it, signed by the key of this id."""
        return f"{'code' if self.holds_code else 'pickle'} {self.python} {key_id}".encode()


_CALLED = {"emitted": "emitted item"}
"""What people are told of a purpose, where it is no noun."""


class Place(NamedTuple):
    """Where a value belongs."""

    run: str
    key: str
    purpose: str

    def __str__(self) -> str:
        what = _CALLED.get(self.purpose, self.purpose)
        return f"the {what} of {self.key or 'the workflow'} in run {self.run}"


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
    header = made.header(secret.id)
    signature = secret.sign("pickle", *_bound(header, made, place))
    sealed = b"%b\n%b%b" % (header, signature, made.payload)
    return b'"%b"' % base64.b64encode(sealed)


def opened(body: msgspec.Raw, secret: Secret, place: Place) -> Pickle:
    """The pickle in `body`, verified.

    Raises `CheckpointUnreadable`; `ReadableElsewhere` if the key that signed it is not known here.
    """
    try:
        made, key_id, signature = _parse(body)
    except (msgspec.MsgspecError, ValueError) as error:
        raise unreadable(place, f"its body is damaged ({error})") from error
    if not secret.knows(key_id):
        reason = f"it was signed by key {key_id}, which is none of this process's (REWAKE_SECRET)"
        raise ReadableElsewhere(f"cannot read {place}: {reason}", reason=reason)
    if not secret.verify(signature, "pickle", *_bound(made.header(key_id), made, place)):
        raise unreadable(place, "its signature is wrong: damaged, moved, or forged")
    return made


def _parse(body: msgspec.Raw) -> tuple[Pickle, str, bytes]:
    """The pickle in `body`, the id of the key that signed it, and its signature."""
    text = _TEXT_DECODER.decode(body).encode()
    try:
        sealed = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from error
    # Several texts decode to the same bytes; only one of them was written.
    if base64.b64encode(sealed) != text:
        raise ValueError("not canonical base64")
    header, newline, rest = sealed.partition(b"\n")
    found = _HEADER.fullmatch(header)
    if found is None or not newline or len(rest) < _SIGNATURE:
        raise ValueError("no header")
    codec, python, key_id = found.groups()
    made = Pickle(rest[_SIGNATURE:], codec == b"code", python.decode())
    return made, key_id.decode(), rest[:_SIGNATURE]


def _bound(header: bytes, made: Pickle, place: Place) -> tuple[bytes, ...]:
    return (header, *(part.encode() for part in place), made.payload)
