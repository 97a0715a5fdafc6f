"""The app's secret, with which Rewake signs.

One secret signs everything, yet a signature made for one purpose is worth nothing for another:
each purpose has its own key, derived from the secret, and the parts of a message are prefixed
with their lengths, so that no two different lists of parts are the same message. A secret is
changed by making the new one current and keeping the old one as accepted until nothing that it
signed is left.

What is kept for long names the key that signed it by an id, so that a signature of a key that is
not known here and a wrong one are told apart. The id is derived from the secret for this purpose
alone, as short as can be compared: nothing of the secret can be learnt from it.

With it goes the payload codec, if there is one: whatever is given the secret, to read and write
what is stored, cannot leave the codec out.
"""

from __future__ import annotations

import hmac
import math
from collections import Counter
from typing import NoReturn

from rewake.errors import ConfigError
from rewake.signing.payloads import PayloadCodec

__all__ = ["Secret"]

_MINIMUM = 16
"""Fewest bytes of a secret (128 bits)."""
_ID_BYTES = 8
_WORDS = (b"secret", b"password", b"change", b"example", b"rewake", b"qwerty", b"12345")


class Secret:
    """The app's secret bytes: one current, which signs, and others that are still accepted.

    `codec`: what users' data passes on its way to the store and back.
    Text is taken as UTF-8. Raises `ConfigError` for a secret of fewer than 16 bytes.
    """

    __slots__ = ("_accepted", "_ids", "codec")

    def __init__(
        self, current: bytes | str, *previous: bytes | str, codec: PayloadCodec | None = None
    ) -> None:
        self._accepted = tuple(_checked(each) for each in (current, *previous))
        self._ids = tuple(_id_of(each) for each in self._accepted)
        self.codec = codec

    def with_codec(self, codec: PayloadCodec | None) -> Secret:
        """The same secret, with this codec."""
        return Secret(*self._accepted, codec=codec)

    @property
    def id(self) -> str:
        """The id of the key that signs: 16 hexadecimal digits."""
        return self._ids[0]

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of all keys that are accepted, first of the one that signs."""
        return self._ids

    @property
    def bits(self) -> int:
        """At most so many random bits are in the key that signs, by the bytes that it is of."""
        counts = Counter(self._accepted[0])
        size = counts.total()
        return int(-sum(n * math.log2(n / size) for n in counts.values()))

    @property
    def is_typed(self) -> bool:
        """Whether the key that signs has words in it that only people write."""
        text = self._accepted[0].lower()
        return b" " in text or any(word in text for word in _WORDS)

    def knows(self, id: str) -> bool:
        """Whether the key of this id is accepted here."""
        return id in self._ids

    def sign(self, purpose: str, *parts: bytes, key: str = "") -> bytes:
        """Return the signature of `parts` for `purpose`: 32 bytes (HMAC-SHA256).

        `key`: the id of an accepted key that signs instead of the current one.
        """
        signer = self._accepted[self._ids.index(key) if key else 0]
        return _signature(signer, purpose, _message(parts))

    def verify(self, signature: bytes, purpose: str, *parts: bytes) -> bool:
        """Tell, in constant time, whether any accepted secret made `signature`."""
        message = _message(parts)
        genuine = False
        for secret in self._accepted:
            genuine |= hmac.compare_digest(_signature(secret, purpose, message), signature)
        return genuine

    def __repr__(self) -> str:
        return f"<Secret, {len(self._accepted)} accepted>"

    def __reduce__(self) -> NoReturn:
        # A closure that captured the secret would otherwise write it into the database.
        raise TypeError("a Secret cannot be pickled or copied")


def _checked(secret: bytes | str) -> bytes:
    data = secret.encode() if isinstance(secret, str) else secret
    if len(data) < _MINIMUM:
        raise ConfigError(
            f"the secret has {len(data)} bytes and needs at least {_MINIMUM}: set REWAKE_SECRET "
            "to a long random text"
        )
    return data


def _id_of(secret: bytes) -> str:
    return _signature(secret, "key id", b"")[:_ID_BYTES].hex()


def _signature(secret: bytes, purpose: str, message: bytes) -> bytes:
    key = hmac.digest(secret, b"rewake/1/" + purpose.encode(), "sha256")
    return hmac.digest(key, message, "sha256")


def _message(parts: tuple[bytes, ...]) -> bytes:
    return b"".join(len(part).to_bytes(8, "big") + part for part in parts)
