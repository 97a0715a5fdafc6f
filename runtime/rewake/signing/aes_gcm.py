"""Authenticated encryption of what is stored: AES-256 in Galois/Counter Mode, keys by id.

    envelope    1 | length of the key's id | the key's id | nonce (12 bytes) | ciphertext and tag

The first key encrypts, all of them decrypt: so keys are changed one after another, without a pause.
Each run has a key of its own, derived from that key and the run's id by HMAC-SHA256. Nonces are
random, and AES-GCM wants no more than 2^32 of them under one key: no run comes near. The envelope's
head and the whole context are authenticated too, so that nothing can be moved to another place.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
import secrets
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NoReturn

from rewake.errors import CheckpointForged, ConfigError, ReadableElsewhere
from rewake.signing.payloads import Context

_VERSION = b"\x01"
_NONCE, _TAG = 12, 16
_KEY = 32
_ID = re.compile(r"[A-Za-z0-9_.-]{1,32}", re.ASCII)
_PURPOSE = b"rewake/encryption/1/"
_CACHED = 1024
"""Keys of so many runs are at hand; to derive one takes microseconds."""
_FORGED = "it is not what was encrypted for this place: changed, moved, or forged"
_OR_KEY = f"{_FORGED}; or the key {{}} is another one here (see REWAKE_ENCRYPTION_KEYS)"
"""Where the key's id is known, its bytes may be wrong: that looks the same."""


class AesGcm:
    """A payload codec that encrypts. `keys`: 32 bytes each, by id; the first one encrypts.

    Raises `ConfigError` for keys that are none, and where `cryptography` is not installed.
    """

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        if not keys:
            raise ConfigError("there is no key to encrypt with: set REWAKE_ENCRYPTION_KEYS")
        for name, key in keys.items():
            _check(name, key)
        self._keys = dict(keys)
        self._current = next(iter(keys))
        self._cipher = lru_cache(maxsize=_CACHED)(_Ciphers(self._keys).of_run)

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of the keys that are known; the first one encrypts."""
        return tuple(self._keys)

    def encode(self, data: bytes, context: Context) -> bytes:
        """The data, encrypted for this context."""
        head = _head_of(self._current)
        nonce = secrets.token_bytes(_NONCE)
        cipher = self._cipher(self._current, context.run)
        return head + nonce + bytes(cipher.encrypt(nonce, data, _bound(head, context)))

    def decode(self, data: bytes, context: Context) -> bytes:
        """What was encrypted for this context. Raises `CheckpointForged`, `ReadableElsewhere`."""
        key_id, head, rest = _parts(data)
        if key_id not in self._keys:
            reason = f"key {key_id} encrypted it, which is none of this process's"
            raise ReadableElsewhere(reason, reason=f"{reason} (REWAKE_ENCRYPTION_KEYS)")
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - as in `_Ciphers`

        cipher = self._cipher(key_id, context.run)
        try:
            nonce, sealed = rest[:_NONCE], rest[_NONCE:]
            return bytes(cipher.decrypt(nonce, sealed, _bound(head, context)))
        except InvalidTag:
            raise CheckpointForged(_OR_KEY.format(key_id)) from None

    def __repr__(self) -> str:
        return f"<AesGcm, keys {', '.join(self._keys)}>"

    def __reduce__(self) -> NoReturn:
        # A closure that captured it would otherwise write the keys into the database.
        raise TypeError("encryption keys cannot be pickled or copied")


class _Ciphers:
    """Makes the cipher of a run. Raises `ConfigError` where `cryptography` is not installed."""

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        try:
            # Here, for it takes a while to import, and few use it.
            from cryptography.hazmat.primitives.ciphers import aead  # noqa: PLC0415
        except ImportError:
            raise ConfigError(
                "REWAKE_ENCRYPTION_KEYS needs the library cryptography: install rewake[encryption]"
            ) from None
        self._keys, self._made = keys, aead.AESGCM

    def of_run(self, id: str, run: str) -> Any:
        """The cipher of a run under the key of this id."""
        return self._made(hmac.digest(self._keys[id], _PURPOSE + run.encode(), "sha256"))


def keys_in(text: str) -> dict[str, bytes]:
    """The keys in `id:base64,id:base64`. Raises `ConfigError`, which tells none of them."""
    keys: dict[str, bytes] = {}
    for number, part in enumerate(filter(None, map(str.strip, text.split(","))), 1):
        name, colon, encoded = part.partition(":")
        try:
            key = base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError):
            key = b""
        if not colon or not key:
            told = f"part {number} is not id:base64 (the base64 of 32 random bytes)"
            raise ConfigError(f"REWAKE_ENCRYPTION_KEYS: {told}")
        if name in keys:
            raise ConfigError(f"REWAKE_ENCRYPTION_KEYS: there are two keys of the id {name}")
        _check(name, key, f"REWAKE_ENCRYPTION_KEYS: part {number}: ")
        keys[name] = key
    if not keys:  # else what is meant to be encrypted would not be
        raise ConfigError("REWAKE_ENCRYPTION_KEYS has no key in it: id:base64, of 32 random bytes")
    return keys


def _check(id: str, key: bytes, where: str = "") -> None:
    # The id is not told: a key may stand in its place.
    if not _ID.fullmatch(id):
        told = "the id of a key is 1 to 32 of a-z, A-Z, 0-9, '_', '-' and '.'"
        raise ConfigError(f"{where}{told}")
    if len(key) != _KEY:
        raise ConfigError(f"{where}a key has {_KEY} bytes, and this one {len(key)}")


def _head_of(id: str) -> bytes:
    name = id.encode("ascii")
    return _VERSION + bytes([len(name)]) + name


def _parts(data: bytes) -> tuple[str, bytes, bytes]:
    """The key's id, the head, and what follows. Raises `CheckpointForged`."""
    end = 2 + data[1] if len(data) > 1 else 0
    name = data[2:end].decode("ascii", errors="replace")
    if data[:1] != _VERSION or not _ID.fullmatch(name) or len(data) < end + _NONCE + _TAG:
        raise CheckpointForged(_FORGED)
    return name, data[:end], data[end:]


def _bound(head: bytes, context: Context) -> bytes:
    """The head and the context, so that no two different ones are the same bytes."""
    parts = (head, *(each.encode(errors="surrogatepass") for each in context))
    return b"".join(len(part).to_bytes(8, "big") + part for part in parts)
