"""`rewake state` on a server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rewake.cli.exits import Exit, tell
from rewake.cli.output import harmless, write_json
from rewake.cli.remote.client import Client
from rewake.cli.remote.runs import Server, page_of
from rewake.cli.tokens import print_columns
from rewake.client.states import AsyncStates

_HEADS = ("NAME", "KEY", "VERSION", "HELD BY", "WAITING")
View = Mapping[str, Any]


def listing(url: str | None, json: bool, query: Mapping[str, object]) -> Exit:
    """Keyed states, by name and key."""
    return page_of(Server(url, json), "state", _table, query, "states")


def get(url: str | None, json: bool, name: str, key: str, tenant: str | None) -> Exit:
    """The value of one."""

    async def call(client: Client) -> Exit:
        found = await AsyncStates(client).get(name, key, tenant=tenant)
        write_json(found if json else found["value"])
        return Exit.DONE

    return Server(url, json).ask(call)


def write(
    url: str | None,
    json: bool,
    place: tuple[str, str],
    value: object,
    version: int | None,
    tenant: str | None,
) -> Exit:
    """Write one."""

    async def call(client: Client) -> Exit:
        found = await AsyncStates(client).write(*place, value, version=version, tenant=tenant)
        if json:
            write_json(found)
        else:
            tell(f"state {harmless('/'.join(place))} is of version {found['version']}")
        return Exit.DONE

    return Server(url, json).ask(call)


def remove(url: str | None, json: bool, name: str, key: str, tenant: str | None) -> Exit:
    """Remove one."""

    async def call(client: Client) -> Exit:
        await AsyncStates(client).remove(name, key, tenant=tenant)
        if not json:
            tell(f"state {harmless(f'{name}/{key}')} is removed")
        return Exit.DONE

    return Server(url, json).ask(call)


def _table(found: Sequence[View]) -> None:
    if found:
        print_columns(_HEADS, [_cells(each) for each in found])


def _cells(state: View) -> Sequence[str]:
    waiting, version = str(state["waiting"] or ""), str(state["version"])
    return state["name"], harmless(state["key"]), version, state["held_by"] or "", waiting
