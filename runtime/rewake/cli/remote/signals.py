"""`rewake runs signal`, `signal-or-start`, `signals`: what runs are sent, and what they answer."""

from __future__ import annotations

from typing import Any, NamedTuple

from rewake.cli.exits import Exit, tell
from rewake.cli.output import write_json
from rewake.cli.remote import tables
from rewake.cli.remote.client import Client
from rewake.cli.remote.runs import Server, whole_list
from rewake.client import flows
from rewake.errors import NotYet, UpdateRejected


def send(server: Server, run: str, name: str, value: Any, id: str | None, wait: float) -> Exit:
    """Send a signal; with `wait`, print what it is answered."""

    async def call(client: Client) -> Exit:
        view = await client.do(flows.signalled(client.manner, run, name, value, id))
        _tell_if_unread(view)
        return await _sent(server, client, view, "id", wait)

    return server.ask(call)


class First(NamedTuple):
    """The run of a key, or what one is started with."""

    workflow: str
    key: str
    input: dict[str, Any]
    tenant: str | None


def send_or_start(
    server: Server, first: First, name: str, value: Any, id: str | None, wait: float
) -> Exit:
    """Send a signal to the run of a key; with `wait`, print what it is answered, else the run."""
    body = {"value": value, "input": first.input}

    async def call(client: Client) -> Exit:
        asked = flows.signalled_or_started(
            client.manner, first.key, name, first.workflow, body, id, first.tenant
        )
        view = await client.do(asked)
        _tell_if_unread(view)
        if wait:
            tell(f"run {view['run']}")
        return await _sent(server, client, view, "run", wait)

    return server.ask(call)


def _tell_if_unread(view: flows.View) -> None:
    """Say that nobody waits for a signal yet, and what is waited for: it may be mistyped."""
    if (names := view.get("waits_for")) is not None:
        instead = f"it waits for: {', '.join(names)}" if names else "it waits for no signal now"
        tell(f"it is kept; the run does not wait for {view['name']} yet ({instead})")


async def _sent(server: Server, client: Client, view: flows.View, shown: str, wait: float) -> Exit:
    """Print a part of what was sent; with `wait`, what it is answered."""
    if wait:
        return await _answer(client, view, wait)
    if server.json:
        write_json(view)
    else:
        print(view[shown])
    return Exit.DONE


async def _answer(client: Client, view: flows.View, wait: float) -> Exit:
    """Print what an update is answered."""
    tell(f"signal {view['id']}")
    try:
        write_json(await client.do(flows.answered(client.manner, view["run"], view["id"], wait)))
    except UpdateRejected as rejected:
        tell(f"rejected: {rejected.reason}")
        return Exit.FAILED
    except NotYet as error:
        tell(str(error))
        return Exit.PENDING
    return Exit.DONE


def listing(server: Server, run: str, *, unread: bool) -> Exit:
    """What a run was sent, in the order of sending; `unread`: and its body has not taken."""
    query = {"unread": "true" if unread else None}
    path = ("runs", run, "signals")
    return whole_list(server, "signals", tables.SIGNALS, *path, query=query)
