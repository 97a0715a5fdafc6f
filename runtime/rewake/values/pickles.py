"""Pickles as stored values: signed when they are written, verified before they are loaded.

A pickle is code. Its signature binds it to the Python minor, run, key and purpose that it was
written for. A body, in base64, is a line `pickle <minor>`, 32 bytes of signature, the pickle.
"""

from __future__ import annotations

import base64
import binascii
import pickle
import sys
from typing import Any, NamedTuple

import cloudpickle
import msgspec

from rewake.errors import CheckpointUnreadable, UsageError
from rewake.signing.secret import Secret
from rewake.values.digests import type_name
from rewake.values.failures import described

PYTHON: str = f"{sys.version_info.major}.{sys.version_info.minor}"
"""The Python minor of this process, which reads the pickles of no other."""

_SIGNATURE = 32
_TEXT_DECODER = msgspec.json.Decoder(str)


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


def pickled(value: Any, place: Place) -> bytes:
    """The pickle of a value, proved by reading it. Raises `UsageError` if either fails."""
    try:
        payload = bytes(cloudpickle.dumps(value))
    except Exception as error:
        raise UsageError(f"{_refused(value, place)} cannot be pickled ({error})") from error
    try:
        pickle.loads(payload)  # noqa: S301 - it is ours
    except Exception as error:
        reason = f"can be pickled, and not read again ({described(error)})"
        raise UsageError(f"{_refused(value, place)} {reason}") from error
    return payload


def _refused(value: Any, place: Place) -> str:
    return f"cannot store {place}: a {type_name(type(value))}"


def unpickled(payload: bytes, place: Place) -> Any:
    """The value of a pickle whose signature was verified. Raises `CheckpointUnreadable`."""
    try:
        return pickle.loads(payload)  # noqa: S301 - its signature was verified
    except (ImportError, AttributeError) as error:
        reason = f"something that it is made of was moved or renamed ({error})"
        raise unreadable(place, reason) from error
    except Exception as error:
        raise unreadable(place, f"unpickling it raised {described(error)}") from error


def seal(payload: bytes, secret: Secret, place: Place) -> bytes:
    """The JSON body that holds the pickle `payload`, signed for its place."""
    signature = secret.sign("pickle", *_bound(PYTHON, place, payload))
    sealed = b"pickle %b\n%b%b" % (PYTHON.encode(), signature, payload)
    return b'"%b"' % base64.b64encode(sealed)


def opened(body: msgspec.Raw, secret: Secret, place: Place) -> bytes:
    """The pickle in `body`, verified. Raises `CheckpointUnreadable`."""
    try:
        python, signature, payload = _parse(body)
    except (msgspec.MsgspecError, ValueError) as error:
        raise unreadable(place, f"its body is damaged ({error})") from error
    if not secret.verify(signature, "pickle", *_bound(python, place, payload)):
        raise unreadable(place, "its signature is wrong: damaged, moved, or another secret's")
    if python != PYTHON:
        reason = f"Python {python} pickled it, and this is Python {PYTHON}"
        raise unreadable(place, reason)
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


def _bound(python: str, place: Place, payload: bytes) -> tuple[bytes, ...]:
    return (python.encode(), *(part.encode() for part in place), payload)
