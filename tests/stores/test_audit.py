"""The audit log is one list over several series, none of which can push out another."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from rewake.access import Scope
from rewake.ledger import Audited
from rewake.stores.audit import Audit, Wanted
from rewake.stores.series import Bounds
from rewake.stores.table import Table
from tests.support.tables import every_table


async def again(call: Callable[[], Awaitable[Any]]) -> Any:
    return await call()


def audit_of(table: Table, items: int = 100) -> Audit:
    return Audit(table, again, Bounds(items, 10**9))


async def written(audit: Audit, number: int) -> None:
    """Entries of all kinds, one at each moment."""
    for at in range(number):
        scope = (Scope.START, Scope.DECIDE, Scope.OPERATE, Scope.ADMIN)[at % 4]
        who = ("token:a", "token:b", "")[at % 3]
        status = 202 if who and at % 5 else 403
        await audit.append(Audited(at, who, "act", status, run=f"r{at % 2}"), scope)


@every_table
async def test_all_series_are_read_as_one(table: Table) -> None:
    """Pages of any size, one after another, have each entry once, newest first."""
    audit = audit_of(table)
    await written(audit, 30)
    for limit in (1, 4, 7, 30):
        found, cursor = list[int](), None
        while True:
            page = await audit.page(Wanted(), limit=limit, cursor=cursor)
            found += [each.at for each in page.entries]
            cursor = page.cursor
            if cursor is None:
                break
        assert found == list(range(29, -1, -1))


@every_table
async def test_what_is_wanted(table: Table) -> None:
    """Entries are chosen by who, run and moment."""
    audit = audit_of(table)
    await written(audit, 30)
    mine = await audit.page(Wanted(who="token:a", run="r0", since=7), limit=100)
    assert [each.at for each in mine.entries] == [24, 18, 12]
    strangers = await audit.page(Wanted(who="", since=25), limit=100)
    assert [each.at for each in strangers.entries] == [29, 26]


@every_table
async def test_what_was_written_by_other_clocks(table: Table) -> None:
    """What was done since a moment is found also behind what a clock that is late, or was set back,
    says is older; and nothing else is.
    """
    audit, hour = audit_of(table), 3_600_000
    for at in (5 * hour, 2, 7 * hour, 6 * hour + 3, 7 * hour - 1, 6 * hour + 1):
        await audit.append(Audited(at, "token:a", "act", 202), Scope.START)
    found, cursor = list[int](), None
    while True:
        page = await audit.page(Wanted(since=6 * hour + 2), limit=1, cursor=cursor)
        found += [each.at for each in page.entries]
        cursor = page.cursor
        if cursor is None:
            break
    assert found == [7 * hour - 1, 6 * hour + 3, 7 * hour]


@every_table
async def test_what_is_frequent_pushes_out_nothing_else(table: Table) -> None:
    """Neither a million starts nor any number of refusals removes what an admin did."""
    audit = audit_of(table, items=3)
    await audit.append(Audited(0, "bootstrap", "token.create", 201), Scope.ADMIN)
    await audit.append(Audited(1, "token:a", "token.create", 403), Scope.ADMIN)
    for at in range(2, 20):
        await audit.append(Audited(at, "token:a", "run.start", 202), Scope.START)
        await audit.append(Audited(at, "", "token.create", 401), Scope.ADMIN)
    while await audit.trim(20, 2):
        pass
    page = await audit.page(Wanted(), limit=100)
    assert [each.at for each in page.entries] == [19, 19, 18, 18, 17, 17, 1, 0]


@every_table
async def test_a_cursor_that_is_none(table: Table) -> None:
    """What was never a cursor is refused."""
    audit = audit_of(table)
    for cursor in ("", "x", "1.2", "1.2.3.4.5.6.-7", "1.2.3.4.5.6.7.8", "9" * 5000):
        with pytest.raises(ValueError, match="no cursor"):
            await audit.page(Wanted(), limit=1, cursor=cursor)
