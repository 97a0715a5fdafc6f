"""What a server answers in pages, put together."""

from __future__ import annotations

from typing import Any

from rewake.cli.remote.client import Client
from rewake.views.whole import told


async def history_of(client: Client, run: str, most: int | None = None) -> dict[str, Any]:
    """The history of a run; with `most`, at most so many pages of it, and then its `cursor`."""
    whole = await _page(client, run, "history")
    operations = {each["key"]: each for each in whole["operations"]}
    count = 1
    while whole["cursor"] and count != most:
        page = await _page(client, run, "history", whole["cursor"])
        whole["entries"] += page["entries"]
        operations |= {each["key"]: each for each in page["operations"]}
        for changed in page["changed"]:  # the last word on an operation stands
            # A step that runs and is in no history yet has begun since that was written.
            begun = {"kind": "step", "asked": page["run"]["updated"], "attempts": 1}
            operations[changed["key"]] = told(operations.get(changed["key"], begun), changed)
        whole |= {name: page[name] for name in ("run", "cursor", "position")}
        count += 1
    return {**whole, "operations": list(operations.values()), "changed": []}


async def logs_of(client: Client, run: str, key: str | None) -> dict[str, Any]:
    """All lines that a run logged, in the order of time."""
    whole = await _page(client, run, "logs", key=key)
    while whole["cursor"]:
        page = await _page(client, run, "logs", whole["cursor"], key=key)
        whole["lines"] += page["lines"]
        whole["cursor"] = page["cursor"]
    whole["lines"].sort(key=lambda line: line["at"])
    return whole


async def _page(
    client: Client, run: str, part: str, after: str | None = None, **query: object
) -> dict[str, Any]:
    found: dict[str, Any] = (
        await client.get("runs", run, part, query={**query, "after": after})
    ).body
    return found
