"""`rewake cache list|clear`: results of tasks that are cached."""

from __future__ import annotations

from rewake.cli.columns import Columns, when
from rewake.cli.exits import Exit, tell
from rewake.cli.output import write_json
from rewake.cli.remote.client import Client
from rewake.cli.remote.runs import Server, whole_list

RESULTS: Columns = (
    ("TASK", lambda found: found["task"]),
    ("CALL", lambda found: found["key"]),
    ("FROM RUN", lambda found: found["run"] or ""),
    ("UNTIL", lambda found: "" if found["until"] is None else when(found["until"])),
    (
        "BEING MADE BY",
        lambda found: "{run} {key}".format(**found["maker"]) if found["maker"] else "",
    ),
)


def listing(server: Server) -> Exit:
    """A line for each result."""
    return whole_list(server, "results", RESULTS, "cache")


def clear(server: Server, task: str | None) -> Exit:
    """Clear page by page, and say how many went."""

    async def call(client: Client) -> Exit:
        cleared, cursor = 0, None
        while True:
            query = {"cursor": cursor}
            page = (await client.post("cache", "clear", body={"task": task}, query=query)).body
            cleared += page["cleared"]
            if (cursor := page["cursor"]) is None:
                break
        if server.json:
            write_json({"cleared": cleared})
        else:
            tell(f"{cleared} cleared")
        return Exit.DONE

    return server.ask(call)
