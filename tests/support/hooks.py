"""An app whose workflows are started by webhooks, one of each kind that a test needs."""

import enum
from dataclasses import dataclass, field
from typing import Any, TypedDict

import msgspec
from pydantic import BaseModel

from rewake import sleep, workflow
from rewake.webhooks import (
    Delivery,
    anyone,
    basic,
    bearer,
    github,
    meta,
    microsoft_graph,
    shared_hmac,
    slack,
    standard_webhooks,
    stripe,
    webhook,
)

WHSEC = "whsec_YWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFh"
SECRETS = {
    "GITHUB_SECRET": "It's a Secret to Everybody",
    "STRIPE_SECRET": "whsec_of_stripe,whsec_before_it",
    "SLACK_SECRET": "8f742231b10e8888abcd99yyyzzz85a5",
    "STANDARD_SECRET": WHSEC,
    "HMAC_SECRET": "one secret that is long",
    "TOKEN_SECRET": "a token of a sender",
    "BASIC_SECRET": "ann:secret",
    "META_SECRET": "the secret of an app",
    "META_TOKEN": "the verify token",
    "GRAPH_SECRET": "the client state",
}
TENANTS = {"a": "the secret of tenant a", "b": ["the secret of tenant b", "and its next one"]}


class Size(enum.Enum):
    S = "small"
    L = "large"


@dataclass
class Item:
    sku: str
    count: int = 1


class Note(TypedDict):
    text: str


class Address(msgspec.Struct):
    city: str


class Payer(BaseModel):
    name: str


@dataclass
class Order:
    id: int
    items: list[Item] = field(default_factory=list)
    size: Size = Size.S


def pushed(delivery: Delivery) -> dict[str, Any] | None:
    """Of GitHub's events, those that are pushes."""
    if delivery.headers.get("X-GitHub-Event") == "issues":
        return None
    return {"repo": delivery.json["repository"]["full_name"], "commit": delivery.json["after"]}


async def whose(delivery: Delivery) -> Any:
    """The secret of the tenant that the query names."""
    return TENANTS[delivery.query["tenant"]]


def named(delivery: Delivery) -> str:
    """A name that holds the tenant's."""
    return f"{delivery.query['tenant']}/{delivery.json['number']}"


def whole(delivery: Delivery) -> dict[str, Any]:
    """What a delivery says, whatever its type."""
    return {
        "size": len(delivery.body),
        "id": delivery.id,
        "files": delivery.files,
    }


def unreadable(delivery: Delivery) -> dict[str, Any]:
    """It looks for what is not there."""
    return {"x": TENANTS[delivery.path]}


@workflow(webhook=webhook("github/push", verify=github("GITHUB_SECRET"), arguments=pushed))
async def deploy(repo: str, commit: str) -> str:
    return f"{repo}@{commit}"


@workflow(
    webhook=[
        webhook("stripe", verify=stripe("STRIPE_SECRET"), wait=20),
        webhook("slack", verify=slack("SLACK_SECRET"), wait=20),
        webhook("standard", verify=standard_webhooks("STANDARD_SECRET"), wait=20),
        webhook("hmac", verify=shared_hmac("HMAC_SECRET", header="X-Signature"), wait=20),
        webhook("bearer", verify=bearer("TOKEN_SECRET"), wait=20),
        webhook("basic", verify=basic("BASIC_SECRET"), wait=20),
        webhook("meta", verify=meta("META_SECRET", verify_token="META_TOKEN"), wait=20),
        webhook("graph", verify=microsoft_graph("GRAPH_SECRET"), wait=20),
    ]
)
async def tell(**said: Any) -> list[str]:
    return sorted(said)


@workflow(
    webhook=[
        webhook("orders", verify=anyone(), wait=20),
        webhook("strict", verify=anyone(), strict=True, wait=20),
    ]
)
async def ordered(
    order: Order,
    note: Note | None = None,
    to: Address | None = None,
    by: Payer | None = None,
    tags: list[str] | None = None,
    gift: bool = False,
) -> dict[str, Any]:
    return {
        "id": order.id,
        "items": [(each.sku, each.count) for each in order.items],
        "size": order.size.name,
        "note": note["text"] if note else None,
        "city": to.city if to else None,
        "payer": by.name if by else None,
        "tags": tags,
        "gift": gift,
    }


@workflow(webhook=webhook("tenants", verify=bearer(whose), key=named))
async def billed(number: int) -> int:
    return number


@workflow(webhook=webhook("raw", verify=anyone(), arguments=whole, wait=20))
async def kept(size: int, id: str | None, files: dict[str, bytes]) -> dict[str, Any]:
    return {"size": size, "id": id, "files": {name: len(each) for name, each in files.items()}}


@workflow(webhook=webhook("files", verify=anyone(), wait=20))
async def filed(title: str, page: bytes, pages: int = 0) -> list[Any]:
    return [title, page.hex(), pages]


@workflow(webhook=webhook("slow", verify=anyone()))
async def rest(seconds: float = 3600) -> str:
    await sleep(seconds)
    return "rested"


@workflow(webhook=webhook("broken", verify=anyone(), wait=20))
async def broken() -> None:
    raise ValueError("the password is hunter2")


@workflow(webhook=webhook("wrong", verify=anyone(), arguments=unreadable))
async def wrong() -> None:
    """Its arguments cannot be made."""
