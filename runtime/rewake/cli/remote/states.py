"""`rewake state` on a server."""

from __future__ import annotations

from collections.abc import Mapping

from rewake.cli.columns import Columns
from rewake.cli.exits import Exit, tell
from rewake.cli.output import write_json
from rewake.cli.remote.client import Client
from rewake.cli.remote.runs import Server, page_of
from rewake.client.states import AsyncStates

_STATES: Columns = (
    ("NAME", lambda state: state["name"]),
    ("KEY", lambda state: state["key"]),
    ("VERSION", lambda state: str(state["version"])),
    ("HELD BY", lambda state: state["held_by"] or ""),
    ("WAITING", lambda state: str(state["waiting"] or "")),
)


def listing(url: str | None, json: bool, query: Mapping[str, object]) -> Exit:
    """Keyed states, by name and key."""
    return page_of(Server(url, json), "state", _STATES, query, "states")


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
            tell(f"state {'/'.join(place)} is of version {found['version']}")
        return Exit.DONE

    return Server(url, json).ask(call)


def remove(url: str | None, json: bool, name: str, key: str, tenant: str | None) -> Exit:
    """Remove one."""

    async def call(client: Client) -> Exit:
        await AsyncStates(client).remove(name, key, tenant=tenant)
        if not json:
            tell(f"state {name}/{key} is removed")
        return Exit.DONE

    return Server(url, json).ask(call)
