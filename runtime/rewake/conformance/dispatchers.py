"""What a `Dispatcher` promises."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

import msgspec

from rewake.clock import SystemClock
from rewake.dispatchers.dispatcher import Dispatcher, Handler
from rewake.records import Invocation, Millis, Value


class Receiver:
    """A handler that keeps what it was given, and when. It fails as often as `failures` says."""

    def __init__(self, patience: float, failures: int = 0) -> None:
        self.found: asyncio.Queue[tuple[Invocation, Millis]] = asyncio.Queue()
        self.failures = failures
        self.failed = asyncio.Event()
        self._patience = patience
        self._clock = SystemClock()

    async def __call__(self, invocation: Invocation) -> None:
        if self.failures:
            self.failures -= 1
            self.failed.set()
            raise RuntimeError("a handler that fails")
        self.found.put_nowait((invocation, self._clock.now()))

    async def next(self) -> tuple[Invocation, Millis]:
        """What it is given next."""
        async with asyncio.timeout(self._patience):
            return await self.found.get()


class DispatcherContract:
    """The tests of a dispatcher. A class that inherits them says how to make one."""

    patience: float = 10.0
    """Seconds after which a message counts as lost."""

    keeps: bool = False
    """Whether a message that was handed over a moment before its time is delivered by others."""

    def dispatcher(self, handler: Handler) -> AbstractAsyncContextManager[Dispatcher]:
        """An open dispatcher whose messages get to `handler`; closed at the end of the block."""
        raise NotImplementedError("a contract is given a dispatcher: override `dispatcher`")

    def play(self, scenario: Callable[[], Awaitable[None]]) -> None:
        """Play a scenario to its end, which must come."""

        async def bounded() -> None:
            async with asyncio.timeout(3 * self.patience):
                await scenario()

        asyncio.run(bounded())

    def test_delivers(self) -> None:
        """A message arrives whole."""
        args = Value("json", msgspec.Raw(b'[[1,"\xc3\xa4"],{}]'))
        sent = Invocation("a-run", "a.key", "a-task", args)

        async def scenario() -> None:
            receiver = Receiver(self.patience)
            async with self.dispatcher(receiver) as dispatcher:
                await dispatcher.dispatch([sent])
                received, _ = await receiver.next()
            assert msgspec.json.encode(received) == msgspec.json.encode(sent)

        self.play(scenario)

    def test_delivers_each_of_many(self) -> None:
        """Of many messages each arrives, in whatever order."""
        sent = {f"run-{number}" for number in range(300)}

        async def scenario() -> None:
            receiver = Receiver(self.patience)
            async with self.dispatcher(receiver) as dispatcher:
                await dispatcher.dispatch([Invocation(each, "key") for each in sent])
                received: set[str] = set()
                while received != sent:  # some may come twice
                    received.add((await receiver.next())[0].run)

        self.play(scenario)

    def test_not_before_its_time(self) -> None:
        """A message that is delayed arrives then, not earlier, and holds up no other."""

        async def scenario() -> None:
            receiver = Receiver(self.patience)
            async with self.dispatcher(receiver) as dispatcher:
                at = SystemClock().now() + 500
                await dispatcher.dispatch([Invocation("late", not_before=at), Invocation("prompt")])
                assert (await receiver.next())[0].run == "prompt"
                late, when = await receiver.next()
            assert late.run == "late"
            assert when >= at

        self.play(scenario)

    def test_a_time_that_is_over(self) -> None:
        """A message whose time is over is sent at once."""

        async def scenario() -> None:
            receiver = Receiver(self.patience)
            async with self.dispatcher(receiver) as dispatcher:
                over = SystemClock().now() - 1000
                await dispatcher.dispatch([Invocation("a-run", not_before=over)])
                await receiver.next()

        self.play(scenario)

    def test_survives_a_handler_that_fails(self) -> None:
        """A message whose handler fails takes no other with it."""

        async def scenario() -> None:
            receiver = Receiver(self.patience, failures=1)
            async with self.dispatcher(receiver) as dispatcher:
                await dispatcher.dispatch([Invocation("a-run")])
                await receiver.failed.wait()
                await dispatcher.dispatch([Invocation("another-run")])
                while (await receiver.next())[0].run != "another-run":
                    pass  # the first one may come again

        self.play(scenario)

    def test_does_not_wait_for_the_work(self) -> None:
        """Sending is over before the work is, and messages are worked on side by side."""

        async def scenario() -> None:
            both = asyncio.Barrier(3)  # this test is the third

            async def work(invocation: Invocation) -> None:  # noqa: ARG001
                await both.wait()

            async with self.dispatcher(work) as dispatcher:
                await dispatcher.dispatch([Invocation("a-run", "key"), Invocation("b-run", "key")])
                async with asyncio.timeout(self.patience):
                    await both.wait()

        self.play(scenario)

    def test_close_drops_what_is_delayed(self) -> None:
        """After closing, nothing is delivered that was not due before."""

        async def scenario() -> None:
            receiver = Receiver(self.patience)
            async with self.dispatcher(receiver) as dispatcher:
                late = SystemClock().now() + 50
                await dispatcher.dispatch([Invocation("late", not_before=late)])
                await dispatcher.close()
                await dispatcher.dispatch([Invocation("too-late")])
                await asyncio.sleep(0.1)
            assert self.keeps or receiver.found.empty()

        self.play(scenario)
