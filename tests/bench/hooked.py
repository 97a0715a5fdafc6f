"""The app whose webhook is flooded: each delivery is a run of one step."""

from __future__ import annotations

from rewake import step, workflow
from rewake.webhooks import shared_hmac, webhook

SCHEME = shared_hmac("LOAD_SECRET", header="X-Signature", id="X-Delivery")
PATH = "load"


@workflow(webhook=webhook(PATH, verify=SCHEME))
async def taken(number: int) -> int:
    """One step, as small as a step can be."""
    return await step("look", lambda: number)
