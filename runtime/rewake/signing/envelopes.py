r"""How a message travels where there are no headers: with its signature, as one text.

    {"rewake": 1, "message": "{\"run\": …}", "signature": "t=<ms>,v1=<hex>"}

The same text is the body of a message in a queue and the payload of a function. The message in it
is a text of its own, for what carries it may write JSON anew, and a signature is over bytes. It is
good for as long as the secret is: a message waits in a queue for days, and to repeat one is
harmless.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from rewake.errors import Unauthentic
from rewake.records import Invocation, Millis
from rewake.signing.messages import sign, signed_at
from rewake.signing.secret import Secret

VERSION = 1
"""The version of what is written here. A process leaves newer ones to those that know them."""
NAME = "rewake"
"""The field by which an envelope is known among other events, with its version."""

LARGEST = 24 * 1024
"""Bytes of an envelope above which arguments are left out: who takes it reads the history.
Ten of these fit into what any service takes at once, and none is billed as more than one.
"""

_VERB = "MESSAGE"
_ESCAPES = (("\ufffe", "\\ufffe"), ("\uffff", "\\uffff"))  # All others JSON escapes anyway.
_encode = msgspec.json.Encoder().encode
_decoder = msgspec.json.Decoder(Invocation)


class Refusal(NamedTuple):
    """Why an envelope is no message for this process. `passing`: it may be one for another."""

    reason: str
    passing: bool = False


class _Envelope(msgspec.Struct):
    message: str
    signature: str


def enveloped(secret: Secret, invocation: Invocation, now: Millis) -> str:
    """A message with its signature, without arguments that are large."""
    found = _enveloped(secret, invocation, now)
    if invocation.args is not None and len(found.encode()) > LARGEST:
        found = _enveloped(secret, msgspec.structs.replace(invocation, args=None), now)
    return found


def _enveloped(secret: Secret, invocation: Invocation, now: Millis) -> str:
    message = _encode(invocation)
    signature = sign(secret, _VERB, str(VERSION), message, now)
    return written({NAME: VERSION, "message": message.decode(), "signature": signature})


def written(envelope: Mapping[str, Any]) -> str:
    """An envelope as JSON that a queue takes: SQS refuses characters that no XML document has."""
    found = _encode(envelope).decode()
    for character, escape in _ESCAPES:
        found = found.replace(character, escape)
    return found


def opened(secret: Secret, envelope: str | Mapping[str, Any]) -> Invocation | Refusal:
    """The message in an envelope, if its signature is right."""
    try:
        found = msgspec.json.decode(envelope) if isinstance(envelope, str) else envelope
        version = msgspec.convert(found[NAME], int)
        if version > VERSION:
            return Refusal(f"it is of version {version}, which is newer than this server", True)
        given = msgspec.convert(found, _Envelope)
    except (msgspec.MsgspecError, ValueError, TypeError, KeyError, RecursionError):
        return Refusal("it is no message of Rewake")
    message = given.message.encode(errors="surrogatepass")
    try:
        signed_at(secret, given.signature, _VERB, str(version), message)
    except Unauthentic:
        return Refusal("its signature is wrong, or of a secret that is not known here", True)
    try:
        return _decoder.decode(message)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        return Refusal(f"it cannot be read: {error}")


def message_in(envelope: str) -> str | None:
    """The message in an envelope, whoever signed it; None if it is none. For people."""
    try:
        return msgspec.json.decode(envelope, type=_Envelope).message
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
