"""What an environment runs: one process after another on a store in memory, in virtual time.

Time stands still while anything can be done, and while nobody waits. Then it jumps to the next
moment at which something is due: a sweep of the store, whenever that was written, arms a timer for
each such moment, however far off. So hours in which nothing happens cost nothing.
"""

from __future__ import annotations

import asyncio
import contextvars
import math
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from rewake.app import App
from rewake.client.answers import Answer, Lost
from rewake.engine.logs.logs import capture
from rewake.errors import NothingDue, UsageError
from rewake.records import Header, Item, Millis
from rewake.replay.operation import OpenOp
from rewake.replay.refusing import REFUSED
from rewake.signing.secret import Secret
from rewake.states import TERMINAL, RunState
from rewake.stores.reads import Reads
from rewake.testing.clock import VirtualClock
from rewake.testing.loop import VirtualLoop, for_ever, outside
from rewake.testing.process import URL, Process, resolve
from rewake.testing.replays import Replays
from rewake.testing.table import WatchedTable

T = TypeVar("T")

WITHOUT = ("the network", "pipes and files", "subprocesses", "signals")
"""What the loop refuses: all that real time would pass with."""
JUMPS = 100_000
"""So often time jumps at most before what is waited for comes."""
_SWEEPS = 20
"""The most sweeps at one moment: what each of them finds may lead to more."""
_LOOKS = 3
"""So often what could not be checked is looked at again, a minute later each time."""
PAUSES = 10
"""So many turns the test's own event loop has after an answer, before time moves: for whoever is
ready in it by then, and asks for more.
"""


