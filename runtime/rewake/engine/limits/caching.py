"""What is cached of tasks: made of what an operation came to, and given to another as its own.

A value is bound to the place where it is stored: signed, and sealed where there is a payload codec.
So it is bound anew for each place that it comes to.

It is as old as the outcome that it is, however late it is kept. It is given to nobody whose run
could not read it: its class may have changed since, and that run would be stuck.
"""

from __future__ import annotations

import logging

from rewake.app import App
from rewake.authoring.hints import return_hint
from rewake.errors import CheckpointUnreadable, ReadableElsewhere
from rewake.kinds import OutcomeKind, Purpose
from rewake.ledger import Holder, Kept
from rewake.limited import Limited
from rewake.records import Invocation, Millis, Value
from rewake.signing.secret import Secret
from rewake.stores.books import held_by
from rewake.stores.protocol import Store
from rewake.values.codecs import decode, moved
from rewake.values.pickles import Place
from rewake.values.sealing import SEALED

log = logging.getLogger("rewake.engine")


class Caching:
    """Keeps and finds what is cached, as one process can read it."""

    def __init__(self, store: Store, secret: Secret, app: App) -> None:
        self._store = store
        self._secret = secret
        self._app = app

    def is_of(self, asked: Invocation, limit: Limited) -> bool:
        """Whether what would be made here is what was asked for: by the same code.

        A call may come from a process of an earlier deploy, or of a later one.
        """
        task = self._app.tasks.get(asked.name)
        if task is None or not limit.code:
            return True  # it brings its own code, or is put back
        cache = None if task.rules is None else task.rules.cache
        return cache is not None and cache.code == limit.code

    async def made(self, id: str, holder: Holder, now: Millis) -> Kept | None:
        """What a holder has come to, to be kept; None if that is nothing, or an error."""
        found = await self._store.operation(holder.run, holder.key)
        if found is None or found.round != holder.round:
            return None
        outcome = found.outcome
        if outcome is None or outcome.kind is not OutcomeKind.OK or outcome.value is None:
            return None
        if outcome.cached:  # of another, which may be older
            return None
        book = await self._store.limit(id)
        held = None if book is None else held_by(book, holder.run, holder.key)
        at = min(now, found.at or now)
        if book is None or held != holder or at + book.per <= now:
            return None
        try:
            whole = await self._store.resolve(holder.run, outcome.value)
            value = moved(whole, self._secret, _of(holder.run, holder.key), _of(id))
        except CheckpointUnreadable as error:
            log.warning(
                "what %s of run %s came to is not cached: %s", holder.key, holder.run, error
            )
            return None
        return await self._store.cached.put(id, Kept(holder.run, holder.key, at, value))

    async def found(self, id: str, kept: Kept, asked: Invocation) -> Value | None:
        """What is kept, as the result of what is asked for; None if it cannot be read here."""
        whole = await self._store.cached.value(id, kept)
        if whole is None or (self._secret.codec is not None and whole.codec != SEALED):
            return None
        task = self._app.tasks.get(asked.name)
        hint = None if task is None else return_hint(task.function)
        try:
            decode(whole, hint=hint, secret=self._secret, **_of(id)._asdict())
            return moved(whole, self._secret, _of(id), _of(asked.run, asked.key))
        except (CheckpointUnreadable, ReadableElsewhere) as error:
            log.warning("what is cached for %s of run %s: %s", asked.key, asked.run, error)
            return None


def _of(owner: str, key: str = "") -> Place:
    """Where a result is: of an operation of a run, or of what is cached."""
    return Place(owner, key, Purpose.RESULT)
