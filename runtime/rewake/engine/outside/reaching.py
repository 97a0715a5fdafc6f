"""What attempts can do beyond their own run, by way of the engine that carries them out.

Each is known again by its id, so it is asked again while the store does not answer: an outage of
that is no failure of an attempt, as it is none of what the attempt comes to.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from rewake.authoring.context import task_context
from rewake.engine.outside.keyed import KEEP, Block, States
from rewake.engine.outside.signals import Signals
from rewake.engine.process.leases import insist
from rewake.engine.runs.runs import Runs
from rewake.errors import ReadableElsewhere, StoreUnavailable
from rewake.keyed import State

T = TypeVar("T")
_RUN = "run"


class Reaching:
    """What attempts can do to other runs, as `Reach` says."""

    def __init__(self, engine: Runs) -> None:
        self._signals = Signals(engine)
        self._services = engine.services
        self._states = States(engine.services, self._signals)

    async def send(self, run: str, name: str, value: Any, id: str) -> None:
        await self._insist(lambda: self._signals.send(run, name, value, id=id, by=_RUN))

    async def signal_or_start(
        self, workflow: str, key: str, name: str, value: Any, arguments: Any, id: str
    ) -> str:
        async def ask() -> str:
            own = await self._services.store.header(task_context().run)
            header, _, _ = await self._signals.signal_or_start(
                workflow, key, name, value, arguments, id=id, by=_RUN, tenant=own.tenant
            )
            return header.run

        return await self._insist(ask)

    async def enter_state(
        self, name: str, key: str, token: str, number: int, task: str
    ) -> dict[str, Any]:
        async def ask() -> dict[str, Any]:
            block = await self._block(name, key, token, number, task)
            try:
                return (await self._states.enter(block))._asdict()
            except ReadableElsewhere as error:  # it holds it, and the codec cannot open it now
                raise StoreUnavailable(str(error)) from error

        return await self._insist(ask)

    async def leave_state(
        self, name: str, key: str, token: str, number: int, task: str, value: Any, read: int | None
    ) -> None:
        async def ask() -> None:
            block = await self._block(name, key, token, number, task)
            await self._states.leave(block, KEEP if read is None else value, read=read)

        await self._insist(ask)

    async def _block(self, name: str, key: str, token: str, number: int, task: str) -> Block:
        run = await self._services.store.header(task_context().run)
        return Block(State(name, key, run.tenant), run.run, token, number, task)

    async def publish(self, name: str, data: Any, id: str, by: str) -> None:
        async def publishing() -> None:
            await self._services.events.publish(name, data, id=id, by=by)

        async def ask() -> None:
            home = self._services.home
            if home is None or home is asyncio.get_running_loop():
                await publishing()
            else:  # a sync attempt, which has a loop of its own in its thread
                await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(publishing(), home))

        await self._insist(ask)

    async def _insist(self, ask: Callable[[], Awaitable[T]]) -> T:
        clock, wait = self._services.clock, self._services.settings.sweep
        return await insist(ask, "what a task asks for cannot be done yet", clock, wait)
