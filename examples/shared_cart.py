"""A shopping cart that several runs change, one at a time, and one of them orders.

    rewake dev examples/shared_cart.py
    rewake start add --input '{"customer": "ann", "item": "tea"}'
    rewake start order --input '{"customer": "ann"}'

The cart is a keyed state: whoever is in the block has it alone, also where that takes a while.
"""

from __future__ import annotations

from rewake import TaskError, state, task, workflow


@task(retries=2)
async def reserve(item: str) -> str:
    if item == "unicorn":
        raise ValueError(f"there is no {item}")
    return f"{item}, reserved"


@workflow
async def add(customer: str, item: str) -> list[str]:
    async with state("cart", customer) as cart:
        cart.value = [*(cart.value or []), item]
        return list(cart.value)


@workflow
async def order(customer: str) -> dict[str, list[str]]:
    """Reserve all that is in the cart. What cannot be had stays in it."""
    reserved, left = [], []
    async with state("cart", customer, timeout=600) as cart:
        for item in cart.value or []:
            try:
                reserved.append(await reserve(item))
            except TaskError:
                left.append(item)
        cart.value = left
    return {"reserved": reserved, "left": left}
