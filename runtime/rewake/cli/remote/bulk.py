"""`rewake runs cancel|kill|resume` of many runs at once: those that the options name."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from rewake.cli.exits import Exit, tell
from rewake.cli.remote.client import Client
from rewake.cli.remote.runs import Server
from rewake.clock import SystemClock
from rewake.errors import RunConflict, UsageError

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_PAGE = 200
_OVER = ("done", "failed", "cancelled")


@dataclass(frozen=True, slots=True)
class Selection:
    """The runs that a command means. `since`: started then or later. `dry_run`: only name them."""

    state: str | None = None
    workflow: str | None = None
    since: str | None = None
    dry_run: bool = False

    def check(self, run: str | None) -> None:
        """Raise `UsageError` unless either a run or an option names what is meant."""
        named = (self.state, self.workflow, self.since) != (None, None, None)
        if run is not None and (named or self.dry_run):
            raise UsageError("give either a RUN, or --state, --workflow and --since")
        if run is None and not named:
            raise UsageError("give a RUN, or name many by --state, --workflow or --since")

    async def runs(self, client: Client) -> AsyncIterator[dict[str, Any]]:
        """The runs, newest first; without a state, those that have not ended."""
        since, cursor = _moment(self.since), None
        query = {"workflow": self.workflow, "state": self.state, "limit": _PAGE}
        while True:
            page = (await client.get("runs", query={**query, "cursor": cursor})).body
            for run in page["runs"]:
                if since is not None and datetime.fromisoformat(run["created"]) < since:
                    return
                if self.state is not None or run["state"] not in _OVER:
                    yield run
            cursor = page["cursor"]
            if cursor is None:
                return


def act(server: Server, chosen: Selection, action: str, body: dict[str, Any]) -> Exit:
    """Do `action` to every run of the selection, one line each. `FAILED`: one was refused."""

    async def call(client: Client) -> Exit:
        code = Exit.DONE
        runs = [run async for run in chosen.runs(client)]
        for run in runs:
            if chosen.dry_run:
                print(f"{run['id']} {run['workflow']} {run['state']}: would {action}")
                continue
            try:
                found = (await client.post("runs", run["id"], action, body=body)).body
            except RunConflict as refused:
                tell(f"{run['id']} {run['workflow']}: {refused}")
                code = Exit.FAILED
            else:
                print(f"{run['id']} {run['workflow']} {found['state']}: {action}")
        return code

    return server.ask(call)


def _moment(since: str | None) -> datetime | None:
    """A moment, given as such or as how long ago it was. Raises `UsageError`."""
    if since is None:
        return None
    ago = re.fullmatch(r"(\d{1,6})([smhd])", since)
    if ago is not None:
        now = datetime.fromtimestamp(SystemClock().now() / 1000, UTC)
        return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    try:
        return datetime.fromisoformat(since).astimezone()
    except (ValueError, OverflowError):
        raise UsageError("--since is 30m, 2h, 7d, or a time such as 2026-01-31T12:00") from None
