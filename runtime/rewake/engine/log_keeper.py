"""Stores what attempts say: each second what is new, and at the end of each what is left.

An attempt that says nothing costs no write, one that is over in a second those of its end.
"""

from __future__ import annotations

import asyncio
import logging

from rewake.authoring.context import TaskContext
from rewake.engine.logs import AttemptLog
from rewake.records import LogBatch
from rewake.stores.protocol import Store

log = logging.getLogger("rewake.engine")

FLUSH = 1.0
"""Seconds after which what an attempt has said is stored, should its process die."""


class LogKeeper:
    """Keeps the logs of the attempts that this process carries out; one timer serves all."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._open: dict[AttemptLog, TaskContext] = {}
        self._flushes: dict[AttemptLog, asyncio.Task[None]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, context: TaskContext, logs: AttemptLog) -> None:
        """Store what this attempt says, from now on."""
        self._open[logs] = context
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH, self._flush)

    async def end(self, context: TaskContext, logs: AttemptLog) -> None:
        """Store what is left of the log at the end of an attempt. None fails for its log."""
        self._open.pop(logs, None)
        flush = self._flushes.pop(logs, None)
        try:
            if flush is not None and not flush.done():
                await asyncio.wait({flush})
        finally:
            logs.take(over=True)
            if logs.pending:
                await self._keep(context, logs)

    def _flush(self) -> None:
        self._timer = None
        for logs, context in self._open.items():
            flush = self._flushes.get(logs)
            if flush is None or flush.done():
                logs.take(over=False)
                if logs.pending:
                    self._flushes[logs] = asyncio.ensure_future(self._keep(context, logs))
        if self._open:
            self._timer = asyncio.get_running_loop().call_later(FLUSH, self._flush)

    async def _keep(self, context: TaskContext, logs: AttemptLog) -> None:
        try:
            while logs.pending:
                batch = LogBatch(context.run, context.key, context.attempt, logs.pending[0])
                await self._store.log(batch, logs.parts)
                logs.parts += 1
                del logs.pending[0]
        except Exception:
            log.warning("what %s logged could not be kept", context.key, exc_info=True)
