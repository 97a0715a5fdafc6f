"""`rewake runs signal`, `signal-or-start`, `signals`: what runs are sent, and what they answer."""

from __future__ import annotations

from typing import Any, NamedTuple

from rewake.cli.exits import Exit, tell
from rewake.cli.output import write_json
from rewake.cli.remote import tables
from rewake.cli.remote.client import Client
from rewake.cli.remote.runs import Server
from rewake.client import flows
from rewake.errors import NotYet, UpdateRejected


def send(server: Server, run: str, name: str, value: Any, id: str | None, wait: float) -> Exit:
    """Send a signal; with `wait`, print what it is answered."""

    async def call(client: Client) -> Exit:
        view = await client.do(flows.signalled(client.manner, run, name, value, id))
        if wait:
            return await _answer(client, view, wait)
        if server.json:
            write_json(view)
        else:
            print(view["id"])
        return Exit.DONE

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
        if wait:
            tell(f"run {view['run']}")
            return await _answer(client, view, wait)
        if server.json:
            write_json(view)
        else:
            print(view["run"])
        return Exit.DONE

    return server.ask(call)


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


def listing(server: Server, run: str) -> Exit:
    """What a run was sent, in the order of sending."""

    async def call(client: Client) -> Exit:
        found = [each async for each in client.pages("signals", "runs", run, "signals")]
        if server.json:
            write_json(found)
        else:
            tables.signals_table(found)
        return Exit.DONE

    return server.ask(call)
