"""`rewake tables`: making and checking a database, by its address."""

from __future__ import annotations

import asyncio
import os

from rewake.cli.exits import Exit
from rewake.cli.home import database
from rewake.errors import StoreUnsuitable
from rewake.hosts.archives import wrong_with_archive
from rewake.hosts.databases import check_database, create_database


def create(db: str | None) -> Exit:
    """Make what is missing, and say what that was. Raises `ConfigError`, `StoreError`."""
    address = database(db)
    made = asyncio.run(create_database(address))
    for each in made:
        print(f"made {each}")
    if not made:
        print(f"nothing is missing of {address}")
    return Exit.DONE


def check(db: str | None) -> Exit:
    """Say what does not fit, of the archive too if there is one; none at all fits nothing.

    Raises `ConfigError`, `StoreError`.
    """
    address = database(db)
    try:
        wrong = asyncio.run(check_database(address))
    except StoreUnsuitable as error:
        wrong = [str(error)]
    if archive := os.environ.get("REWAKE_ARCHIVE", ""):
        wrong += asyncio.run(wrong_with_archive(archive, address.blobs))
    for each in wrong:
        print(each)
    if not wrong:
        print(f"{address} fits{', and so does the archive' if archive else ''}")
    return Exit.FAILED if wrong else Exit.DONE
