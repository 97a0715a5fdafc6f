"""`rewake schedules` on a server."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rewake.cli.columns import Columns, when
from rewake.cli.exits import Exit, harmless, tell
from rewake.cli.lines import duration
from rewake.cli.output import write_json
from rewake.cli.remote.acting import moment_of
from rewake.cli.remote.client import Client
from rewake.cli.remote.runs import Server, page_of
from rewake.errors import UsageError

_PAGE = 200
_DONE = {"pause": "is paused", "resume": "starts runs again"}
View = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Chosen:
    """What a command means: one schedule, all of a workflow, or all."""

    name: str | None
    workflow: str | None
    all: bool

    def check(self) -> None:
        """Raise `UsageError` unless it means one thing."""
        if (self.name is not None) + (self.workflow is not None) + self.all != 1:
            raise UsageError("give a NAME, or --workflow, or --all")


def listing(url: str | None, json: bool, query: Mapping[str, object]) -> Exit:
    """Schedules, by name."""
    return page_of(Server(url, json), "schedules", _SCHEDULES, query)


def show(url: str | None, json: bool, name: str) -> Exit:
    """One schedule."""

    async def call(client: Client) -> Exit:
        found = (await client.get("schedules", name)).body
        write_json(found) if json else _show(found)
        return Exit.DONE

    return Server(url, json).ask(call)


def create(url: str | None, json: bool, body: Mapping[str, object]) -> Exit:
    """Make one."""
    return _post(url, json, (), body, lambda found: f"schedule {found['name']}: {_next(found)}")


def change(url: str | None, json: bool, name: str, body: Mapping[str, object]) -> Exit:
    """Let one be made of something else."""
    return _post(url, json, (name,), body, lambda found: f"schedule {name}: {_next(found)}")


def trigger(url: str | None, json: bool, name: str, id: str | None) -> Exit:
    """Start a run of one."""
    body = {} if id is None else {"id": id}
    return _post(url, json, (name, "trigger"), body, lambda found: str(found["id"]))


def act(
    url: str | None, json: bool, chosen: Chosen, action: str, body: Mapping[str, object]
) -> Exit:
    """Pause or resume one, or many."""
    chosen.check()

    async def call(client: Client) -> Exit:
        names = [chosen.name] if chosen.name is not None else await _names(client, chosen)
        done = []
        try:
            for name in names:
                done.append((await client.post("schedules", name, action, body=body)).body)
                if not json:
                    print(f"schedule {name} {_DONE[action]}{_then(done[-1])}")
        finally:
            if json:
                write_json(done[0] if chosen.name is not None and done else {"schedules": done})
        if not names:
            tell("there is no schedule of that workflow" if chosen.workflow else "there is none")
        return Exit.DONE

    return Server(url, json).ask(call)


async def _names(client: Client, chosen: Chosen) -> list[str]:
    query = {"workflow": chosen.workflow, "limit": _PAGE}
    pages = client.pages("schedules", "schedules", query=query)
    return [found["name"] async for found in pages]


def backfill(
    url: str | None,
    json: bool,
    name: str,
    span: tuple[str, str | None],
    *,
    queue: bool,
    dry_run: bool,
) -> Exit:
    """Start the runs of times of the past."""
    since, until = moment_of(span[0]), moment_of(span[1], "--until")
    body: dict[str, object] = {"since": since, "queue": queue, "dry_run": dry_run}
    if until is not None:  # else the server's now, which this machine's may be ahead of
        body["until"] = until

    def told(found: View) -> str:
        if dry_run:
            return "\n".join(f"{when(each['at'])}  {each['run']}" for each in found["times"])
        return f"schedule {name}: {found['count']} runs are started"

    return _post(url, json, (name, "backfill"), body, told)


def upcoming(url: str | None, json: bool, name: str, count: int) -> Exit:
    """The next times of one."""

    async def call(client: Client) -> Exit:
        found = (await client.get("schedules", name, "next", query={"count": count})).body
        if json:
            write_json(found)
        else:
            for each in found["times"]:
                print(f"{when(each['at'])}  {each['local']}")
        return Exit.DONE

    return Server(url, json).ask(call)


def delete(url: str | None, json: bool, name: str) -> Exit:
    """Remove one."""

    async def call(client: Client) -> Exit:
        found = (await client.delete("schedules", name)).body
        write_json(found) if json else print(f"schedule {name} is deleted")
        if found["code"]:
            tell("it is declared in code: take it out there too, or the next start makes it anew")
        return Exit.DONE

    return Server(url, json).ask(call)


def _post(
    url: str | None,
    json: bool,
    path: Sequence[str],
    body: Mapping[str, object],
    told: Callable[[View], str],
) -> Exit:
    async def call(client: Client) -> Exit:
        found = (await client.post("schedules", *path, body=body)).body
        write_json(found) if json else print(told(found))
        return Exit.DONE

    return Server(url, json).ask(call)


def _became(found: View) -> str:
    """What its newest moment came to: a run, or why there is none."""
    last = found["became"][-1] if found["became"] else {}
    return last.get("run") or last.get("why") or ""


def _next_moment(found: View) -> str:
    return when(found["next"]) if found["next"] and found["state"] != "paused" else ""


def _times(found: View) -> str:
    if found["cron"]:
        return f"{found['cron']} {found['tz']}"
    return f"every {found['every']:g} s"


_SCHEDULES: Columns = (
    ("NAME", lambda found: found["name"]),
    ("WORKFLOW", lambda found: found["workflow"]),
    ("TIMES", _times),
    ("STATE", lambda found: found["state"]),
    ("NEXT", _next_moment),
    ("LAST", _became),
)


def _next(found: View) -> str:
    paused = found["state"] == "paused"
    return f"next at {_coming(found)}" if found["next"] and not paused else _coming(found)


def _then(found: View) -> str:
    return "" if found["state"] == "paused" else f": {_next(found)}"


def _coming(found: View) -> str:
    if found["state"] == "paused":
        return "paused"
    return when(found["next"]) if found["next"] else "it has no time left"


def _show(found: View) -> None:
    lines = {
        "schedule": found["name"],
        "workflow": found["workflow"] + ("" if found["served"] else " (not on this server)"),
        "times": _times(found),
        "state": found["state"] + (f": {found['note']}" if found["note"] else ""),
        "waits": found["trouble"] or "",
        "next": _coming(found),
        "jitter": f"{found['jitter']:g} s" if found["jitter"] else "",
        "overlap": found["overlap"],
        "catch up": duration(round(found["catch_up"] * 1000)),
        "from": "code" if found["code"] else "a request",
        "changed by": found["by"] or "",
        "so far": f"{found['started']} started, {found['skipped']} skipped",
    }
    for name, text in lines.items():
        if text:
            print(harmless(f"{name:<11}{text}"))
    for each in found["backfills"]:
        print(f"backfill   from {when(each['next'])} until {when(each['until'])}")
    for each in found["became"]:
        print(harmless(f"  {when(each['at'])}  {each.get('run') or each.get('why')}"))
