"""Each history is replayed from nothing as it grows, as another process would do it later."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from rewake.app import App
from rewake.engine.instances.program import new_execution
from rewake.engine.turns.instance import check, inside_of_blocks
from rewake.errors import RewakeError
from rewake.records import Header, Started
from rewake.replay.operation import OpenOp
from rewake.signing.secret import Secret
from rewake.states import TERMINAL
from rewake.stores.reads import Reads

SHORT = 100
"""Up to so many entries a history is replayed after each commit,"""
SHARE = 10
"""and later each time it is such a share longer, and at its end: else it would be quadratic."""


class Replays:
    """Replays runs. `waits`: by run, what it waited for at the last commit."""

    def __init__(self, app: App, secret: Secret, reads: Reads, url: str) -> None:
        self._app = app
        self._secret = secret
        self._reads = reads
        self._url = url
        self._next: dict[str, int] = {}
        self.waits: dict[str, Mapping[str, OpenOp]] = {}

    async def check(self, header: Header) -> bool:
        """Replay a run that was just written, if it is time to. Returns whether it was.

        Raises the error by which it would be stuck, such as `NonDeterminismError`.
        """
        run, count = header.run, header.count
        is_over, until = header.state in TERMINAL, count // SHARE
        if not is_over and count < self._next.get(run, 0) <= count + until:
            return False
        self._next[run] = count + until if count > SHORT else 0
        history = await self._reads.history(header, inside_of_blocks)
        if isinstance(history.entries[-1], Started):
            return False  # nothing was asked for yet
        execution = new_execution(self._app, header, self._secret, self._url)
        try:
            execution.replay(history.entries, history.outcomes())
            check(execution)
        except RewakeError as error:
            told = f"run {run} of {header.workflow}, replayed from nothing after its commit"
            error.add_note(f"{told} of {count} entries: its body has to do the same each time")
            raise
        else:
            self.waits[run] = {} if is_over else dict(execution.open)
            return True
        finally:
            with suppress(Exception):
                execution.drop()
