"""A cart that is filled by signals, asked by updates, and given up if nobody comes back.

    rewake dev examples/shopping_cart.py
    rewake start cart --input '{"customer": "ann"}' --key cart-ann
    rewake runs signal RUN add --value '{"name": "tea", "price": 20}'

Temporal's e-commerce and Restate's shopping cart. A signal comes in order, once, and is kept until
the cart asks for it.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta

from rewake import signals, task, updates, wait_for_signal, workflow

GIVEN_UP = timedelta(hours=1)


@dataclass
class Item:
    name: str
    price: int


@task(retries=5)
def charge(customer: str, total: int) -> str:
    return f"{customer} pays {total}"


@workflow
async def cart(customer: str) -> str:
    items: list[Item] = []

    async def fill() -> None:
        async for item in signals("add", type=Item):
            items.append(item)  # noqa: PERF401 - each is there as soon as it has come

    async def tell() -> None:
        async for request in updates("total", type=None):
            request.accept(sum(item.price for item in items))

    helpers = [asyncio.create_task(fill()), asyncio.create_task(tell())]
    try:
        await wait_for_signal("checkout", timeout=GIVEN_UP)
    except TimeoutError:
        return f"{customer} did not come back"
    finally:
        for helper in helpers:
            helper.cancel()
    return await charge(customer, sum(item.price for item in items))
