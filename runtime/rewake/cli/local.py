"""Deciding on an approval in the database itself, where no server is running."""

from __future__ import annotations

import asyncio
from pathlib import Path

from rewake.app import App
from rewake.authoring.approval import Approval
from rewake.cli.exits import Exit
from rewake.cli.home import find_secret
from rewake.cli.runs import the_one
from rewake.dispatchers.in_process import InProcessDispatcher
from rewake.engine.clock import SystemClock
from rewake.engine.engine import Engine, open_approvals
from rewake.errors import StoreUnsuitable
from rewake.secret import Secret
from rewake.stores.sqlite import SqliteTable


def approve(db: Path, run: str, key: str | None, approval: Approval) -> Exit:
    """Record the decision; the process that has the run finds it within a second."""
    secret = find_secret()
    if not db.is_file():
        raise StoreUnsuitable(f"there is no database {db}")
    chosen = asyncio.run(_decide(db, secret, run, key, approval))
    print(f"{chosen} of run {run} is {approval.decision}")
    return Exit.DONE


async def _decide(db: Path, secret: Secret, run: str, key: str | None, approval: Approval) -> str:
    # An engine that is never opened: it takes no messages and carries nothing out.
    engine = Engine(App(), SqliteTable(db), InProcessDispatcher(SystemClock()), secret)
    try:
        _, history = await engine.history(run)
        chosen = key or the_one(list(open_approvals(history)), run)
        await engine.decide(run, chosen, approval, carry_on=False)
        return chosen
    finally:
        await engine.close()
