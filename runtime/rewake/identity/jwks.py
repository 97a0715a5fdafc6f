"""The keys of an issuer: fetched when they are first needed, and kept for a while.

Its discovery document names the place of its keys. Both are read again every `FRESH`, without
anybody waiting, and at once for a token whose key is not known: a key may be new. A stranger can
make up such tokens, so that happens at most once in `AGAIN`, whatever came of it, and all who need
the keys meanwhile share one reading.

**Fail closed.** While the issuer cannot be asked, what it said last stands for `KEPT`: no longer,
for a key that it has withdrawn must end. Then, and where nothing is known yet, nobody whom it
speaks for is let in (`IssuerUnavailable`, to be tried again), and everybody else is.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from rewake.clock import Clock
from rewake.errors import IssuerUnavailable
from rewake.identity.fetching import fetch_json, is_fetched
from rewake.records import Millis

if TYPE_CHECKING:
    from jwt import PyJWK

log = logging.getLogger("rewake.identity")

FRESH: Final[Millis] = 300_000
"""So long keys are used before they are read again."""
KEPT: Final[Millis] = 3_600_000
"""So long they are used at most, while they cannot be read again."""
AGAIN: Final[Millis] = 10_000
"""So seldom the issuer is asked."""
MOST_KEYS: Final = 100
"""The most keys of an issuer that are looked at."""
FEWEST_BITS: Final = 2_048
"""Of an RSA key."""

ALGORITHMS: Final[Mapping[str, tuple[str, str | None]]] = {
    "RS256": ("RSA", None),
    "PS256": ("RSA", None),
    "ES256": ("EC", "P-256"),
    "EdDSA": ("OKP", "Ed25519"),
}
"""The algorithms that are accepted, each with the type and the curve of its keys.

None is for a shared secret, so no published key can be taken for one, and none is `none`.
"""

Fetch = Callable[[str], Awaitable[Any]]


class Key(NamedTuple):
    """A key of the issuer, for each algorithm that it may be used with."""

    id: str | None
    by_algorithm: Mapping[str, PyJWK]


class Jwks:
    """The keys of one issuer."""

    def __init__(self, issuer: str, clock: Clock, fetch: Fetch = fetch_json) -> None:
        self._issuer = issuer
        self._clock = clock
        self._fetch = fetch
        self._keys: Sequence[Key] | None = None
        self._at: Millis = 0
        self._tried: Millis | None = None
        self._trouble = ""
        self._reading: asyncio.Task[None] | None = None

    async def key(self, algorithm: str, id: str | None) -> PyJWK | None:
        """The key that a token names, or the only one there is if it names none.

        Raises `IssuerUnavailable`.
        """
        await self._make_sure()
        found = self._find(algorithm, id)
        if found is None and id is not None and self._may_read():
            await self._read()
            found = self._find(algorithm, id)
        if found is None and self._trouble:
            raise IssuerUnavailable(self._trouble)  # the key may be one that was not read yet
        return found

    async def check(self) -> int:
        """How many keys can be used, as the issuer says now. Raises `IssuerUnavailable`."""
        return len(await self._keys_now())

    async def close(self) -> None:
        """End what is being read."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)

    async def _make_sure(self) -> None:
        """Let there be keys that may be used."""
        age = self._clock.now() - self._at
        if self._keys is not None and 0 <= age < KEPT:
            if age >= FRESH and self._may_read():
                self._begin()  # nobody waits for it
            return
        if self._may_read():
            await self._read()
        if self._keys is None or not 0 <= self._clock.now() - self._at < KEPT:
            raise IssuerUnavailable(self._trouble or "its keys were not read yet")

    def _may_read(self) -> bool:
        if self._reading is not None or self._tried is None:
            return True
        return not 0 <= self._clock.now() - self._tried < AGAIN

    def _begin(self) -> asyncio.Task[None]:
        if self._reading is None:
            self._tried = self._clock.now()
            self._reading = asyncio.ensure_future(self._read_now())
        return self._reading

    async def _read(self) -> None:
        # Who gives up waiting does not end it for the others.
        await asyncio.wait({self._begin()})

    async def _read_now(self) -> None:
        try:
            self._keys = await self._keys_now()
            self._at, self._trouble = self._clock.now(), ""
        except Exception as error:  # of any kind: what was known stands for a while
            known = isinstance(error, IssuerUnavailable)
            told = str(error) if known else f"its keys cannot be read: {type(error).__name__}"
            if not self._trouble:
                log.warning("the issuer of bearer tokens cannot be asked: %s", told)
            self._trouble = told
        finally:
            self._reading = None

    async def _keys_now(self) -> Sequence[Key]:
        issuer = self._issuer
        found = await self._fetch(f"{issuer.rstrip('/')}/.well-known/openid-configuration")
        if not isinstance(found, dict) or found.get("issuer") != issuer:
            raise IssuerUnavailable(f"the discovery document of {issuer} is of another issuer")
        place = found.get("jwks_uri")
        if not isinstance(place, str) or not is_fetched(place):
            raise IssuerUnavailable(f"the discovery document of {issuer} names no place of keys")
        listed = await self._fetch(place)
        given = listed.get("keys") if isinstance(listed, dict) else None
        if not isinstance(given, list):
            raise IssuerUnavailable(f"{place} has no keys")
        keys = [key for each in given[:MOST_KEYS] if (key := _key(each)) is not None]
        if not keys:
            raise IssuerUnavailable(f"{place} has no key that can be used")
        return keys

    def _find(self, algorithm: str, id: str | None) -> PyJWK | None:
        fits = [key for key in self._keys or () if algorithm in key.by_algorithm]
        named = [key for key in fits if key.id == id] if id is not None else fits
        # Of several nobody can say which: none is tried.
        return named[0].by_algorithm[algorithm] if len(named) == 1 else None


def _key(given: object) -> Key | None:
    """A key that signatures may be checked with; None for any other."""
    from jwt import PyJWK  # noqa: PLC0415 - slow to import, and seldom needed
    from jwt.exceptions import PyJWTError  # noqa: PLC0415

    if not isinstance(given, dict) or "d" in given or given.get("use", "sig") != "sig":
        return None
    named, only, doing = given.get("kid"), given.get("alg"), given.get("key_ops", ["verify"])
    if not isinstance(named, str | None) or not isinstance(doing, list) or "verify" not in doing:
        return None
    found = {}
    for name, (type_, curve) in ALGORITHMS.items():
        fits = given.get("kty") == type_ and (curve is None or given.get("crv") == curve)
        if not fits or only not in (None, name):
            continue
        try:
            key = PyJWK(given, name)
        except (PyJWTError, ValueError, TypeError, KeyError):
            return None
        if type_ == "RSA" and key.key.key_size < FEWEST_BITS:
            return None
        found[name] = key
    return Key(named, found) if found else None
