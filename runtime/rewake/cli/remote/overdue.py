"""`rewake runs overdue`: runs that should have moved and did not."""

from __future__ import annotations

from rewake.cli.columns import Columns, show_list, tell_more, when
from rewake.cli.exits import Exit, tell
from rewake.cli.output import write_json
from rewake.cli.remote.client import Client
from rewake.cli.remote.runs import Server
from rewake.spelled import spelled

LATE: Columns = (
    ("RUN", lambda late: late["run"]),
    ("WORKFLOW", lambda late: late["workflow"]),
    ("OPERATION", lambda late: spelled(late["operation"] or "")),
    ("SINCE", lambda late: when(late["since"])),
    ("WHY", lambda late: late["reason"]["code"]),
    ("THEN", lambda late: late["reason"]["command"]),
)


def listing(server: Server, limit: int) -> Exit:
    """A line for each of them; of each kind, what to mend."""

    async def call(client: Client) -> Exit:
        found = (await client.get("overdue", query={"limit": limit})).body
        if server.json:
            write_json(found)
            return Exit.DONE
        runs = found["runs"]
        show_list(LATE, runs, "runs are overdue")
        for code, fix in {each["reason"]["code"]: each["reason"]["fix"] for each in runs}.items():
            tell(f"{code}: {fix}")
        if found["more"]:
            tell_more(limit)
        return Exit.DONE

    return server.ask(call)
