"""An order as a saga: whatever was done before an error is undone, in reverse.

    rewake run examples/order_saga.py --input '{"order": "o-1", "items": ["book", "lamp"]}'
    rewake run examples/order_saga.py --input '{"order": "o-2", "items": ["book", "moon"]}'

Each action registers what undoes it once it has worked. The shipment is a block: a carrier's slot
is good for a moment only, so slot and label are asked for together, and again together.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from rewake import TaskError, block, task, workflow

STOCK = {"book": 12, "lamp": 40}
Undo = Callable[[], Awaitable[str]]


@task
def reserve(order: str, item: str) -> int:
    """Reserve an item for an order. Returns its price."""
    if item not in STOCK:
        raise LookupError(f"{item} is sold out, so order {order} is off")
    return STOCK[item]


@task
def release(order: str, item: str) -> str:
    return f"released {item} of {order}"


@task(retries=3)
def charge(order: str, amount: int) -> str:
    if amount > 1_000:
        raise PermissionError(f"the card is declined for {amount}")
    return f"payment-{order}"


@task(retries=10)
def refund(payment: str) -> str:
    return f"refunded {payment}"


@task
def book_slot(order: str) -> str:
    return f"slot-{order}"


@task
def print_label(slot: str) -> str:
    return f"label for {slot}"


@workflow
async def fulfil(order: str, items: list[str]) -> dict[str, object]:
    """Reserve, charge and ship; or say what was undone, and why."""
    undo: list[Undo] = []

    async def ship() -> str:
        return await print_label(await book_slot(order))

    try:
        total = 0
        for item in items:
            total += await reserve(order, item)
            undo.append(lambda item=item: release(order, item))  # type: ignore[misc]
        payment = await charge(order, total)
        undo.append(lambda: refund(payment))
        label = await block("ship", ship, retries=5, delay=2)
    except TaskError as error:
        undone = [await each() for each in reversed(undo)]
        return {"state": "cancelled", "why": error.message, "undone": undone}
    return {"state": "shipped", "total": total, "label": label}
