"""`rewake runs overdue`: runs that should have moved and did not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rewake.cli.exits import Exit, tell
from rewake.cli.output import write_json
from rewake.cli.remote.client import Client
from rewake.cli.remote.runs import Server
from rewake.cli.tokens import print_columns, when

_HEADS = ("RUN", "WORKFLOW", "OPERATION", "SINCE", "WHY", "THEN")


def listing(server: Server, limit: int) -> Exit:
    """A line for each of them; of each kind, what to mend."""

    async def call(client: Client) -> Exit:
        found = (await client.get("overdue", query={"limit": limit})).body
        if server.json:
            write_json(found)
            return Exit.DONE
        runs = found["runs"]
        if runs:
            print_columns(_HEADS, [_cells(each) for each in runs])
        for code, fix in {each["reason"]["code"]: each["reason"]["fix"] for each in runs}.items():
            tell(f"{code}: {fix}")
        if found["more"]:
            tell(f"there may be more: --limit {2 * limit}")
        return Exit.DONE

    return server.ask(call)


def _cells(late: Mapping[str, Any]) -> list[str]:
    reason, since = late["reason"], when(late["since"])
    operation = late["operation"] or ""
    return [late["run"], late["workflow"], operation, since, reason["code"], reason["command"]]
