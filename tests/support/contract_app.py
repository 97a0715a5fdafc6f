"""An app with a workflow of each shape, for tests of what the HTTP API says of itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from enum import Enum
from typing import Annotated, Literal, TypedDict, Unpack

import msgspec

from rewake import approval, callback, sleep, step, task, wait_for_approval, workflow
from rewake.webhooks import anyone, shared_hmac, webhook


class Color(Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Line:
    sku: str
    count: Annotated[int, msgspec.Meta(ge=1, le=100)] = 1
    tags: list[str] = field(default_factory=list)


class Parcel(msgspec.Struct):
    """What is sent."""

    weight: float
    size: Literal["s", "m"] = "s"
    sent: date | None = None


class Options(TypedDict, total=False):
    gift: bool


@task
async def price(line: Line) -> int:
    return line.count


@workflow(webhook=webhook("orders", verify=anyone()))
async def order(
    lines: list[Line], color: Color = Color.RED, **options: Unpack[Options]
) -> dict[str, int]:
    """Take an order."""
    return {line.sku: await price(line) for line in lines[:3]}


@workflow(webhook=webhook("signed", verify=shared_hmac("CONTRACT_SECRET", header="X-Signature")))
async def send(parcel: Parcel, note: str | None = None) -> Parcel:
    """Send a parcel."""
    await step("label", lambda: note)
    return parcel


@workflow
async def anything(*_: int, **more: float | str) -> list[str]:
    """Take what there is."""
    return sorted(more)


@workflow
async def nap() -> None:
    """Wait for long."""
    await sleep(10**6)


@workflow
async def ask() -> str:
    """Wait for people and for a machine."""
    one = approval("manager", form=Parcel, description="Send it?", approvers=["ann@example.com"])
    two = approval("board", approvers=["ann@example.com", "bob@example.com"], quorum=2)
    other = callback("payment", result=int)
    answer = await wait_for_approval("director", form={"amount": {"type": "integer"}})
    await one
    await two
    await other
    return str(answer.decision)


@workflow
async def fails() -> None:
    """Fail."""
    raise ValueError("it broke")
