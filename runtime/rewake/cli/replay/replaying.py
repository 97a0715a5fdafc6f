"""One run, read from a database and fed to the code of today, without touching it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from rewake.app import App
from rewake.cli.exits import Exit, complain
from rewake.cli.replay.narrator import Narrator
from rewake.cli.replay.tracer import Difference, Tracer
from rewake.engine.instances.program import RunProgram
from rewake.engine.logs.logs import capture
from rewake.errors import NonDeterminismError
from rewake.hosts.databases import Address, Reader, open_to_read
from rewake.records import Header
from rewake.signing.secret import Secret
from rewake.stores.history import History
from rewake.stores.reads import Reads
from rewake.stores.sealing import behind_codec
from rewake.values.sealing import for_people
from rewake.views.runs import STATES
from rewake.views.values import Values


@contextmanager
def silenced() -> Iterator[None]:
    """Keep what the body of a workflow logs and prints from the terminal."""
    capture.open()
    try:
        yield
    finally:
        capture.close()


def read_run(db: Address, secret: Secret, run: str) -> tuple[Header, History]:
    """A run as it stands, read without changing a byte, and again if it changed meanwhile."""
    while True:
        reader = open_to_read(db)
        found = asyncio.run(_read(reader, secret, run))
        if not reader.torn():
            return found


async def _read(reader: Reader, secret: Secret, run: str) -> tuple[Header, History]:
    reads = Reads(behind_codec(reader.table, secret.codec), reader.shelf)
    try:
        header = await reads.header(run)
        return header, await reads.history(header)
    finally:
        await reads.close()


class Replay:
    """One run, to be replayed as often as one likes."""

    def __init__(
        self, app: App, secret: Secret, header: Header, history: History, *, logs: bool = False
    ) -> None:
        self._header = header
        self._logs = logs
        self._history = history
        self._values = Values(secret, header.run)
        self._program = RunProgram(app, header, secret)
        self._code = app.workflow(header.workflow).function.__code__

    def run(self, *, shown: bool) -> Tracer:
        """Replay the run; if `shown`, with a line for each entry."""
        tracer = self._tracer()
        if shown:
            self._show_title()
            Narrator(tracer, self._history)
        self._feed(tracer)
        return tracer

    def debug(self, found: Tracer) -> None:
        """Replay in a debugger, which stops at the body's first line, and at the difference."""
        from rewake.cli.replay.debugger import (
            Debugger,  # only with --pdb: it takes a while to import
        )

        debugger = Debugger()
        difference = found.difference

        def on_ask(key: str) -> None:
            if difference is not None and key == difference.key and not debugger.is_over:
                show_difference(difference)
                debugger.stop_here_and_now()

        tracer = self._tracer()
        tracer.speaks = True
        tracer.on_ask = on_ask
        self._show_title()
        Narrator(tracer, self._history, lambda: not debugger.is_over)
        debugger.run_until(self._code, partial(self._feed, tracer))

    def report(self, tracer: Tracer) -> Exit:
        """Say how a replay went."""
        if tracer.difference is not None:
            show_difference(tracer.difference)
            return Exit.DIFFERS
        if tracer.error is not None:
            complain(tracer.error)
            return Exit.DIFFERS if isinstance(tracer.error, NonDeterminismError) else Exit.STUCK
        print(f"same: the code does what the history says ({tracer.events} events)")
        if tracer.waits_for:
            print(f"it waits for: {', '.join(tracer.waits_for)}")
        if self._header.error:
            print(f"the run is stuck: {for_people(self._header.error)}")
        return Exit.DONE

    def _tracer(self) -> Tracer:
        header = self._header
        tracer = Tracer(self._program, self._values, run=header.run, seed=header.seed)
        tracer.speaks = self._logs
        return tracer

    def _feed(self, tracer: Tracer) -> None:
        with silenced():
            tracer.replay(self._history.entries, self._history.outcomes())
            tracer.waits_for = list(tracer.open)
            tracer.drop()

    def _show_title(self) -> None:
        header, count = self._header, len(self._history.entries)
        print(f"run {header.run} of {header.workflow}: {STATES[header.state]}, {count} entries")


def show_difference(difference: Difference) -> None:
    """Print what differs at which key."""
    print(f"the code differs from the history at {difference.key}")
    print(f"  recorded  {difference.recorded}")
    print(f"  asked     {difference.asked}")
    if difference.recorded == difference.asked:  # too long to be shown, or without a text
        print(f"  told as   {difference.told}")
