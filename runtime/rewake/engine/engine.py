"""The engine: what the faces (HTTP, CLI, tests) call, and what messages are handed to.

It knows three small protocols and nothing behind them: the store, a dispatcher, a clock.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from rewake.app import App
from rewake.authoring.approval import APPROVAL, Approval
from rewake.dispatchers.dispatcher import Dispatcher
from rewake.engine.attempts import Attempts
from rewake.engine.cache import Cache
from rewake.engine.claims import Claims
from rewake.engine.clock import Clock, SystemClock
from rewake.engine.codec import RunCodec
from rewake.engine.heart import Heart
from rewake.engine.logs import capture
from rewake.engine.program import INPUT, RUNTIME
from rewake.engine.services import Services
from rewake.engine.settings import Settings
from rewake.engine.slots import Slots
from rewake.engine.starting import (
    IfFinished,
    IfRunning,
    Name,
    begin_or_find,
    name_of_id,
    name_of_key,
    policy_of,
)
from rewake.engine.sweeper import Sweeper
from rewake.engine.turn import Turn
from rewake.errors import InvalidInput, RewakeError, RunConflict, RunNotFound, StuckError
from rewake.records import (
    TERMINAL,
    Finished,
    Header,
    Invocation,
    Kind,
    LogBatch,
    Operation,
    Outcome,
    OutcomeKind,
    RunState,
    Scheduled,
    Started,
)
from rewake.secret import Secret
from rewake.stores.protocol import Store
from rewake.stores.results import History
from rewake.stores.table import Due, Table
from rewake.values import PYTHON, digest

log = logging.getLogger("rewake.engine")

LONGEST_REASON = 200
"""Bytes of a reason to cancel as it is kept: JSON in UTF-8, without its quotation marks."""
POLL = 250
"""Milliseconds between looks at a run that ends in another process."""


class Engine:
    """One process's share of the work on a store.

    `open` begins to sweep and to take messages, `close` hands everything over. All methods are
    for one event loop.
    """

    def __init__(
        self,
        app: App,
        table: Table,
        dispatcher: Dispatcher,
        secret: Secret,
        *,
        clock: Clock | None = None,
        settings: Settings | None = None,
        token: Callable[[], str] | None = None,
        chance: random.Random | None = None,
        threads: bool = True,
    ) -> None:
        self.app = app
        self.settings = settings or Settings()
        clock = clock or SystemClock()
        token = token or tokens()
        workers = self.settings.tasks if threads else 1
        pool = ThreadPoolExecutor(workers, thread_name_prefix="rewake-task")
        store = Store(table, token=token, margin=self.settings.skew)
        self._services = Services(
            app=app,
            store=store,
            dispatcher=dispatcher,
            clock=clock,
            secret=secret,
            settings=self.settings,
            claims=Claims(store, clock, self.settings),
            heart=Heart(clock, self.settings.lease, threaded=threads),
            cache=Cache(self.settings.cached),
            token=token,
            chance=chance or random.Random(),
            threads=pool,
            slots=Slots(self.settings.tasks),
            begin=self._begin,
            look=self._look,
        )
        self._pool = pool
        self._store = store
        self._attempts = Attempts(self._services, self._carry_on)
        self._sweeper = Sweeper(self._services, self._attempts)
        self._turns: set[asyncio.Task[None]] = set()
        self._working: set[asyncio.Task[Any]] = set()
        self._sweeping: asyncio.Task[None] | None = None
        self._closing = False

    # --- life ------------------------------------------------------------------------------

    def open(self, *, sweep: bool = True) -> None:
        """Take messages and, with `sweep`, look for what is due."""
        self._services.home = asyncio.get_running_loop()
        capture.open()
        self._services.heart.open()
        self._services.dispatcher.open(self.handle)
        if sweep:
            self._sweeping = asyncio.ensure_future(self._sweeper.run())

    async def close(self, grace: float = 5.0) -> None:
        """Stop taking work; give what runs `grace` seconds to end, then hand it over."""
        self._closing = True
        if self._sweeping is not None:
            self._sweeping.cancel()
        self._sweeper.close()
        if self._working:
            await asyncio.wait(self._working, timeout=grace)
        for task in list(self._working):
            task.cancel()
        if self._working:
            await asyncio.wait(self._working)
        await self._services.dispatcher.close()
        await self._services.heart.close()
        self._services.cache.clear()
        if self._services.home is not None:
            capture.close()
            self._services.home = None
        self._pool.shutdown(wait=False, cancel_futures=True)
        await self._store.close()

    async def handle(self, invocation: Invocation) -> None:
        """Act on one message. The stored state decides what, if anything, there is to do."""
        if self._closing:
            return
        if invocation.key:
            await self._work(invocation.run, self._attempts.handle(invocation))
        else:
            await self._work(invocation.run, self._take_run(invocation.run))

    async def _work(self, run: str, work: Awaitable[None]) -> None:
        """Await `work`, among what `close` waits for. What fails is covered by a due time."""
        with self._at_work():
            try:
                await work
            except asyncio.CancelledError:
                if not self._closing:
                    raise
            except RewakeError:
                log.warning("an invocation of run %s failed; it is retried", run, exc_info=True)

    async def sweep(self) -> None:
        """Look once at everything that is due."""
        await self._sweeper.sweep()

    async def _take_run(self, run: str) -> None:
        header = await self._services.claims.run(run, self._services.token())
        if header is not None:
            await Turn(self._services, header).run()

    def _look(self, due: Due) -> None:
        self._sweeper.arm(due)

    def _begin(self, invocation: Invocation, operation: Operation) -> None:
        self._background(invocation.run, self._attempts.carry_out(invocation, operation))

    async def _carry_on(self, header: Header, operation: Operation) -> None:
        await Turn(self._services, header).run(operation)

    def _at_work(self) -> _AtWork:
        return _AtWork(self._working)

    def _background(self, run: str, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(self._work(run, work))
        self._turns.add(task)
        task.add_done_callback(self._turns.discard)

    # --- runs ------------------------------------------------------------------------------

    async def start(
        self,
        workflow: str,
        arguments: Mapping[str, Any],
        *,
        run: str | None = None,
        idempotency_key: str | None = None,
        if_running: IfRunning | None = None,
        if_finished: IfFinished | None = None,
    ) -> tuple[Header, bool]:
        """Start a run; its header, and whether it is new.

        With a caller's `run` id or `idempotency_key`, starting again attaches to the run that is
        there, whatever became of it, unless `if_running` or `if_finished` say otherwise. Of a
        key's runs, that is the newest. `rewake.engine.starting` has the rules.

        Raises:
            RunNotFound: no such workflow.
            InvalidInput: the arguments do not fit, or the policies do not; `field` names which.
            RunConflict: the run that is there has other arguments, or is not wanted; `run` names
                it.
        """
        found = self.app.workflow(workflow)
        found.arguments(arguments)
        policy = policy_of(if_running, if_finished, run=run, key=idempotency_key)
        marked = digest(arguments)

        async def create(run: str) -> tuple[Header, bool]:
            return await self._create(run, workflow, arguments, marked)

        name = self._name(workflow, run, idempotency_key)
        header, new = await begin_or_find(name, policy, create, self._store.find)
        if not new and (header.workflow, header.digest) != (workflow, marked):
            told = f"run {header.run!r} was started with other arguments"
            raise RunConflict(told, run=header.run)
        return header, new

    async def _create(
        self, run: str, workflow: str, arguments: Mapping[str, Any], marked: str
    ) -> tuple[Header, bool]:
        """Create this very run and begin with it, unless it is there; and whether it was not."""
        services = self._services
        now = services.clock.now()
        value = RunCodec(services.secret, run).encode(dict(arguments), key="", purpose=INPUT)
        seed = services.chance.getrandbits(53)
        header = Header(run, workflow, now, seed=seed, python=PYTHON, runtime=RUNTIME)
        header.digest = marked
        self._own(header)
        stored, new = await self._store.start(header, Started(now, value))
        if new and stored.owner and stored.owner == header.owner:
            history = History([Started(now, value)], {})
            self._background(run, Turn(services, stored, history).run())
        elif new:
            await services.wake(run)
        return stored, new

    def _own(self, header: Header) -> None:
        """A process that handles what it dispatches starts the run under its own lease."""
        services = self._services
        now, settings = services.clock.now(), services.settings
        if services.dispatcher.local and not self._closing:
            header.state, header.epoch, header.strikes = RunState.RUNNING, 1, 1
            header.owner, header.lease = services.token(), now + settings.lease
            header.due = header.lease + settings.skew
        else:
            header.due = now + settings.grace

    def _name(self, workflow: str, run: str | None, key: str | None) -> Name:
        if run is not None:
            return name_of_id(run)
        if key is not None:
            return name_of_key(workflow, key)
        return Name(f"{self._services.clock.now():012x}{self._services.token()}")

    async def get(self, run: str) -> Header:
        """The header of a run. Raises `RunNotFound`."""
        return await self._store.header(run)

    async def result(self, run: str, wait: float = 0) -> Outcome | None:
        """How the run ended, waiting up to `wait` seconds for that; None if it has not.

        Raises `RunNotFound`, and `StuckError` if it waits for a person.
        """
        deadline = self._services.clock.now() + int(wait * 1000)
        while True:
            waiter = self._waiter(run)
            try:
                header = await self._store.header(run)
                if header.state is RunState.STUCK:
                    raise StuckError(f"run {run!r} is stuck: {header.error}")
                if header.state in TERMINAL:
                    return await self._outcome(header)
                left = deadline - self._services.clock.now()
                if left <= 0:
                    return None
                await asyncio.wait([waiter], timeout=min(left, POLL) / 1000)
                if waiter.done() and (outcome := waiter.result()) is not None:
                    return outcome
            finally:
                self._stop_waiting(run, waiter)

    def _waiter(self, run: str) -> asyncio.Future[Outcome | None]:
        waiter: asyncio.Future[Outcome | None] = asyncio.get_running_loop().create_future()
        self._services.waiters.setdefault(run, set()).add(waiter)
        return waiter

    def _stop_waiting(self, run: str, waiter: asyncio.Future[Outcome | None]) -> None:
        waiters = self._services.waiters.get(run, set())
        waiters.discard(waiter)
        if not waiters:
            self._services.waiters.pop(run, None)

    async def _outcome(self, header: Header) -> Outcome:
        if header.tail and isinstance(header.tail[-1], Finished):
            entry = header.tail[-1]
            if entry.outcome.value is None or not entry.outcome.value.blob:
                return entry.outcome
        history = await self._store.history(header)
        last = history.entries[-1]
        if isinstance(last, Finished):
            return last.outcome
        return Outcome(OutcomeKind.CANCELLED)  # cancelled while it was stuck

    async def history(self, run: str) -> tuple[Header, History]:
        """Everything recorded about a run. Raises `RunNotFound`, `CheckpointUnreadable`."""
        header = await self._store.header(run)
        return header, await self._store.history(header)

    def running_steps(self, run: str) -> list[str]:
        """The keys of the steps that this process is carrying out for a run right now."""
        return list(self._services.steps.get(run, ()))

    async def logs(self, run: str, key: str | None = None) -> list[LogBatch]:
        """What a run logged: its body (as `key=""`) and its attempts. Raises `RunNotFound`."""
        return await self._store.logs(await self._store.header(run), key)

    async def list(
        self,
        *,
        limit: int = 50,
        cursor: str | None = None,
        workflow: str | None = None,
        state: RunState | None = None,
    ) -> tuple[list[Header], str | None]:
        """Runs, newest first, and the cursor of the next page. A filter may leave a page short."""
        page = await self._store.views(limit=limit, cursor=cursor)
        headers = []
        for _, view in page.items:
            if workflow is not None and view.workflow != workflow:
                continue
            try:
                header = await self._store.header(view.run)
            except RunNotFound:
                continue  # a start that died before its header
            if header.created == view.created and state in (None, header.state):
                headers.append(header)
        return headers, page.cursor

    async def cancel(self, run: str, reason: str = "cancelled by a caller") -> Header:
        """Ask a run to cancel: its cleanup runs, then it ends as cancelled.

        Asking twice changes nothing. Raises `RunNotFound`, `RunConflict` if it is over, and
        `InvalidInput` for a reason that is too long to be kept in the header.
        """
        _check_reason(reason)
        header = await self._store.cancel(run, reason, self._services.clock.now())
        if header is None:
            raise RunConflict(f"run {run!r} is over already")
        if header.state is RunState.PARKED:
            await self._services.wake(run)
        elif header.state in TERMINAL:
            self._services.ended(run)
        else:
            self._services.poke(run)
        return header

    async def resume(self, run: str) -> Header:
        """Let a stuck run try again, with the code and the Python of now."""
        header = await self._store.resume(run, PYTHON, self._services.clock.now())
        await self._services.wake(run)
        return header

    async def decide(
        self, run: str, key: str, approval: Approval, *, carry_on: bool = True
    ) -> None:
        """Record a decision on an approval; the first one stands, and wakes the run.

        With `carry_on=False` the run is left to another process, which finds it within a sweep.

        Raises:
            RunNotFound: no such run, or it waits for no approval of that key.
            RunConflict: decided already, withdrawn, out of time, or the run is over.
        """
        header, history = await self.history(run)
        asked = _approval(history, key)
        if header.state in TERMINAL:
            raise RunConflict(f"run {run!r} is over")
        services, now = self._services, self._services.clock.now()
        due = now + self.settings.grace if carry_on else now
        blank = Operation(run, key, Kind.APPROVAL, name=asked.name, due=due)
        late = asked.due is not None and asked.due <= now
        at = asked.due if late and asked.due is not None else now
        if late:
            outcome = Outcome(OutcomeKind.TIMEOUT)
        else:
            decided = msgspec.to_builtins(approval)
            codec = RunCodec(services.secret, run)
            outcome = Outcome(OutcomeKind.OK, codec.encode(decided, key=key, purpose=APPROVAL))
        # A late one is dated back, and a lease that counts from then would be over already.
        claim = services.lease() if carry_on and not late else None
        delivery = await self._store.deliver(blank, outcome, at, claim=claim)
        if carry_on:
            self._background(run, self._attempts.after(delivery))
        if late:
            raise RunConflict(f"the time to decide on {key!r} is over")
        if not delivery.won:
            raise RunConflict(f"{key!r} was decided already")


def tokens() -> Callable[[], str]:
    """Names for claims, writes and runs: unique, and cheap. They are no secrets."""
    prefix, count = secrets.token_hex(6), itertools.count()
    return lambda: f"{prefix}{next(count):06x}"


def _approval(history: History, key: str) -> Scheduled:
    for asked in history.open(Kind.APPROVAL):
        if asked.key == key:
            return asked
    for entry in history.entries:
        if isinstance(entry, Scheduled) and entry.key == key and entry.kind is Kind.APPROVAL:
            raise RunConflict(f"{key!r} was decided, ran out of time or was cancelled")
    raise RunNotFound(f"the run waits for no approval {key!r}")


def open_approvals(history: History) -> dict[str, Scheduled]:
    """The approvals that a run waits for and nobody decided yet, by key."""
    decided = history.outcomes()
    return {e.key: e for e in history.open(Kind.APPROVAL) if e.key not in decided}


class _AtWork:
    """Counts the calling asyncio task among those that `close` waits for."""

    def __init__(self, working: set[asyncio.Task[Any]]) -> None:
        self._working = working
        self._task = asyncio.current_task()
        self._nested = self._task in working

    def __enter__(self) -> None:
        if self._task is not None:
            self._working.add(self._task)

    def __exit__(self, *exception: object) -> None:
        if self._task is not None and not self._nested:
            self._working.discard(self._task)


def _check_reason(reason: str) -> None:
    # In bytes as it is stored, since it is there that room is short: 200 characters can be 1,200.
    try:
        size = len(msgspec.json.encode(reason)) - 2
    except UnicodeEncodeError:  # a lone surrogate
        raise InvalidInput("a reason must be text that UTF-8 can hold", field="reason") from None
    if size > LONGEST_REASON:
        told = f"a reason has at most {LONGEST_REASON} bytes of UTF-8, and this one {size}"
        raise InvalidInput(told, field="reason")


@asynccontextmanager
async def running(engine: Engine) -> AsyncIterator[Engine]:
    """An engine that is open inside the block and closed after it."""
    engine.open()
    try:
        yield engine
    finally:
        await engine.close()
