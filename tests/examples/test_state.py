"""The example of keyed state does what it says."""

from __future__ import annotations

from examples.shared_cart import add, order, reserve
from tests.support.virtual import Bench, virtually


def test_a_cart_is_changed_by_one_run_at_a_time() -> None:
    """What is added while it is ordered waits, and is in the cart afterwards."""

    async def body(bench: Bench) -> None:
        for item in ("tea", "unicorn"):
            await bench.run("add", customer="ann", item=item)
        ordering = await bench.start("order", customer="ann")
        adding = await bench.start("add", customer="ann", item="milk")
        assert await bench.result(ordering.run) == {
            "reserved": ["tea, reserved"],
            "left": ["unicorn"],
        }
        assert await bench.result(adding.run) == ["unicorn", "milk"]

    virtually([add, order, reserve], body)
