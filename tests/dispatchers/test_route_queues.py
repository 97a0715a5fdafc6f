"""A route that leads into a queue of its own, in virtual time."""

from __future__ import annotations

import asyncio

from rewake import parallel, task, workflow
from rewake.clock import Clock
from rewake.dispatchers.routes import Router
from rewake.dispatchers.sqs import SqsDispatcher
from rewake.tags import Served
from tests.support.sqs import FakeSqs
from tests.support.virtual import SECRET, Bench, virtually

ROOM = 4


@task(tag="gpu")
async def shade(seconds: float) -> None:
    await asyncio.sleep(seconds)


@workflow
async def film(frames: int, seconds: float) -> int:
    return len(await parallel([seconds] * frames, shade))


class Queues:
    """The queues that all servers share. It makes their dispatchers; who has the tag `consumes`."""

    def __init__(self) -> None:
        self.sqs = FakeSqs(lambda: 0)
        self.consumes = False
        self._made = False

    def __call__(self, clock: Clock) -> Router:
        if not self._made:
            self._made, self.sqs = True, FakeSqs(clock.now, *("work", "gpu", "dead"))

        def over(name: str, *, consumes: bool) -> SqsDispatcher:
            queues = self.sqs.queue(name), self.sqs.queue("dead")
            return SqsDispatcher(*queues, SECRET, clock, consumes=consumes, room=ROOM)

        main = over("work", consumes=not self.consumes)
        return Router(main, {"gpu": over("gpu", consumes=self.consumes)})


def test_what_waits_in_the_queue_of_a_route_is_not_sent_again() -> None:
    """Of tasks that wait there for room hardly any is repeated, as of those that have no tag.

    With a message for each that waits, and each sweep, it would be more than 2,600.
    """
    queues = Queues()

    async def body(bench: Bench) -> None:
        queues.consumes = True
        server = bench.another(served=Served(frozenset({"gpu"}), untagged=False))
        server.open()
        assert await bench.run("film", frames=200, seconds=2.0) == 200
        assert len(queues.sqs.sent) < 400
        await server.close()

    virtually([shade, film], body, carrier=queues, tasks=ROOM)
