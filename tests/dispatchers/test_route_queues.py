"""A route that leads into a queue of its own, in virtual time."""

from __future__ import annotations

import asyncio
import logging

import pytest

from rewake import parallel, task, workflow
from rewake.clock import Clock
from rewake.dispatchers.routes import Router
from rewake.dispatchers.sqs import SqsDispatcher
from rewake.doctor.stored import late
from rewake.engine.alerts.overdue import overdue
from rewake.engine.process.tags import LATE
from rewake.tags import Served
from tests.support.emptied import emptied
from tests.support.sqs import FakeSqs
from tests.support.virtual import SECRET, Bench, virtually

ROOM = 4
MINUTES = 2 * LATE / 1000


@task(tag="gpu")
async def shade(seconds: float) -> None:
    await asyncio.sleep(seconds)


@workflow
async def film(frames: int, seconds: float) -> int:
    return len(await parallel([seconds] * frames, shade))


@task(tag="gpu", retries=2, delay=20, jitter=0)
async def flickers() -> int:
    lights.append(1)
    await asyncio.sleep(5)
    if len(lights) < 3:
        raise ValueError("dark")
    return len(lights)


@workflow
async def scene() -> int:
    return await flickers()


lights: list[int] = []
_emptied = emptied(lights)


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


GPU = Served(frozenset({"gpu"}), untagged=False)
everywhere = pytest.mark.parametrize("pauses", [False, True])


@everywhere
def test_a_tag_whose_queue_nobody_takes_from_is_told(
    caplog: pytest.LogCaptureFixture, *, pauses: bool
) -> None:
    """Who has the route does not serve the tag: it says so after minutes, until somebody does."""
    queues = Queues()

    async def body(bench: Bench) -> None:
        services = bench.engine.services
        run = (await bench.start("film", frames=3, seconds=2.0)).run
        await asyncio.sleep(60)
        assert (services.tags.missing, await overdue(services, 9)) == ([], ([], False))
        await asyncio.sleep(MINUTES)
        assert services.tags.missing == ["gpu"]
        assert await services.tags.unserved(await bench.engine.get(run)) == ["gpu"]
        [told] = [each.getMessage() for each in caplog.records if "gpu" in each.getMessage()]
        assert told == "tasks wait for the tag gpu, which no server serves: rewake serve --tags gpu"
        [found], more = await overdue(services, 9)
        assert (found.header.run, found.tag, more) == (run, "gpu", False)
        assert found.key.startswith("parallel[")
        assert (found.reason.code, services.clock.now() - found.since > LATE) == (
            "unserved-tag", True
        )  # fmt: skip
        queues.consumes = True
        server = bench.another(served=GPU)
        server.open(sweep=not pauses)
        assert await bench.result(run) == 3
        assert await overdue(services, 9) == ([], False)
        await asyncio.sleep(30)
        assert services.tags.missing == []
        await server.close()

    with caplog.at_level(logging.WARNING, "rewake.engine"):
        virtually([shade, film], body, carrier=queues, tasks=ROOM, pauses=pauses)


def test_a_tag_whose_servers_are_busy_is_told_as_that() -> None:
    """They vouch for it; what waits for minutes waits for room."""
    queues = Queues()

    async def body(bench: Bench) -> None:
        services, queues.consumes = bench.engine.services, True
        server = bench.another(served=GPU)
        server.open()
        await bench.start("film", frames=3 * ROOM, seconds=MINUTES)
        await asyncio.sleep(MINUTES - 60)
        [found], _ = await overdue(services, 9)
        assert (found.reason.code, services.tags.missing) == ("no-room", [])
        await asyncio.sleep(3 * MINUTES)
        assert await overdue(services, 9) == ([], False)
        await server.close()

    virtually([shade, film], body, carrier=queues, tasks=ROOM)


def test_runs_whose_queue_nobody_takes_from_are_told() -> None:
    """One of them is named, with what to look at."""
    queues = Queues()
    queues.consumes = True

    async def body(bench: Bench) -> None:
        services = bench.engine.services
        run = (await bench.start("film", frames=1, seconds=2.0)).run
        await bench.start("film", frames=1, seconds=2.0)
        await asyncio.sleep(60)
        assert await overdue(services, 9) == ([], False)
        await asyncio.sleep(MINUTES)
        [found], _ = await overdue(services, 9)
        assert (found.header.run, found.key, found.reason.code) == (run, "", "untaken")
        [finding] = await late(bench.engine)
        assert finding.told.startswith("1 late (untaken): run ")

    virtually([shade, film], body, carrier=queues, tasks=ROOM)


def test_a_retry_of_a_tag_waits_in_the_queue_of_its_route() -> None:
    """It needs no process to live, nor a sweep."""
    queues = Queues()

    async def body(bench: Bench) -> None:
        queues.consumes = True
        server = bench.another(served=GPU)
        server.open(sweep=False)
        assert await bench.run("scene") == 3
        assert 75 < bench.seconds < 77
        await server.close()

    virtually([flickers, scene], body, carrier=queues, tasks=ROOM, sweeps=False, pauses=True)


def test_a_retry_that_is_due_before_the_next_sweep_is_sent_ahead() -> None:
    """Also where the servers of its tag know of no route: whoever looks ahead does."""
    queues = Queues()

    async def body(bench: Bench) -> None:
        queues.consumes = True
        server = bench.another(served=GPU)
        assert isinstance(server.services.dispatcher, Router)
        routes = server.services.dispatcher._routes
        server.open(sweep=False)
        run = await bench.start("scene")
        await asyncio.sleep(4)
        gpu = routes.pop("gpu")
        await asyncio.sleep(4)
        queues.sqs.sent.clear()
        await bench.engine.sweep(60_000)
        assert len(queues.sqs.sent) == 1
        routes["gpu"] = gpu
        assert await bench.result(run.run) == 3
        assert 75 < bench.seconds < 79
        await server.close()

    virtually([flickers, scene], body, carrier=queues, tasks=ROOM, sweeps=False, pauses=True)


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
