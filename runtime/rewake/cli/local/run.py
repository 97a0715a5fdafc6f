"""`rewake run`: a run from its start to its end, in this process, on the embedded store."""

from __future__ import annotations

import asyncio
import logging
import secrets
import shlex
import signal
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TextIO

import msgspec

from rewake import forks
from rewake.app import App, load_app
from rewake.cli.exits import STATES, Exit, tell
from rewake.cli.home import given_secret, make_secret
from rewake.cli.lines import duration
from rewake.cli.local.ask import Asker
from rewake.cli.local.progress import Progress, progress
from rewake.cli.local.snapshot import operations_of
from rewake.cli.output import pure_stdout, tell_failure, write_json
from rewake.clock import SystemClock
from rewake.dispatchers.in_process import InProcessDispatcher
from rewake.engine.engine import Engine
from rewake.engine.outside.approvals import approvals_of, open_approvals
from rewake.engine.settings import Settings
from rewake.engine.starts.starting import check_id
from rewake.engine.turns.commits import FAILED_LOG
from rewake.engine.turns.turn import STUCK_LOG
from rewake.errors import AppError, RunConflict, RunNotFound, StuckError
from rewake.hosts.config import ServerConfig
from rewake.hosts.databases import Address, Database, open_database, open_existing
from rewake.records import Header, Millis, Scheduled
from rewake.signing.secret import Secret
from rewake.states import TERMINAL, RunState
from rewake.tags import EVERY
from rewake.values.sealing import for_people
from rewake.views.approvals import approval_view
from rewake.views.runs import ErrorView, result_view
from rewake.views.values import Values

TICK = 0.1
SLOWEST_TICK = 2.0
SHARE = 10
"""After the run is shown, the wait is at least so many times what showing it took."""
GRACE = 1.0
"""Seconds that tasks get to end when the command is interrupted."""
_LOOK = 5.0
"""Seconds between two looks whether somebody has paused the run."""
_WITH_PEOPLE = (RunState.STUCK, RunState.PAUSED)
"""States in which a run waits for somebody to let it go on."""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """The options of the command. Without `arguments`, an existing run goes on with its own."""

    source: str
    db: Address
    arguments: dict[str, Any] | None = None
    run: str | None = None
    resume: bool = False
    discard_cleanup: bool = False
    quiet: bool = False


def run(options: RunOptions) -> Exit:
    """Carry out the command. Raises `RewakeError` for wrong options."""
    if options.run is not None:
        check_id(options.run)
    with pure_stdout() as out:
        app, name = load_app(options.source)
        workflow = name or _only_workflow(app, options.source)
        if options.arguments is not None or options.run is None:
            app.workflow(workflow).arguments(options.arguments or {})
        given = given_secret()
        # Before a secret is made: it may be another program's.
        database = (open_existing if options.resume else open_database)(options.db)
        secret = given or make_secret()
        return asyncio.run(_Session(app, workflow, database, secret, options, out).run())


def _only_workflow(app: App, source: str) -> str:
    names = sorted(app.workflows)
    if len(names) > 1:
        raise AppError(f"{source} has several workflows; say which: {source}:{names[0]}")
    return names[0]


