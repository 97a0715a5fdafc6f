"""`rewake replay`: a run's history, fed to the code of today, without touching the run.

The database is opened for reading only, no engine is made, and the replay core carries nothing
out: nothing is written, dispatched, or run but the body of the workflow.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial

from rewake.app import App, load_app
from rewake.cli.exits import Exit, complain, tell
from rewake.cli.home import find_secret
from rewake.cli.replay.narrator import Narrator
from rewake.cli.replay.tracer import Difference, Tracer
from rewake.engine.program import RUNTIME, RunProgram
from rewake.errors import NonDeterminismError
from rewake.hosts.building import open_to_read
from rewake.records import Header
from rewake.signing.secret import Secret
from rewake.stores.history import History
from rewake.stores.reads import Reads
from rewake.stores.sqlite.reader import SqliteReader
from rewake.values.pickles import PYTHON
from rewake.views.values import Values


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """The options of the command."""

    run: str
    app: str
    db: str
    debug: bool = False


def replay(options: ReplayOptions) -> Exit:
    """Carry out the command. Raises `RewakeError` for wrong options."""
    secret = find_secret()
    header, history = read_run(options.db, options.run)
    app, _ = load_app(options.app)
    if header.python != PYTHON:
        tell(f"note: the run is of Python {header.python}, this is {PYTHON}; its keys may differ")
    if header.runtime > RUNTIME:
        tell("note: the run is one of a newer Rewake; what that does differently is not known here")
    replaying = Replay(app, secret, header, history)
    if not options.debug:
        return replaying.report(replaying.run(shown=True))
    tracer = replaying.run(shown=False)
    replaying.debug(tracer)
    return replaying.report(tracer)


def read_run(db: str, run: str) -> tuple[Header, History]:
    """A run as it stands, read without changing a byte, and again if it changed meanwhile."""
    while True:
        reader = open_to_read(db)
        found = asyncio.run(_read(reader, run))
        if not reader.has_changed():
            return found


async def _read(reader: SqliteReader, run: str) -> tuple[Header, History]:
    reads = Reads(reader, reader)
    try:
        header = await reads.header(run)
        return header, await reads.history(header)
    finally:
        await reads.close()


class Replay:
    """One run, to be replayed as often as one likes."""

    def __init__(self, app: App, secret: Secret, header: Header, history: History) -> None:
        self._header = header
        self._history = history
        self._values = Values(secret, header.run)
        self._program = RunProgram(app, header.workflow, header.run, secret)
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
            print(f"the run is stuck: {self._header.error}")
        return Exit.DONE

    def _tracer(self) -> Tracer:
        header = self._header
        return Tracer(self._program, self._values, run=header.run, seed=header.seed)

    def _feed(self, tracer: Tracer) -> None:
        tracer.replay(self._history.entries, self._history.outcomes())
        tracer.waits_for = list(tracer.open)
        tracer.drop()

    def _show_title(self) -> None:
        header, count = self._header, len(self._history.entries)
        print(f"run {header.run} of {header.workflow}: {header.state}, {count} entries")


def show_difference(difference: Difference) -> None:
    """Print what differs at which key."""
    print(f"the code differs from the history at {difference.key}")
    print(f"  recorded  {difference.recorded}")
    print(f"  asked     {difference.asked}")
