"""`rewake runs erase|purge|export`: what becomes of runs that have ended."""

from __future__ import annotations

import gzip
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from rewake.cli.exits import Exit, tell
from rewake.cli.output import write_json
from rewake.cli.remote.client import Client
from rewake.cli.remote.pages import history_of, logs_of
from rewake.cli.remote.runs import Server
from rewake.errors import RunConflict, RunNotFound, StuckError


def erase(
    server: Server,
    runs: Sequence[str],
    about: Mapping[str, str | None],
    *,
    dry_run: bool,
) -> Exit:
    """Erase these runs, or those of a key. `FAILED`: one was refused, and the others are erased.

    `about`: the `key`, of which `workflow` and `tenant`.
    """

    async def call(client: Client) -> Exit:
        chosen, refused, done = list(runs), False, list[Mapping[str, Any]]()
        if about["key"] is not None:
            query = {**about, "limit": 200}
            chosen = [each["id"] async for each in client.pages("runs", "runs", query=query)]
        for run in chosen:
            try:
                found = (await client.post("runs", run, "erase", body={"dry_run": dry_run})).body
            except (RunConflict, RunNotFound) as error:
                refused = True
                tell(f"{run}: {error}")
                continue
            done.append(found)
            if not server.json:
                print(f"run {run} {'would be' if dry_run else 'is'} erased")
        if server.json:
            write_json({"runs": done, "dry_run": dry_run})
        elif not chosen:
            tell("no run to erase")
        return Exit.FAILED if refused else Exit.DONE

    return server.ask(call)


def purge(server: Server, body: Mapping[str, Any]) -> Exit:
    """Purge page by page, and say how many went."""

    async def call(client: Client) -> Exit:
        runs, held, cursor = list[Mapping[str, Any]](), list[Mapping[str, Any]](), None
        while True:
            page = (await client.post("purge", body=body, query={"cursor": cursor})).body
            runs += page["runs"]
            held += page["held"]
            cursor = page["cursor"]
            if cursor is None:
                break
        if server.json:
            write_json({"runs": runs, "held": held, "dry_run": body["dry_run"]})
            return Exit.DONE
        for run in runs if body["dry_run"] else ():
            print(f"{run['id']} {run['workflow']} {run['state']}: would be removed")
        said = "would be removed" if body["dry_run"] else "removed"
        tell(f"{len(runs)} {said}" + (f", {len(held)} held" if held else ""))
        return Exit.DONE

    return server.ask(call)


def export(server: Server, run: str, output: Path | None) -> Exit:
    """Write all that is shown of a run: how it stands, its history, its logs."""

    async def call(client: Client) -> Exit:
        whole = await told_of(client, run)
        if output is None:
            write_json(whole)
            return Exit.DONE
        with _written(output) as file:
            file.write(msgspec.json.encode(whole))
        return Exit.DONE

    return server.ask(call)


def export_all(server: Server, tenant: str, output: Path | None) -> Exit:
    """Write the same of each run of a tenant, its children among them, a line each.

    `STUCK`: some cannot be read, which are named, and all others are written.
    """

    async def call(client: Client) -> Exit:
        number, unread = 0, 0
        with _written(output) if output is not None else nullcontext() as file:
            query = {"tenant": tenant, "children": "true", "limit": 200}
            async for each in client.pages("runs", "runs", query=query):
                try:
                    whole = await told_of(client, each["id"])
                except RunNotFound:
                    continue  # it was removed meanwhile
                except StuckError as error:
                    unread += 1
                    tell(f"{each['id']} cannot be read: {error}")
                    continue
                number += 1
                if file is None:
                    write_json(whole)
                else:
                    file.write(msgspec.json.encode(whole) + b"\n")
        more = f", {unread} cannot be read" if unread else ""
        tell(f"{number} of {tenant} exported{more}")
        return Exit.STUCK if unread else Exit.DONE

    return server.ask(call)


async def told_of(client: Client, run: str) -> Mapping[str, Any]:
    """All that is shown of a run."""
    history, logs = await history_of(client, run), await logs_of(client, run, None)
    return {
        "run": (await client.get("runs", run)).body,
        "entries": history["entries"],
        "operations": history["operations"],
        "lines": logs["lines"],
    }


@contextmanager
def _written(path: Path) -> Iterator[gzip.GzipFile | BinaryIO]:
    """A file to write, which is there whole or not at all, for its owner only."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            if path.suffix == ".gz":
                with gzip.GzipFile("", "wb", fileobj=file, mtime=0) as packed:
                    yield packed
            else:
                yield file
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
