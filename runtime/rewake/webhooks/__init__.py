"""Webhooks: what others send over HTTP starts runs.

    from rewake import workflow
    from rewake.webhooks import Delivery, github, webhook

    def pushed(delivery: Delivery) -> dict | None:
        return {"commit": delivery.json["after"]}

    @workflow(webhook=webhook("github/push", verify=github("GITHUB_SECRET"), arguments=pushed))
    async def deploy(commit: str) -> None: ...

It is served at `POST /hooks/github/push`. `verify=` says how a delivery proves who sent it; anybody
who can prove it starts a run, once for each delivery.
"""

from rewake.webhooks.delivery import Delivery, File
from rewake.webhooks.providers import (
    github,
    meta,
    microsoft_graph,
    slack,
    standard_webhooks,
    stripe,
)
from rewake.webhooks.schemes import anyone, basic, bearer, shared_hmac
from rewake.webhooks.trigger import webhook

__all__ = [
    "Delivery",
    "File",
    "anyone",
    "basic",
    "bearer",
    "github",
    "meta",
    "microsoft_graph",
    "shared_hmac",
    "slack",
    "standard_webhooks",
    "stripe",
    "webhook",
]
