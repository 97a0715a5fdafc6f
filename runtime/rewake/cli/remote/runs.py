"""`rewake start` and `rewake runs ...`: requests to a server."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from rewake.cli.columns import Columns, show_list
from rewake.cli.exits import STATES, Exit, harmless, tell
from rewake.cli.inputs import duration_from, moment_from, the_one
from rewake.cli.output import tell_failure, write_json
from rewake.cli.remote import tables
from rewake.cli.remote.ballots import counted_line
from rewake.cli.remote.client import Client
from rewake.cli.remote.pages import history_of, logs_of
from rewake.client import flows
from rewake.client.flows import Options
from rewake.engine.starts.starting import IfFinished, IfRunning
from rewake.errors import RewakeError, StuckError, UsageError
from rewake.labels import labels_in
from rewake.values.data import encoded

SHOWN_PAGES = 5
"""Pages of a history that are read to show a run."""
_MOST_RECORDS = 20
_PAGE = 200

Call = Callable[[Client], Awaitable[Exit]]


@dataclass(frozen=True, slots=True)
class Server:
    """The server to ask, and whether its answer is printed as JSON."""

    url: str | None = None
    json: bool = False

    def ask(self, call: Call) -> Exit:
        """Do `call` with a client. Raises `RewakeError`."""

        async def work() -> Exit:
            async with Client(self.url) as client:
                return await call(client)

        return asyncio.run(work())


@dataclass(frozen=True, slots=True)
class Again:
    """The idempotency key of a start, what to do if it has a run already, when it begins, and whose
    it is.
    """

    key: str | None = None
    if_running: IfRunning | None = None
    if_finished: IfFinished | None = None
    at: str | None = None
    delay: str | None = None
    tenant: str | None = None
    priority: int | None = None
    labels: str | None = None
    id: str | None = None

    def checked(self) -> Options:
        """The options of the start. Raises `UsageError`, which names the option."""
        if self.id is not None and self.key is not None:
            raise UsageError("give either --id or --key, not both")
        if self.key is not None and not self.key.isprintable():
            raise UsageError("--key must be one line of text")
        found = {"if_running": self.if_running, "if_finished": self.if_finished}
        for name, value in found.items():
            if value is not None and self.key is None and self.id is None:
                raise UsageError(f"--{name.replace('_', '-')} needs --key or --id")
        running, finished = (None if each is None else each.value for each in found.values())
        if self.at is not None and self.delay is not None:
            raise UsageError("give either --at or --delay, not both")
        at = None if self.at is None else moment_from(self.at, "--at")
        delay = None if self.delay is None else duration_from(self.delay, "--delay")
        labels = None if self.labels is None else labels_in(self.labels)
        made = Options(self.id, self.key, running, finished, at, delay, labels=labels)
        return replace(made, tenant=self.tenant, priority=self.priority)


def start(
    server: Server, workflow: str, arguments: dict[str, Any], again: Again, wait: float | None
) -> Exit:
    """Start a run, and perhaps wait for its result."""
    options = again.checked()

    async def call(client: Client) -> Exit:
        body = encoded(arguments)
        answer, _ = await client.do(flows.start(client.manner, workflow, body, options))
        run: str = answer.body["id"]
        if wait is not None:
            tell(f"run {run}")
            return await _result(server, client, run, wait)
        if server.json:
            write_json(answer.body)
        else:
            print(run)
        return Exit.DONE

    return server.ask(call)


def result(server: Server, run: str, wait: float) -> Exit:
    """How a run ended."""
    return server.ask(lambda client: _result(server, client, run, wait))


async def _result(server: Server, client: Client, run: str, wait: float) -> Exit:
    try:
        answer = await client.do(flows.outcome(client.manner, run, wait))
    except StuckError as error:
        if (await client.get("runs", run)).body["state"] == "stuck":
            tell(f"the run is stuck: {error}")
            return Exit.STUCK
        tell(f"the run has ended, and its result cannot be read: {error}")
        return Exit.UNAVAILABLE
    return _show_result(server, answer.body)


def _show_result(server: Server, view: dict[str, Any]) -> Exit:
    if server.json:
        write_json(view)
    elif "result" in view:
        write_json(view["result"])
    elif "error" in view:
        tell_failure(view["state"], view["error"])
    else:
        tell(f"run {view['id']} has not ended, it is {view['state']}")
    return STATES.get(view["state"], Exit.PENDING)


def listing(server: Server, query: Mapping[str, object]) -> Exit:
    """Runs, newest first; `query` says which."""
    is_open = query.get("schedule") is None and query.get("scheduled") is None

    def more(page: dict[str, Any]) -> None:
        found = sum(bool(each.get("schedule")) for each in page["runs"])
        if is_open and 2 * found > len(page["runs"]):
            tell(f"schedules have started {found} of these: --no-scheduled leaves them out")

    return page_of(server, "runs", tables.RUNS, query, more=more)


def page_of(
    server: Server,
    what: str,
    columns: Columns,
    query: Mapping[str, object],
    name: str = "",
    *,
    more: Callable[[dict[str, Any]], None] | None = None,
) -> Exit:
    """A page of a list, and how to ask for the next. `name`: of the items, if not as the path;
    `more`: says what else there is to say of it.
    """

    def show(page: dict[str, Any]) -> None:
        show_list(columns, page[name or what], name or what)
        if page["cursor"]:
            tell(f"more with --cursor {page['cursor']}")
        if unread := page.get("unread"):
            tell(f"the server cannot read what these runs wait for: {', '.join(unread)}")
        if more is not None:
            more(page)

    return _view(server, show, what, query=query)


def whole_list(
    server: Server,
    name: str,
    columns: Columns,
    *path: str,
    most: int | None = None,
    query: Mapping[str, object] | None = None,
) -> Exit:
    """All pages of a list, or the `most` items at its beginning; `name`: of the items."""

    async def call(client: Client) -> Exit:
        found: list[dict[str, Any]] = []
        async for each in client.pages(name, *path, query={"limit": _PAGE, **(query or {})}):
            found.append(each)
            if len(found) == most:
                break
        if server.json:
            write_json({name: found})
        else:
            show_list(columns, found, name)
        return Exit.DONE

    return server.ask(call)


def show(server: Server, run: str) -> Exit:
    """Where a run stands: what runs, what waits and for what, and who decided what."""

    async def call(client: Client) -> Exit:
        found = (await client.get("runs", run)).body
        if server.json:
            write_json(found)
            return Exit.DONE
        told: dict[str, Any] = {}
        with suppress(RewakeError):  # a history that cannot be read hides no state
            told = await history_of(client, run, SHOWN_PAGES)
        records = await _records(client, found, told)
        tables.run_details(found, told, records, await _unread(client, run))
        if told.get("cursor"):
            tell(f"this is its beginning; `rewake runs history {run}` has all of it")
        return Exit.DONE

    return server.ask(call)


async def _unread(client: Client, run: str) -> list[dict[str, Any]]:
    """The signals of a run that nothing has taken; the first of them, if there are many."""
    with suppress(RewakeError):  # what cannot be read hides no state
        query = {"unread": "true", "limit": _PAGE}
        answer = await client.get("runs", run, "signals", query=query)
        return answer.body["signals"]  # type: ignore[no-any-return]
    return []


async def _records(
    client: Client, run: Mapping[str, Any], history: Mapping[str, Any]
) -> dict[str, Any]:
    """What is known of the approvals of a run, by their keys; of the first, if there are many."""
    keys = [each["key"] for each in run.get("approvals") or ()]
    keys += [each["key"] for each in history.get("operations", ()) if each["kind"] == "approval"]
    records = {}
    for key in list(dict.fromkeys(keys))[:_MOST_RECORDS]:
        with suppress(RewakeError):  # what cannot be read hides no state
            records[key] = (await client.get("runs", run["id"], "approvals", key)).body
    return records


def history(server: Server, run: str) -> Exit:
    """The operations of a run, and its retries."""

    def show(found: Mapping[str, Any]) -> None:
        show_list(tables.OPERATIONS, found["operations"], "operations")
        tables.retries(found)

    return _whole(server, show, lambda client: history_of(client, run))


def logs(server: Server, run: str, key: str | None) -> Exit:
    """The lines that a run logged."""

    def show(found: Mapping[str, Any]) -> None:
        if not found["lines"]:
            tell("no lines")
        tables.log_lines(found["lines"])

    return _whole(server, show, lambda client: logs_of(client, run, key))


def _whole(
    server: Server,
    shown: Callable[[dict[str, Any]], None],
    read: Callable[[Client], Awaitable[dict[str, Any]]],
) -> Exit:
    async def call(client: Client) -> Exit:
        (write_json if server.json else shown)(await read(client))
        return Exit.DONE

    return server.ask(call)


def _view(
    server: Server,
    shown: Callable[[dict[str, Any]], None],
    *path: str,
    query: Mapping[str, object] | None = None,
) -> Exit:
    async def call(client: Client) -> Exit:
        found = (await client.get(*path, query=query)).body
        (write_json if server.json else shown)(found)
        return Exit.DONE

    return server.ask(call)


def approve(server: Server, run: str, key: str | None, answer: dict[str, Any]) -> Exit:
    """Decide on an approval."""

    async def call(client: Client) -> Exit:
        chosen = key or await only_approval(client, run)
        found = (await client.post("runs", run, "approvals", chosen, body=answer)).body
        if server.json:
            write_json(found)
        else:
            print(harmless(counted_line(found)))
        return Exit.DONE

    return server.ask(call)


async def only_approval(client: Client, run: str) -> str:
    """The key of the one approval that a run waits for. Raises as `the_one` does."""
    return the_one([each["key"] for each in await open_approvals(client, run)], run)


async def open_approvals(client: Client, run: str) -> list[dict[str, Any]]:
    """The approvals that a run waits for."""
    return (await client.get("runs", run)).body.get("approvals") or []
