"""What is sealed: users' data that passed the app's payload codec. See `signing/payloads.py`.

    values   arguments, results, forms, decisions, what callbacks are sent: `Value`s. Sealed as they
             are encoded, opened as they are decoded, so they are sealed in messages and on shelves
             too. A sealed one has the codec `sealed`; in it are the codec and body that it has.
    texts    errors, tracebacks, reasons, lines of log: sealed as an item is written, opened as it
             is read (`stores/sealing.py`). A sealed one begins with a mark, which no other text
             does.

What was written before there was a codec is not sealed, and stays readable. What is sealed and
cannot be opened stays as it is: a process that has the key finds it whole. A value is refused then
as it is decoded, a text as a workflow would see it (`readable`); people are told why
(`for_people`). A codec that cannot seal now is as a store that takes no write: `StoreUnavailable`.
"""

from __future__ import annotations

import base64
import binascii

import msgspec

from rewake.errors import (
    CheckpointForged,
    CheckpointUnreadable,
    ReadableElsewhere,
    RewakeError,
    StoreUnavailable,
)
from rewake.records import Value
from rewake.signing.payloads import Context, PayloadCodec

SEALED = "sealed"
"""The codec of a sealed value."""
_MARK = "\uffff"
"""Stands before a sealed text, and between why it was not opened and its data. No character."""
_MARKED = _MARK.encode()
_NO_CODEC = "it is encrypted, and this process has no keys (REWAKE_ENCRYPTION_KEYS, REWAKE_CODEC)"
_FORGED = "forged"
_BODY = msgspec.json.Decoder(str)


def sealed(value: Value, codec: PayloadCodec, context: Context) -> Value:
    """The value, sealed for its place."""
    data = _encoded(b"%b\n%b" % (value.codec.encode(), bytes(value.body)), codec, context)
    body = msgspec.Raw(b'"%b"' % base64.b64encode(data))
    return msgspec.structs.replace(value, codec=SEALED, body=body)


def opened(value: Value, codec: PayloadCodec | None, context: Context) -> Value:
    """The value that was sealed; one that is not sealed as it is.

    Raises `CheckpointForged`, and `ReadableElsewhere` if another process can open it.
    """
    if value.codec != SEALED:
        return value
    try:
        data = base64.b64decode(_BODY.decode(value.body), validate=True)
    except (msgspec.MsgspecError, binascii.Error, ValueError) as error:
        raise CheckpointForged(f"what is encrypted is damaged ({error})") from error
    name, newline, body = _decoded(data, codec, context).partition(b"\n")
    if not newline:
        raise CheckpointForged("what was encrypted is no value")
    return msgspec.structs.replace(value, codec=name.decode(), body=msgspec.Raw(body))


def _encoded(data: bytes, codec: PayloadCodec, context: Context) -> bytes:
    try:
        return codec.encode(data, context)
    except RewakeError:
        raise
    except Exception as error:  # of any kind: the codec is the user's
        told = f"the payload codec failed ({type(error).__name__})"
        raise StoreUnavailable(told) from error


def _decoded(data: bytes, codec: PayloadCodec | None, context: Context) -> bytes:
    if codec is None:
        raise ReadableElsewhere(_NO_CODEC, reason=_NO_CODEC)
    try:
        return codec.decode(data, context)
    except CheckpointUnreadable:
        raise
    except Exception as error:
        reason = f"the payload codec failed ({type(error).__name__})"
        raise ReadableElsewhere(reason, reason=reason) from error


# --- texts -------------------------------------------------------------------------------------


def unmarked(text: str) -> str:
    """A text of users, that it cannot be taken for a sealed one."""
    return text.lstrip(_MARK) if text[:1] == _MARK else text


def sealed_text(text: str, codec: PayloadCodec, context: Context) -> str:
    """The text, sealed for its place; one that could not be opened as it was."""
    if text[:1] == _MARK:
        return f"{_MARK}{_MARK}{text.rpartition(_MARK)[2]}"
    data = _encoded(text.encode(errors="surrogatepass"), codec, context)
    return f"{_MARK}{_MARK}{base64.b64encode(data).decode()}"


def opened_text(text: str, codec: PayloadCodec, context: Context) -> str:
    """The text that was sealed; one that is not as it is, and one that cannot be, with why."""
    if text[:1] != _MARK:
        return text
    sealed = text.rpartition(_MARK)[2]
    try:
        data = base64.b64decode(sealed, validate=True)
        return _decoded(data, codec, context).decode(errors="surrogatepass")
    except ReadableElsewhere as error:
        return f"{_MARK}{error.reason}{_MARK}{sealed}"
    except (CheckpointUnreadable, binascii.Error, ValueError):
        return f"{_MARK}{_FORGED}{_MARK}{sealed}"


def sealed_data(data: bytes, codec: PayloadCodec, context: Context) -> bytes:
    """Bytes, sealed for their place."""
    return _MARKED + _encoded(data, codec, context)


def opened_data(data: bytes, codec: PayloadCodec | None, context: Context) -> bytes:
    """The bytes that were sealed; such as were not as they are. Raises as `opened` does."""
    if not data.startswith(_MARKED):
        return data
    return _decoded(data[len(_MARKED) :], codec, context)


def readable(text: str, what: str) -> str:
    """A text that code of users is given. Raises as `opened` does if it was not opened."""
    if text[:1] != _MARK:
        return text
    reason = _reason(text)
    if reason == _FORGED:
        told = "it is damaged, moved, or forged; or the key of its id is another one here"
        raise CheckpointForged(f"cannot read {what}: {told}")
    raise ReadableElsewhere(f"cannot read {what}: {reason}", reason=reason)


def for_people(text: str) -> str:
    """A text for people: one that was not opened says why."""
    return text if text[:1] != _MARK else f"[unreadable: {_reason(text)}]"


def _reason(text: str) -> str:
    return text[1:].partition(_MARK)[0] or _NO_CODEC
