"""The example of keyed state does what it says."""

from __future__ import annotations

from examples import shared_cart
from rewake.testing import Environment


def test_a_cart_is_changed_by_one_run_at_a_time() -> None:
    """What is added while it is ordered waits, and is in the cart afterwards."""
    with Environment(shared_cart) as server:
        for item in ("tea", "unicorn"):
            server.start(shared_cart.add, "ann", item).result()
        ordering = server.start(shared_cart.order, "ann")
        adding = server.start(shared_cart.add, "ann", "milk")
        assert ordering.result() == {"reserved": ["tea, reserved"], "left": ["unicorn"]}
        assert adding.result() == ["unicorn", "milk"]
