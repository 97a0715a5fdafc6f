"""An engine in virtual time: hours pass in milliseconds, and every test runs alike each time."""

from __future__ import annotations

import asyncio
import itertools
import random
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rewake.app import App
from rewake.authoring.hints import return_hint
from rewake.clock import Clock
from rewake.dispatchers.dispatcher import Dispatcher, Handler
from rewake.dispatchers.in_process import InProcessDispatcher
from rewake.engine.engine import Engine
from rewake.engine.logs.logs import capture
from rewake.engine.settings import Settings
from rewake.kinds import OutcomeKind, Purpose
from rewake.records import Header, Invocation, Millis, Outcome
from rewake.signing.secret import Secret
from rewake.stores.memory import MemoryTable
from rewake.stores.sqlite.table import SqliteTable
from rewake.tags import Served
from rewake.testing.clock import VirtualClock
from rewake.testing.loop import VirtualLoop
from rewake.values.run_codec import RunCodec
from tests.support.stores import WholeTable

SECRET = Secret("a secret of the virtual world")
TABLES = ("memory", "sqlite")
Carrier = Callable[[Clock], Dispatcher]


class Bench:
    """What a test is given: an engine that is open, and its time. `engines` makes more of them."""

    def __init__(
        self,
        loop: VirtualLoop,
        app: App,
        table: WholeTable,
        settings: Settings,
        secret: Secret = SECRET,
        carrier: Carrier = InProcessDispatcher,
    ) -> None:
        self.loop = loop
        self.secret = secret
        self.table = table
        self._app = app
        self._settings = settings
        self._carrier = carrier
        self.made: list[Engine] = []
        self.takers: Iterator[Engine] = iter(())
        self.engine = self.another()

    @property
    def seconds(self) -> float:
        """How much time has passed."""
        return self.loop.seconds

    def another(self, secret: Secret | None = None, served: Served | None = None) -> Engine:
        """One more engine on the same table: another process, of the name `p` and its number."""
        clock = VirtualClock(self.loop)
        number, settings = len(self.made), self._settings
        if served is not None:
            settings = replace(settings, served=served, where=f"p{number}")
        count = itertools.count()
        engine = Engine(
            self._app,
            self.table,
            self._carrier(clock),
            secret or self.secret,
            clock=clock,
            settings=settings,
            unique=lambda: f"{number:04x}{next(count):08x}",
            chance=random.Random(number),
            threads=False,
        )
        self.made.append(engine)
        return engine

    def share_messages(self, number: int) -> list[Engine]:
        """Let so many processes, this one among them, take all messages in turn (`takers`)."""
        others = [self.another() for _ in range(number - 1)]
        engines = [self.engine, *others]
        self.takers = itertools.cycle(engines)
        for engine in engines:
            engine.services.dispatcher = _Network(self, engine.services.clock)
        for engine in others:
            engine.open()
        return engines

    def lose_first_messages(self) -> list[Invocation]:
        """Let the first messages for tasks get lost; the list is filled with them.

        The tasks are then not claimed with the commit that asks for them.
        """
        dispatcher: Any = self.engine.services.dispatcher
        dispatch, lost = dispatcher.dispatch, list[Invocation]()

        async def forgetful(invocations: Sequence[Invocation]) -> None:
            kept = [each for each in invocations if not each.key or lost]
            lost.extend(each for each in invocations if each not in kept)
            await dispatch(kept)

        dispatcher.dispatch = forgetful
        dispatcher.local = False
        return lost

    async def run(self, workflow: str, /, wait: float = 10**6, **arguments: Any) -> Any:
        """The result of a run of this workflow. Raises `Ended` if it did not succeed."""
        header = await self.start(workflow, **arguments)
        return await self.result(header.run, wait)

    async def start(self, workflow: str, /, **arguments: Any) -> Header:
        """A run, just started."""
        header, _ = await self.engine.start(workflow, arguments)
        return header

    async def result(self, run: str, wait: float = 10**6) -> Any:
        """What a run returned. Raises `Ended` if it did not succeed."""
        outcome = await self.engine.result(run, wait)
        assert outcome is not None, "the run did not end"
        if outcome.kind is not OutcomeKind.OK or outcome.value is None:
            raise Ended(outcome)
        header = await self.engine.get(run)
        hint = return_hint(self._app.workflow(header.workflow).function)
        return RunCodec(self.secret, run).decode(
            outcome.value, key="", purpose=Purpose.OUTPUT, hint=hint
        )


class _Network:
    """A dispatcher whose messages go to one process after another."""

    local = False
    reach: Millis = 0
    dead_letters = None

    def __init__(self, bench: Bench, clock: Clock) -> None:
        self._bench = bench
        self._clock = clock
        self._work: list[asyncio.Task[None]] = []

    def open(self, handler: Handler) -> None:
        """The network knows everybody."""

    async def dispatch(self, invocations: Sequence[Invocation]) -> None:
        now, loop = self._clock.now(), asyncio.get_running_loop()
        for each in invocations:
            wait = 0 if each.not_before is None else max(0, each.not_before - now)
            loop.call_later(wait / 1000 + 0.001, self._hand, each)

    def _hand(self, invocation: Invocation) -> None:
        self._work.append(asyncio.ensure_future(next(self._bench.takers).handle(invocation)))

    async def is_behind(self) -> bool:
        """Whatever is sent arrives."""
        return False

    async def flush(self) -> None:
        """What was dispatched is on its way."""

    async def close(self) -> None:
        """Nothing is kept here."""


def die(engine: Engine) -> None:
    """Let no call of this process come through any more."""
    store: Any = engine.services.store
    store._table = store.streams._table = _Nowhere()


class _Nowhere:
    """A table that never answers."""

    def __getattr__(self, _: str) -> Any:
        async def for_ever(*_: Any, **__: Any) -> None:
            await asyncio.Event().wait()

        return for_ever


class Ended(Exception):
    """A run that ended otherwise than with a result."""

    def __init__(self, outcome: Outcome) -> None:
        failure = outcome.failure
        super().__init__(f"{outcome.kind}: {failure.type if failure else ''}")
        self.kind = outcome.kind
        self.failure = failure


def virtually(
    members: Sequence[object],
    body: Callable[[Bench], Awaitable[None]],
    *,
    table: str | WholeTable = "memory",
    secret: Secret = SECRET,
    carrier: Carrier = InProcessDispatcher,
    sweeps: bool = True,
    **settings: Any,
) -> None:
    """Run `body` with an engine that serves these workflows and tasks.

    `carrier` makes the dispatcher of each process.
    """
    app = App()
    for member in members:
        app.add(member)
    loop = VirtualLoop()
    with tempfile.TemporaryDirectory() as folder:
        base: WholeTable = (
            table
            if not isinstance(table, str)
            else MemoryTable()
            if table == "memory"
            else SqliteTable(Path(folder) / "a.db", threaded=False, durable=False)
        )
        bench = Bench(loop, app, base, Settings(**settings), secret, carrier)

        async def main() -> None:
            bench.engine.open(sweep=sweeps)
            try:
                await body(bench)
                await bench.engine.close()
            finally:
                for engine in bench.made:
                    engine.services.cache.clear()
                    if engine.services.home is not None:  # it died
                        capture.close()

        try:
            loop.run_until_complete(main())
            assert not loop.errors, loop.errors
        finally:
            loop.close()
