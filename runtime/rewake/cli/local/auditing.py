"""Entries of the audit log for what the command line does in the database itself."""

from __future__ import annotations

import getpass

from rewake.access import Scope
from rewake.cli.exits import complain
from rewake.clock import SystemClock
from rewake.errors import StoreError
from rewake.ledger import Audited
from rewake.stores.audit import Audit


def me() -> str:
    """Who this is, as the audit log names whoever can open the database itself."""
    try:
        return f"local:{getpass.getuser()}"
    except (OSError, KeyError):
        return "local:"


async def write_done(audit: Audit, scope: Scope, action: str, *, run: str = "", about: str) -> None:
    """Write that something was done. It stays done, also where that cannot be written."""
    entry = Audited(SystemClock().now(), me(), action, 200, run, about)
    try:
        await audit.append(entry, scope)
    except StoreError as error:
        complain(f"it is done, but the audit log could not be written: {error}")
