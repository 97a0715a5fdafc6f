"""Messages of a tag take the route of that tag."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from rewake.dispatchers.dispatcher import Handler
from rewake.dispatchers.http import HttpDispatcher
from rewake.dispatchers.in_process import InProcessDispatcher
from rewake.dispatchers.routes import Router, routed_tags
from rewake.errors import ConfigError
from rewake.hosts import building
from rewake.hosts.config import ServerConfig
from rewake.records import Invocation
from rewake.signing.secret import Secret
from tests.dispatchers.test_dispatcher_contract import CLOCK

SECRET = Secret("a secret that only tests may know")


class Kept:
    """A dispatcher that keeps what it is given."""

    def __init__(self, *, local: bool = False) -> None:
        self.local = local
        self.given: list[Invocation] = []
        self.state = "new"

    def open(self, handler: Handler) -> None:
        self.state = "open"

    reach = 0
    dead_letters = None

    async def is_behind(self) -> bool:
        return False

    async def flush(self) -> None:
        self.state = "flushed"

    async def dispatch(self, invocations: Sequence[Invocation]) -> None:
        self.given += invocations

    async def close(self) -> None:
        self.state = "closed"


def test_each_message_takes_its_way_in_order() -> None:
    """Those of a route's tag go there, all others to the main dispatcher, in the order given."""

    async def body() -> None:
        main, gpu = Kept(local=True), Kept()
        router = Router(main, {"gpu": gpu, "big": gpu})

        async def handler(_: Invocation) -> None:
            raise AssertionError

        router.open(handler)
        sent = [Invocation("r", str(n), tag=tag) for n, tag in enumerate(["", "gpu", "x", "gpu"])]
        await router.dispatch(sent)
        assert main.given == [sent[0], sent[2]]
        assert gpu.given == [sent[1], sent[3]]
        assert router.local
        assert routed_tags(router) == {"gpu", "big"}
        assert routed_tags(main) == set()
        await router.flush()
        assert (main.state, gpu.state) == ("flushed", "flushed")
        await router.close()
        assert (main.state, gpu.state) == ("closed", "closed")

    asyncio.run(body())


def test_an_address_makes_a_route() -> None:
    """`REWAKE_ROUTES` gives a tag the dispatcher that its address begins with."""
    routes = "gpu=https://gpu.example/base, big=http://127.0.0.1:8001"
    config = ServerConfig.from_env({"REWAKE_ROUTES": routes})
    made = building._dispatcher(building.Given(config, SECRET, CLOCK))
    assert isinstance(made, Router)
    assert made.tags == {"gpu", "big"}
    assert isinstance(made._routes["gpu"], HttpDispatcher)
    plain = building._dispatcher(building.Given(ServerConfig.from_env({}), SECRET, CLOCK))
    assert isinstance(plain, InProcessDispatcher)


BAD = (
    *("gpu", "gpu=", "=https://x.example", "GPU=https://x.example", "default=https://x.example"),
    *("gpu=https://a.example,gpu=https://b.example", "gpu=pigeon:x", "gpu=https://u:s3cret@x"),
)


@pytest.mark.parametrize("routes", BAD)
def test_a_bad_route_is_one_clear_line(routes: str) -> None:
    """It names the variable, and never an address, in which a password may be."""

    def make() -> None:
        config = ServerConfig.from_env({"REWAKE_ROUTES": routes})
        building._dispatcher(building.Given(config, SECRET, CLOCK))

    with pytest.raises(ConfigError, match="REWAKE_ROUTES") as told:
        make()
    assert "s3cret" not in str(told.value)
    assert "\n" not in str(told.value)
