"""`rewake runs cancel|kill|pause|…`: of one run, or of all that the options name."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from rewake.cli.exits import Exit, tell
from rewake.cli.output import write_json
from rewake.cli.remote.client import Client
from rewake.cli.remote.runs import Server
from rewake.client import flows
from rewake.clock import SystemClock
from rewake.errors import InvalidInput, RewakeError, RunError, Throttled, UsageError
from rewake.kin import AN_ID, is_id

_SAID = {
    "cancel": "is asked to cancel",
    "kill": "is killed",
    "pause": "is asked to pause",
    "resume": "goes on",
    "retry": "goes on",
    "rerun": "is begun",
    "fork": "is begun",
    "hold": "is held: it is not removed",
    "unhold": "is held no more",
    "erase": "is erased",
}
_WOULD = "would be {}"
_PAST = {
    "cancel": "cancelled",
    "kill": "killed",
    "pause": "paused",
    "resume": "resumed",
    "retry": "retried",
    "rerun": "started anew",
    "fork": "forked",
    "hold": "held",
    "unhold": "held no more",
    "erase": "erased",
}
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_MAKES = ("rerun", "fork")
"""What makes another run."""
_LONGEST_BATCH = 64
_PAGE = 200
_MANY = "--state, --workflow, --since, --label or --tenant"
LIVE = ("ready", "running", "suspended", "delayed")
_NOT_OVER = (*LIVE, "paused", "stuck")


@dataclass(frozen=True, slots=True)
class Selection:
    """What a command means: one run, or many. `since`: started then or later.

    `dry_run`: only name them, and what would be refused. `acts_on`: the states that are meant
    where no state is given.
    """

    run: str | None = None
    state: str | None = None
    workflow: str | None = None
    since: str | None = None
    label: str | None = None
    tenant: str | None = None
    dry_run: bool = False
    acts_on: Sequence[str] = _NOT_OVER

    def check(self) -> None:
        """Raise `UsageError` unless either a run or an option names what is meant."""
        options = (self.state, self.workflow, self.since, self.label, self.tenant)
        named = any(each is not None for each in options)
        if self.run is not None and named:
            raise UsageError(f"give either a RUN, or {_MANY}")
        if self.run is None and not named:
            raise UsageError(f"give a RUN, or name many by {_MANY}")

    async def runs(self, client: Client) -> AsyncIterator[dict[str, Any]]:
        """The runs, newest first; without a state, those on which the command acts."""
        query: dict[str, object] = {"workflow": self.workflow, "limit": _PAGE}
        query |= {"state": self.state or ",".join(self.acts_on)}
        query |= {"label": self.label, "tenant": self.tenant}
        query["since"] = moment_of(self.since)  # the server looks at none that is older
        async for run in client.pages("runs", "runs", query=query):
            yield run


@dataclass(frozen=True, slots=True)
class Batch:
    """Runs that are made of many others: their ids follow from its name, so that none comes twice.

    Raises `UsageError` if they cannot be made of it.
    """

    name: str

    def __post_init__(self) -> None:
        if not is_id(self.name) or len(self.name) > _LONGEST_BATCH:
            raise UsageError(f"--batch is {AN_ID}; and has at most {_LONGEST_BATCH} of them")

    def id_for(self, run: str) -> str:
        """The id of what is made of a run."""
        return f"{self.name}-{hashlib.sha256(run.encode()).hexdigest()[:26]}"

    def has(self, run: str) -> bool:
        """Whether a run was made in it."""
        return re.fullmatch(f"{re.escape(self.name)}-[0-9a-f]{{26}}", run) is not None


def act(
    server: Server, chosen: Selection, action: str, batch: str | None = None, **given: object
) -> Exit:
    """Do `action`, with what is given for it, to the run or to each of the many.

    Of many, each has a line; `FAILED`: one was refused. `batch`: the name of that which makes a run
    of each of many. Raises `UsageError`.
    """
    chosen.check()
    if chosen.run is not None and batch is not None:
        raise UsageError("--batch is for many runs")
    body = {name: value for name, value in given.items() if value is not None}
    if chosen.run is not None:
        if chosen.dry_run:
            body["dry_run"] = True
        return _act_on_one(server, chosen.run, action, body)
    made = Batch(secrets.token_hex(4) if batch is None else batch) if action in _MAKES else None
    return _act_on_many(server, chosen, action, body, made)


def _act_on_one(server: Server, run: str, action: str, body: Mapping[str, object]) -> Exit:
    async def call(client: Client) -> Exit:
        found = await _asked(client, run, action, body)
        if server.json:
            write_json(found)
        else:
            said = _WOULD.format(_PAST[action]) if body.get("dry_run") else _SAID[action]
            print(f"run {found['id']} {said}")
        return Exit.DONE

    return server.ask(call)


async def _asked(
    client: Client, run: str, action: str, body: Mapping[str, object], id: str | None = None
) -> Mapping[str, Any]:
    """Do it to one run; what makes another one has an id, so that it may be asked for again."""
    if action in _MAKES:
        return await client.do(flows.begun(client.manner, run, action, id, body))
    found: Mapping[str, Any] = (await client.post("runs", run, action, body=body)).body
    return found


def _act_on_many(
    server: Server,
    chosen: Selection,
    action: str,
    body: Mapping[str, object],
    batch: Batch | None,
) -> Exit:
    async def call(client: Client) -> Exit:
        done = _Done(server, action, chosen.dry_run)
        if batch is not None and not chosen.dry_run:
            tell(f"should this be interrupted, go on with the same and --batch {batch.name}")
        runs = [run async for run in chosen.runs(client)]
        try:
            for run in runs:
                asked = {**body, "dry_run": True} if chosen.dry_run else body
                if action == "cancel" and run["cancel"] is not None:
                    done.pass_over(run)  # asked again, it would cancel its cleanup
                    continue
                if batch is not None and batch.has(run["id"]):
                    continue  # it has failed since the first time
                made = None if batch is None else batch.id_for(run["id"])
                try:
                    found = await _asked(client, run["id"], action, asked, made)
                except (RunError, InvalidInput, Throttled) as refused:
                    done.refuse(run, refused)
                else:
                    done.add(found)
        finally:  # what was done is told, also if the server then goes away
            done.tell()
        return Exit.FAILED if done.refused else Exit.DONE

    return server.ask(call)


class _Done:
    """What came of an action on many runs: a line each at once, or in the end one document."""

    def __init__(self, server: Server, action: str, dry_run: bool) -> None:
        self._json = server.json
        self._action = action
        self._dry_run = dry_run
        self._runs: list[Mapping[str, Any]] = []
        self._passed = 0
        self.refused: list[Mapping[str, Any]] = []

    def add(self, run: Mapping[str, Any]) -> None:
        """Note a run to which it was done, or in a dry run would be."""
        self._runs.append(run)
        if not self._json:
            told = _WOULD.format(_PAST[self._action]) if self._dry_run else self._action
            print(f"{run['id']} {run['workflow']} {run['state']}: {told}")

    def pass_over(self, run: Mapping[str, Any]) -> None:
        """Note a run to which it is done already."""
        self._passed += 1
        if not self._json:
            tell(f"{run['id']} {run['workflow']} {_SAID[self._action]} already")

    def refuse(self, run: Mapping[str, Any], error: RewakeError) -> None:
        """Note a run to which it cannot be done."""
        names = {name: run[name] for name in ("id", "workflow", "state")}
        self.refused.append({**names, "error": str(error)})
        if not self._json:
            tell(f"{run['id']} {run['workflow']}: {error}")

    def tell(self) -> None:
        """Write the document, if one is wanted."""
        if self._json:
            about = {"action": self._action, "dry_run": self._dry_run}
            write_json({**about, "runs": self._runs, "refused": self.refused})
        elif not (self._runs or self._passed or self.refused):
            tell(f"no run to {self._action}")


def moment_of(since: str | None, option: str = "--since") -> str | None:
    """What an option says, a moment or how long ago it was, for a query. Raises `UsageError`."""
    if since is None:
        return None
    ago = re.fullmatch(r"(\d{1,6})([smhd])", since)
    try:
        if ago is not None:
            now = datetime.fromtimestamp(SystemClock().now() / 1000, UTC)
            return (now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})).isoformat()
        return datetime.fromisoformat(since).astimezone(UTC).isoformat()
    except (ValueError, OverflowError):
        raise UsageError(f"{option} is 30m, 2h, 7d, or a time such as 2026-01-31T12:00") from None