class World:
    """A store, the process that serves it, and their time. `failure`: what fails the test."""

    def __init__(self, app: App, epoch: Millis, *, replays: bool) -> None:
        self.loop, self._context = _WorldLoop(self), contextvars.copy_context()
        self.loop.set_exception_handler(None)  # what nobody caught is logged, as elsewhere
        self.app = app
        self.clock = VirtualClock(self.loop, epoch)
        self.table = WatchedTable(self)
        self.failure: Exception | None = None
        self.secret = Secret("the secret of a world without secrets")
        reads = Reads(self.table, self.table)
        self._replays = Replays(app, self.secret, reads, URL) if replays else None
        self._colder = set[str]()
        """The runs whose instances in memory are dropped, once they are suspended."""
        self._crash: tuple[int, bool] | None = None
        self._settling = list[asyncio.Future[None]]()
        self._watchers = list[tuple[int, asyncio.Future[bool]]]()
        self._sweep: asyncio.Task[None] | None = None
        self._swept, self._sweeps, self._swept_at, self._looks = -1, 0, -1.0, 0
        self._carried = self._pauses = self._jumps = 0
        self.processes = list[Process]()
        self.process = self._begin()

    # --- processes -------------------------------------------------------------------------

    def _begin(self) -> Process:
        made = self.app, self.table, self.clock, self.secret
        process = Process(self.loop, *made, number=len(self.processes))
        self.processes.append(process)
        with self.loop.entered():
            process.open()
        return process

    def crash(self) -> None:
        """End the process where it stands, and begin another."""
        self._check_open()
        self.process.die()
        self._crash, self._sweep, self._swept = None, None, -1
        self.process = self._begin()

    def crash_at(self, number: int, *, before: bool) -> None:
        """Let the process die as it makes the `number`-th commit from now."""
        self._crash = (number, before)

    async def before_commit(self) -> None:
        """Die, if this is the commit for it."""
        if self._crash is not None:
            number, before = self._crash[0] - 1, self._crash[1]
            self._crash = (number, before)
            if number == 0 and before:
                await self._die()

    async def committed(self, item: Item) -> None:
        """Replay a run from nothing, and die, if this is the commit for it."""
        if self._replays is not None and self.failure is None and isinstance(item, Header):
            try:
                if await self._replays.check(item):
                    self._colder.add(item.run)
            except Exception as error:
                self.failure = error
                self.loop.stop()
        if self._crash is not None and self._crash[0] == 0:
            await self._die()

    async def _die(self) -> None:
        self.loop.call_soon(self.crash, context=self._context.copy())
        await for_ever()

    async def asked(self, exchange: Coroutine[Any, Any, Answer]) -> Answer | Lost:
        """What the process answers; lost, if it dies before."""
        process = self.process
        task = process.spawn(exchange)
        waits: list[asyncio.Future[Any]] = [task, process.death]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else Lost("the process died")

    # --- waiting ---------------------------------------------------------------------------

    async def settled(self) -> None:
        """Wait until all is done that can be done at this moment."""
        future: asyncio.Future[None] = self.loop.create_future()
        self._settling.append(future)
        await future

    async def changed(self, seen: int, until: float) -> bool:
        """Wait until more was written than was `seen`, and all is done that follows at once.

        False: that moment has come first.
        """
        future: asyncio.Future[bool] = self.loop.create_future()
        self._watchers.append((seen, future))
        timer = None
        if until < math.inf:
            timer = self.loop.call_at(until, resolve, future, False)
        try:
            return await future
        finally:
            self._watchers.remove((seen, future))
            if timer is not None:
                timer.cancel()

    async def pass_time(self, seconds: float) -> None:
        """Wait until so much time has passed, and all is done that is due by then."""
        await self.settled()
        await asyncio.sleep(seconds)
        await self.settled()

    # --- time ------------------------------------------------------------------------------

    def drive(self, work: Coroutine[Any, Any, T]) -> T:
        """Carry something out in the world, however long that takes there.

        Raises `NothingDue` if nothing will ever happen that it waits for.
        """
        task = self._begun(work)
        while not task.done():
            self._run(task)
        return task.result()

    async def carry(self, work: Coroutine[Any, Any, T]) -> T:
        """The same beside others: before time moves, whoever else is ready in the test goes on."""
        task = self._begun(work)
        self._carried += 1
        try:
            while not task.done():
                self._run(task)
                if not task.done():
                    await asyncio.sleep(0)
        finally:
            self._carried, self._pauses = self._carried - 1, 0
            if not task.done():
                self._give_up(task)
        return task.result()

    def _begun(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        try:
            self._check_open()
        except UsageError:
            work.close()
            raise
        self._jumps = self._looks = self._pauses = 0
        task: asyncio.Task[T] = self.loop.create_task(work)
        return task

    def _check_open(self) -> None:
        if self.loop.is_closed():
            raise UsageError("this test environment is closed")

    def _run(self, task: asyncio.Task[Any]) -> None:
        """Let the world go on until this is done, or it is time for others in the test."""

        def stop(_: object) -> None:
            self.loop.stop()

        task.add_done_callback(stop)
        try:
            if not task.done():
                with outside():
                    self.loop.run_forever()
            self._check()
        except BaseException:
            self._give_up(task)
            raise
        finally:
            task.remove_done_callback(stop)

    def _give_up(self, task: asyncio.Task[Any]) -> None:
        """Let something that is waited for no more end, as far as that takes no time."""
        task.cancel()
        self.loop.call_soon(self.loop.stop)
        with outside():
            self.loop.run_forever()

    def _check(self) -> None:
        if self.failure is not None:
            failure, self.failure = self.failure, None
            raise failure

    def idle(self) -> None:
        """Nothing is ready: tell who waits for that, look at the store, or let time pass."""
        while self._colder:
            self.process.engine.services.cache.drop(self._colder.pop())
        moved = [each for seen, each in self._watchers if seen != self.table.writes]
        if self._settling or moved:
            for waiter in self._settling:
                resolve(waiter, None)
            for watcher in moved:
                resolve(watcher, True)
            self._settling = []
        elif self._must_sweep():
            self._begin_sweep()
        elif self._pauses < PAUSES * self._carried:
            self._pauses += 1
            self.loop.stop()
        else:
            self._jump()

    def _must_sweep(self) -> bool:
        if self._sweep is not None and not self._sweep.done() and not self.process.dead:
            return False
        if self._swept_at != self.loop.seconds:
            self._swept_at, self._sweeps = self.loop.seconds, 0
        return self._swept != self.table.dues and self._sweeps < _SWEEPS

    def _begin_sweep(self) -> None:
        self._sweeps += 1
        self._swept = self.table.dues
        self._sweep = self.process.spawn(self.process.engine.sweep())

    def _jump(self) -> None:
        when, upkeep = self.loop.next_timer, self.loop.next_upkeep
        if upkeep is not None and self.process.is_busy and (when is None or upkeep < when):
            self.loop.jump(upkeep)
            return
        self._jumps += 1
        if self._jumps > JUMPS:
            raise NothingDue(f"it has not come after {JUMPS:,} moments at which something was due")
        if when is not None:
            self._looks = 0
            self.loop.jump(when)
        elif self._looks < _LOOKS and self.table.has_overdue(self.clock.now()):
            self._looks += 1
            self.loop.jump(self.loop.seconds + 60)
            self._begin_sweep()
        else:
            raise NothingDue(self._nothing_due())

    def _nothing_due(self) -> str:
        told = "nothing is due any more, so what is waited for will never come"
        waiting = [
            f"run {run} of {header.workflow} {self._waits_of(header)}"
            for run, header in self.table.headers.items()
            if header.state not in TERMINAL
        ]
        return "; ".join([told, *waiting])

    def _waits_of(self, header: Header) -> str:
        if header.state in (RunState.PAUSED, RunState.STUCK):
            return f"is {header.state.said}"  # until somebody resumes it, whatever it waits for
        execution = self.process.engine.services.cache.at(header)
        waits = self._replays.waits.get(header.run, {}) if self._replays is not None else {}
        asked = (execution.open if execution is not None else waits).values()
        return f"waits for {', '.join(map(_described, asked))}" if asked else "waits"

    # --- the end ---------------------------------------------------------------------------

    def close(self, *, quiet: bool = False) -> None:
        """Close the process, and end what goes on.

        Unless `quiet`, what can be done at this moment is done before, and what failed is raised.
        One that is closed stays so.
        """
        if self.loop.is_closed():
            return
        try:
            if not quiet:
                self.drive(self.settled())
        finally:
            self._end()
        if not quiet:
            self._check()

    def _end(self) -> None:
        unseen, self.failure = self.failure, None
        try:
            with suppress(NothingDue):  # something that was cancelled goes on
                self.drive(self.process.close())
        finally:
            self.failure = unseen or self.failure
            for each in self.processes:
                each.dead = True
                each.engine.services.cache.clear()
                if each.engine.services.home is not None:
                    capture.close()
            self.loop.close()


def _refusal(method: str, what: str) -> Callable[..., Any]:
    def refuse(*_: Any, **__: Any) -> Any:
        told = f"a test environment does without {what} (loop.{method}): fake what needs it"
        raise UsageError(told)

    return refuse


_Refusing: Any = type(
    "_Refusing",
    (VirtualLoop,),
    {method: _refusal(method, what) for what in WITHOUT for method in REFUSED[what]},
)


class _WorldLoop(_Refusing):  # type: ignore[misc]
    """The loop of a world, which says what there is to do when nothing is ready."""

    def __init__(self, world: World) -> None:
        self._world = world
        super().__init__()

    def idle(self, timeout: float | None) -> None:
        """Let the world decide. A timer that is due already is none to wait for."""
        del timeout
        self._world.idle()


def _described(op: OpenOp) -> str:
    return f"{op.kind} {op.name or op.key}"
