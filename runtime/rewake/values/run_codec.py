"""The values of one run, as data: `rewake.values.codecs`, bound to the run and the app's secret.

Where there is a payload codec, a run has a *digest key*: random, made at its start, and kept in its
header, sealed. Digests of arguments are keyed with it. So nobody who reads the store can try what
the arguments may have been, and no digest changes with a key of the codec. All values of a run that
has one are sealed; so one that is not was put there by somebody else, and no body is given it.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Mapping
from typing import Any

import msgspec

from rewake.errors import CheckpointForged
from rewake.records import Header, Value
from rewake.signing.secret import Secret
from rewake.values import codecs, digests
from rewake.values.pickles import Place
from rewake.values.sealing import SEALED

_KEY = 16
_PURPOSE = "digest key"


def new_digest_key(secret: Secret, run: str) -> str:
    """A digest key for a run, sealed; empty where there is no payload codec."""
    return "" if secret.codec is None else _sealed_key(secret, run, secrets.token_bytes(_KEY))


def _sealed_key(secret: Secret, run: str, key: bytes) -> str:
    text = base64.b64encode(key).decode()
    made = codecs.encode(text, secret=secret, run=run, key="", purpose=_PURPOSE)
    return msgspec.json.decode(made.body, type=str)


class RunCodec:
    """The codec of one run, as `rewake.replay.program.Codec` describes it.

    `digest_key`: that of its header, for digests. `sealed`: the run has one, so that a plain value
    is forged. Raises `ReadableElsewhere` if it cannot be opened
    here, and `CheckpointForged` if it is none.
    """

    __slots__ = ("_digest_key", "_run", "_sealed", "_secret")

    def __init__(
        self, secret: Secret, run: str, digest_key: str = "", *, sealed: bool = False
    ) -> None:
        self._secret = secret
        self._run = run
        self._sealed = sealed or digest_key != ""
        self._digest_key = b""
        if digest_key:
            self._digest_key = self._opened_key(digest_key)

    def encode(
        self,
        value: Any,
        *,
        key: str,
        purpose: str,
        hint: Any = None,
        hidden: tuple[str, ...] = (),
    ) -> Value:
        made = codecs.encode(
            value, hint=hint, secret=self._secret, run=self._run, key=key, purpose=purpose
        )
        return msgspec.structs.replace(made, hidden=hidden) if hidden else made

    def seal(self, value: Value, *, key: str, purpose: str) -> Value:
        """A value that is plain, as it is kept: sealed, where there is a payload codec."""
        return codecs.sealed_at(value, self._secret, Place(self._run, key, purpose))

    def decode(self, value: Value, *, key: str, purpose: str, hint: Any = None) -> Any:
        self._check_sealed(value, key, purpose)
        return codecs.decode(
            value, hint=hint, secret=self._secret, run=self._run, key=key, purpose=purpose
        )

    def opened(self, value: Value, *, key: str, purpose: str) -> Value:
        """The value as it is without the payload codec. Raises `CheckpointUnreadable`."""
        self._check_sealed(value, key, purpose)
        if value.codec != SEALED:
            return value
        return codecs.opened_at(value, self._secret, Place(self._run, key, purpose))

    def moved(self, value: Value, purpose: str, target: Place) -> Value:
        """What is kept of the run itself, as a value of another place. Raises as `decode` does."""
        self._check_sealed(value, "", purpose)
        return codecs.moved(value, self._secret, Place(self._run, "", purpose), target)

    def bound_to(self, other: RunCodec, value: Value, *, key: str, purpose: str) -> Value:
        """The value of this run as one of another run. Raises `CheckpointUnreadable`."""
        self._check_sealed(value, key, purpose)
        old, new = Place(self._run, key, purpose), Place(other._run, key, purpose)
        return codecs.moved(value, self._secret, old, new)

    def same_digest_key(self, run: str) -> str:
        """The digest key of this run, sealed for another one."""
        return _sealed_key(self._secret, run, self._digest_key)

    def _check_sealed(self, value: Value, key: str, purpose: str) -> None:
        if self._sealed and value.codec != SEALED:
            place = Place(self._run, key, purpose)
            raise CheckpointForged(
                f"cannot read {place}: it is not encrypted, as all of its run is"
            )

    def digest(self, arguments: Mapping[str, Any]) -> str:
        """The digest of these arguments in this run."""
        return digests.digest(arguments, self._digest_key)

    def _opened_key(self, stored: str) -> bytes:
        kept = Value(SEALED, msgspec.Raw(msgspec.json.encode(stored)))
        try:
            return base64.b64decode(self.decode(kept, key="", purpose=_PURPOSE), validate=True)
        except (TypeError, ValueError) as error:
            raise CheckpointForged(f"the digest key of run {self._run} is none") from error


def digests_of(secret: Secret, header: Header) -> RunCodec:
    """The codec of a run that makes its digests. Raises as `RunCodec` does."""
    return RunCodec(secret, header.run, header.digest_key)
