"""What the apps beside this file have below /runs: an order that somebody must agree to."""

from __future__ import annotations

from rewake import approval, step, workflow
from rewake.webhooks import bearer, webhook


@workflow(webhook=webhook("order", verify=bearer("ORDER_TOKEN")))
async def order(item: str) -> str:
    ask = approval("buy", description=f"Buy {item}?")
    await step("tell", lambda: print(ask.link()))
    return f"{item}: {(await ask).decision}"
