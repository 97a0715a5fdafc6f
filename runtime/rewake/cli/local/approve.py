"""Deciding on an approval in the database itself, where no server is running."""

from __future__ import annotations

import asyncio

from rewake.access import Scope
from rewake.app import App
from rewake.authoring.approval import Approval
from rewake.cli.exits import Exit
from rewake.cli.home import find_secret
from rewake.cli.inputs import the_one
from rewake.cli.local.auditing import write_done
from rewake.clock import SystemClock
from rewake.dispatchers.in_process import InProcessDispatcher
from rewake.engine.engine import Engine
from rewake.engine.outside.approvals import Approvals, open_approvals
from rewake.hosts.databases import Address, open_existing
from rewake.signing.secret import Secret
from rewake.spelled import key_meant


def approve(db: Address, run: str, key: str | None, approval: Approval) -> Exit:
    """Record the decision; the process that has the run finds it within a second."""
    secret = find_secret()
    chosen = asyncio.run(_decide(db, secret, run, key, approval))
    print(f"{chosen} of run {run} is {approval.decision}")
    return Exit.DONE


async def _decide(
    db: Address, secret: Secret, run: str, key: str | None, approval: Approval
) -> str:
    # An engine that is never opened: it takes no messages and carries nothing out.
    table, shelf = open_existing(db)
    engine = Engine(App(), table, InProcessDispatcher(SystemClock()), secret, shelf=shelf)
    try:
        _, history = await engine.history(run)
        chosen = key_meant(key or the_one(list(open_approvals(history)), run))
        await Approvals(engine).decide(run, chosen, approval, carry_on=False)
        audit = engine.services.store.audit
        await write_done(audit, Scope.DECIDE, "approval.decide", run=run, about=chosen)
        return chosen
    finally:
        await engine.close()