class _Session:
    """One call of the command."""

    def __init__(
        self,
        app: App,
        workflow: str,
        database: Database,
        secret: Secret,
        options: RunOptions,
        out: TextIO,
    ) -> None:
        self._clock = SystemClock()
        self._workflow = workflow
        self._secret = secret
        self._options = options
        self._out = out
        self._run = options.run or f"{self._clock.now():012x}{secrets.token_hex(8)}"
        dispatcher = InProcessDispatcher(self._clock)
        config = ServerConfig.from_env()
        self._engine = Engine(
            app,
            database.table,
            dispatcher,
            secret,
            shelf=database.shelf,
            clock=self._clock,
            settings=Settings(
                blocked=round(config.blocked * 1000),
                url=config.url,
                keep=config.keep,
                served=EVERY,
            ),
        )
        self._interrupted = asyncio.Event()
        self._seen = b""
        self._below = _Below(self._engine, self._run)

    async def run(self) -> Exit:
        """Begin or continue the run, follow it, and end."""
        began = self._clock.now()
        self._loop = asyncio.get_running_loop()
        engine = self._engine
        _on_signals(self._interrupt)
        for name in (STUCK_LOG, FAILED_LOG):
            logging.getLogger(name).disabled = True  # `_end` says it, with what to do
        if self._options.quiet:
            logging.getLogger("rewake").setLevel(logging.ERROR)
        engine.open(only=self._run)  # no other run in the database is touched
        try:
            await self._begin()
            await self._follow()
            header = await engine.get(self._run)
            if header.state not in TERMINAL and header.state not in _WITH_PEOPLE:
                return self._say_interrupted()
            return await self._end(header, self._clock.now() - began)
        finally:
            await engine.close(GRACE)

    def _interrupt(self) -> None:
        """End in order. For a signal handler, which Python runs in a blocked event loop too."""
        self._engine.told_to_end(GRACE, Exit.INTERRUPTED)
        self._loop.call_soon_threadsafe(self._interrupted.set)

    async def _begin(self) -> None:
        engine, options = self._engine, self._options
        try:
            header = await engine.get(self._run)
            await engine.family(self._run)
        except RunNotFound:
            if options.resume:
                raise
            await engine.start(self._workflow, options.arguments or {}, run=self._run)
            return self._say(f"run {self._run}")
        if header.workflow != self._workflow:
            raise RunConflict(f"run {self._run!r} is one of the workflow {header.workflow!r}")
        if options.arguments is not None:
            await engine.start(self._workflow, options.arguments, run=self._run)
        if header.state in _WITH_PEOPLE and options.resume:
            await engine.resume(self._run)
        if header.state is RunState.FAILED and options.resume:
            await engine.retry(self._run, discard_cleanup=options.discard_cleanup)
        return self._say(f"run {self._run} goes on")

    # --- while it runs ---------------------------------------------------------------------

    async def _follow(self) -> None:
        """Show the run, and ask for its approvals, until it ends or is interrupted."""
        display = progress(self._clock.now, quiet=self._options.quiet)
        asker = Asker(self._engine, self._run, display, self._approve_command)
        ended = asyncio.ensure_future(self._ended())
        stopped = asyncio.ensure_future(self._interrupted.wait())
        tick = TICK
        try:
            while not ended.done() and not stopped.done():
                before = self._clock.now()
                news = await self._show(display, asker)
                spent = (self._clock.now() - before) / 1000
                tick = max(TICK if news else min(tick * 1.5, SLOWEST_TICK), spent * SHARE)
                await asyncio.wait(
                    {ended, stopped}, timeout=tick, return_when=asyncio.FIRST_COMPLETED
                )
            await self._show(display, asker)
        finally:
            ended.cancel()
            stopped.cancel()
            asker.close()
            display.close()

    async def _ended(self) -> None:
        with suppress(StuckError):
            while (await self._engine.get(self._run)).state is not RunState.PAUSED:
                if await self._engine.result(self._run, _LOOK) is not None:
                    return

    async def _show(self, display: Progress, asker: Asker) -> bool:
        """Show how the run stands; whether anything is new."""
        header, history = await self._engine.history(self._run)
        steps = list(self._engine.running_steps(self._run))
        operations = operations_of(history, steps, self._clock.now())
        display.show(operations)
        waiting = {} if header.state in TERMINAL else open_approvals(history)
        whole = self._engine.services.store.whole
        asked = {self._run: [await whole(self._run, each) for each in waiting.values()]}
        if header.state not in TERMINAL:
            asked |= await self._below.approvals()
        asker.update(
            {
                (run, each.key): approval_view(each, Values(self._secret, run, said=True))
                for run, approvals in asked.items()
                for each in approvals
            }
        )
        before, self._seen = self._seen, msgspec.json.encode([header, steps, operations])
        return before != self._seen

    # --- how it ends -----------------------------------------------------------------------

    async def _end(self, header: Header, took: Millis) -> Exit:
        self._say(f"{header.state} in {duration(took)}")
        if header.state is RunState.STUCK:
            tell(f"the run is stuck: {for_people(header.error)}")
            tell(f"after a fix, go on with: {self._command('--resume')}")
            return Exit.STUCK
        if header.state is RunState.PAUSED:
            tell(f"the run is paused; go on with: {self._command('--resume')}")
            return Exit.PENDING
        try:
            outcome = await self._engine.result(self._run)
        except StuckError as error:
            tell(f"the run has ended, and its result cannot be read: {error}")
            return Exit.UNAVAILABLE
        assert outcome is not None
        view = result_view(outcome, Values(self._secret, self._run, said=True))
        if isinstance(view.error, ErrorView):
            tell_failure(view.state, msgspec.to_builtins(view.error))
            if header.state is RunState.FAILED:
                self._say(f"after a fix, go on with: {self._command('--resume')}")
        else:
            write_json(view.result, self._out)
        await self._tell_of_the_rest()
        return STATES[view.state]

    async def _tell_of_the_rest(self) -> None:
        """Name the runs that it has started and left to themselves, if they go on."""
        for each in await self._engine.family(self._run):
            if each.state not in TERMINAL:
                told = f"run {each.run} of {each.workflow} has not ended; it goes on with"
                self._say(f"{told}: {self._command(of=each)}")

    def _say_interrupted(self) -> Exit:
        tell(f"interrupted; the run is kept. Go on with: {self._command()}")
        return Exit.INTERRUPTED

    def _say(self, message: str) -> None:
        if not self._options.quiet:
            tell(message)

    def _command(self, *more: str, of: Header | None = None) -> str:
        workflow, run = (of.workflow, of.run) if of else (self._workflow, self._run)
        source = f"{self._options.source.removesuffix(':' + self._workflow)}:{workflow}"
        return shlex.join(["rewake", "run", source, "--id", run, *self._db(), *more])

    def _approve_command(self, run: str, key: str) -> str:
        return shlex.join(["rewake", "runs", "approve", run, key, *self._db()])

    def _db(self) -> list[str]:
        """The option that names the database; one with a password is left to the environment."""
        address = self._options.db
        return ["--db", address.db] if str(address) == address.db else []


class _Below:
    """The runs below the one that is carried, which this process carries with it."""

    def __init__(self, engine: Engine, run: str) -> None:
        self._engine = engine
        self._over = {run}

    async def approvals(self) -> dict[str, list[Scheduled]]:
        """The approvals for which they wait, by run. One that has ended is looked at no more."""
        services, found = self._engine.services, dict[str, list[Scheduled]]()
        for run in sorted((services.family or set()) - self._over):
            header = await services.store.find(run)
            if header is None:
                continue
            if header.state in TERMINAL:
                self._over.add(run)
            elif header.asks:
                with suppress(StuckError):  # of one that cannot be read nobody is asked
                    found[run] = await approvals_of(self._engine, header)
        return found


def _on_signals(callback: Callable[[], None]) -> None:
    """Call `callback` at the first signal; a second of its kind ends the process."""

    def first(number: int, _: object) -> None:
        signal.signal(number, _DEFAULTS[number])
        callback()

    forks.withhold_signals(*_DEFAULTS)
    for each in _DEFAULTS:
        signal.signal(each, first)


_DEFAULTS: Mapping[int, Any] = {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGTERM: signal.SIG_DFL,
}
