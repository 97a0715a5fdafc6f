"""The links of a wait: the facts that are recorded with it, and the link that they make.

A link depends on what may differ between two processes, or between now and a replay: the key that
signs, the address under which links live, when it expires. So these are facts. They are recorded in
the value that a wait is asked with, and on replay the recorded ones win: rotating the secret,
another `REWAKE_URL` or another host change no link that a workflow has seen or handed on.

The link itself is stored nowhere. It is derived from the facts with the key that they name, which
must therefore stay in `REWAKE_SECRET` while such links are open. Who reads a link where that key,
or an address for a new link, is not known waits for a process that knows it.
"""

from __future__ import annotations

from random import Random
from typing import NoReturn

import msgspec

from rewake.errors import ReadableElsewhere, StuckError
from rewake.records import Millis
from rewake.replay.execution import Execution
from rewake.signing.links import Link, LinkUse

_NONCE_BITS = 96
_NO_ADDRESS = "it reads a link, and REWAKE_URL is not set, under which links live"


class LinkFacts(msgspec.Struct, frozen=True, array_like=True):
    """What is recorded of the links of one wait.

    `base`: the address under which they live; empty: it was not known. `round`: that in which the
    wait was asked for, which it keeps if a retry of the run opens it again. `expires`: until when
    the links are good, beside the wait's own deadline.
    """

    signer: str
    base: str
    nonce: str
    round: int
    expires: Millis | None = None


def new_facts(execution: Execution, key: str, expires: Millis | None = None) -> LinkFacts:
    """The facts of the links of a wait that is asked for now, at this key."""
    links = execution.links
    # Of the run's seed, and from no stream: what else the body draws has no part in it.
    chance = Random(f"{execution.seed}/links/{execution.round}/{key}")
    return LinkFacts(links.signer, links.base, nonce_of(chance), execution.round, expires)


def nonce_of(chance: Random) -> str:
    """A nonce for one link."""
    return f"{chance.getrandbits(_NONCE_BITS):0{_NONCE_BITS // 4}x}"


def link_of(
    facts: LinkFacts, use: LinkUse, run: str, key: str, *, holder: str = "", action: str = ""
) -> Link:
    """The link that these facts make of a wait."""
    return Link(
        use, run, key, facts.round, holder, action, facts.expires, facts.nonce, facts.signer
    )


def check_address(execution: Execution, facts: LinkFacts) -> None:
    """Let the run wait for a process that knows an address for its links, if it needs one.

    Raises `ReadableElsewhere`, with which the body goes no further. What a replay asks for beyond
    its history needs none: it is a difference, and is told as one.
    """
    if not facts.base and not execution.replaying:
        _wait(execution, ReadableElsewhere(_NO_ADDRESS, reason=_NO_ADDRESS))


def url_of(execution: Execution, facts: LinkFacts, link: Link) -> str:
    """The link as an address, for the body. Raises `ReadableElsewhere` as `check_address` does."""
    check_address(execution, facts)
    try:
        return execution.links.url(facts.base, link)
    except ReadableElsewhere as error:
        _wait(execution, error)


def _wait(execution: Execution, error: StuckError) -> NoReturn:
    """Halt the body: an `except` around the reading must not take the error for its own."""
    execution.halt(error)
    raise error
