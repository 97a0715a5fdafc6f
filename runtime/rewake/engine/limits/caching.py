"""What is cached of tasks: made of what an operation came to, and given to another as its own.

A value is bound to the place where it is stored: signed, and sealed where there is a payload codec.
So it is bound anew for each place that it comes to, without being loaded.
"""

from __future__ import annotations

import logging

from rewake.errors import CheckpointUnreadable, ReadableElsewhere
from rewake.kinds import OutcomeKind, Purpose
from rewake.ledger import Holder, Kept
from rewake.records import Invocation, Millis, Value
from rewake.signing.secret import Secret
from rewake.stores.books import held_by
from rewake.stores.protocol import Store
from rewake.values.codecs import moved
from rewake.values.pickles import Place
from rewake.values.sealing import SEALED

log = logging.getLogger("rewake.engine")


class Caching:
    """Keeps and finds what is cached, as one process can read it."""

    def __init__(self, store: Store, secret: Secret) -> None:
        self._store = store
        self._secret = secret

    async def made(self, id: str, holder: Holder, now: Millis) -> Kept | None:
        """What a holder has come to, to be kept; None if that is nothing, or an error."""
        found = await self._store.operation(holder.run, holder.key)
        outcome = None if found is None or found.round != holder.round else found.outcome
        if outcome is None or outcome.kind is not OutcomeKind.OK or outcome.value is None:
            return None
        if outcome.cached:  # of another, which may be older
            return None
        book = await self._store.limit(id)
        held = None if book is None else held_by(book, holder.run, holder.key)
        if held != holder:
            return None
        try:
            whole = await self._store.resolve(holder.run, outcome.value)
            value = moved(whole, self._secret, _of(holder.run, holder.key), _of(id))
        except CheckpointUnreadable as error:
            log.warning(
                "what %s of run %s came to is not cached: %s", holder.key, holder.run, error
            )
            return None
        return await self._store.cached.put(id, Kept(holder.run, holder.key, now, value))

    async def found(self, id: str, kept: Kept, asked: Invocation) -> Value | None:
        """What is kept, as the result of what is asked for; None if it cannot be read here."""
        whole = await self._store.cached.value(id, kept)
        if whole is None or (self._secret.codec is not None and whole.codec != SEALED):
            return None
        try:
            return moved(whole, self._secret, _of(id), _of(asked.run, asked.key))
        except (CheckpointUnreadable, ReadableElsewhere) as error:
            log.warning("what is cached for %s of run %s: %s", asked.key, asked.run, error)
            return None


def _of(owner: str, key: str = "") -> Place:
    """Where a result is: of an operation of a run, or of what is cached."""
    return Place(owner, key, Purpose.RESULT)
