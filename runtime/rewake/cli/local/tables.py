"""`rewake tables`: making and checking a database, by its address."""

from __future__ import annotations

import asyncio

from rewake.cli.exits import Exit
from rewake.cli.home import database
from rewake.errors import StoreUnsuitable
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
    """Say what does not fit; none at all fits nothing. Raises `ConfigError`, `StoreError`."""
    address = database(db)
    try:
        wrong = asyncio.run(check_database(address))
    except StoreUnsuitable as error:
        wrong = [str(error)]
    for each in wrong:
        print(each)
    if not wrong:
        print(f"{address} fits")
    return Exit.FAILED if wrong else Exit.DONE
