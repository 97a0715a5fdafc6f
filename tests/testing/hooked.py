"""An app that is reached from outside: by a webhook, by links, by a callback."""

from __future__ import annotations

from typing import Any

from rewake import approval, callback, task, workflow
from rewake.webhooks import Delivery, github, webhook


def pushed(delivery: Delivery) -> dict[str, Any] | None:
    """Which deploy a push means."""
    if delivery.headers.get("X-GitHub-Event") != "push":
        return None
    return {"commit": delivery.json["after"]}


@task
def mail(link: str) -> None:
    """It is not sent in tests."""


@task
def begin(url: str) -> None:
    """Nor is the machine told."""


@workflow(webhook=webhook("push", verify=github(secret="GITHUB_SECRET"), arguments=pushed))
async def deploy(commit: str) -> str:
    """A push is deployed once somebody has approved it."""
    ask = approval("boss", timeout=86_400)
    await mail(ask.link())
    if not (answer := await ask).approved:
        return f"{commit} is refused: {answer.comment}"
    done = callback("machine", result=str, timeout=3_600)
    await begin(done.url)
    return f"{commit} is {await done}"
