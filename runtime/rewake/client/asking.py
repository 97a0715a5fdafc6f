"""What a client asks a server, without any I/O: one implementation for both kinds of client.

An operation is a *flow*: a generator that yields what it wants done, an `Ask` to be sent or a
`Pause` to be made, and is sent what came of it. It returns the operation's result. Whoever drives
it does the I/O, in a coroutine or in a thread, and knows nothing of what is asked.

**Sent again is only what may be.** A request that got no answer may have been carried out. So it is
sent again if that changes nothing (`repeatable`): reading, a start whose run has an id or a key, a
callback, for which the first call stands. Anything may be sent again of which nothing was done:
the connection was refused, or the server says so. In between a flow waits longer each time, but no
less than `Retry-After` asks for, and gives up after so many seconds (`Manner.patience`).
"""

from __future__ import annotations

import itertools
import logging
import random
import secrets
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias, TypeVar
from urllib.parse import quote, urlencode

from rewake.client.answers import (
    Answer,
    Lost,
    Reply,
    nothing_was_done,
    read,
    retry_after,
    transient,
)
from rewake.errors import InvalidInput, RewakeError
from rewake.signing.redacting import without_tokens

log = logging.getLogger("rewake.client")

T = TypeVar("T")

LONGEST_WAIT = 30.0
"""Seconds that one request waits; a longer wait takes several requests."""
TOO_SOON = 1.0
"""Seconds: a long poll that ends sooner with nothing is of a server that closes."""
_FIRST_PAUSE = 0.2
_LONGEST_PAUSE = 8.0
_NO_IDS = ("", ".", "..")


@dataclass(frozen=True, slots=True)
class Ask:
    """One request. `path`: its parts, below the server's URL.

    `at`: the whole address instead, which then is a secret: no token goes with it, and it is shown
    to nobody. `wait`: seconds that the server may take on purpose.
    """

    method: str
    path: tuple[str, ...] = ()
    query: Mapping[str, object] = field(default_factory=dict)
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    wait: float = 0
    repeatable: bool = False
    at: str = field(default="", repr=False)

    def address(self, base: str) -> str:
        """Where it goes. Raises `InvalidInput` for a part that would lead elsewhere."""
        for part in self.path:
            if part in _NO_IDS:
                raise InvalidInput(f"{part!r} is the name of nothing")
        parts = [quote(_text(part), safe="") for part in self.path]
        given = {**self.query, "wait": self.wait or None}
        query = urlencode({k: _text(str(v)) for k, v in given.items() if v is not None})
        whole = self.at or "/".join([base, *parts])
        return f"{whole}?{query}" if query else whole


def _text(text: object) -> str:
    """The text. Raises `InvalidInput` if it is none that can be sent, or no text at all."""
    if not isinstance(text, str):  # a `Run`, say, by who checks no types
        raise InvalidInput(f"a {type(text).__name__} is no text; of a run, give its `id`")
    try:
        text.encode()
    except UnicodeEncodeError:  # an argument from a shell need not be UTF-8
        raise InvalidInput(f"{text!r} is no text in UTF-8") from None
    return text


class Pause(NamedTuple):
    """Wait for so many seconds."""

    seconds: float


Flow: TypeAlias = Generator[Ask | Pause, Answer | Lost, T]
"""An operation. A pause is answered like a request, with what nobody reads."""


def _log(error: RewakeError) -> None:
    log.info("%s; trying again", error)


@dataclass(frozen=True, slots=True)
class Manner:
    """How a client asks: whom, for how many seconds it tries again, and by which clock. `retried`
    is called before each further try. `longest`: for so many seconds one request waits at most.
    `unique` makes ids for what is given none.
    """

    url: str
    patience: float
    now: Callable[[], float]
    retried: Callable[[RewakeError], None] = _log
    chance: random.Random = field(default_factory=random.Random)
    longest: float = LONGEST_WAIT
    unique: Callable[[], str] = lambda: secrets.token_hex(16)

    def pause(self, tries: int, least: float) -> float:
        """Seconds until the next try; some chance keeps many clients apart."""
        most = min(_FIRST_PAUSE * (1 << min(tries, 10)), _LONGEST_PAUSE)
        return least + most * self.chance.uniform(0.5, 1)


def sending(ask: Ask, manner: Manner, until: float | None = None) -> Flow[Reply]:
    """Send a request, and what may be sent again, again, for as long as the manner has patience.

    `until`: the moment at which its answer is of no more use. Raises `RewakeError`.
    """
    give_up = manner.now() + manner.patience
    if until is not None:
        give_up = min(give_up, until)
    shown = without_tokens(ask.at) or manner.url
    for tries in itertools.count():
        got = yield ask
        try:
            return read(got, shown, secret=bool(ask.at))
        except RewakeError as error:
            again = nothing_was_done(got, error) or (ask.repeatable and transient(got))
            seconds = manner.pause(tries, retry_after(got))
            if not again or manner.now() + seconds > give_up:
                raise
            manner.retried(error)
        yield Pause(seconds)
    raise AssertionError("unreachable")
