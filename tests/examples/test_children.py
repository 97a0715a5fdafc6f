"""The examples of child runs do what they say, live and on replay."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from examples import monthly_bills
from tests.support.virtual import Bench, Ended, virtually

MEMBERS = [each for each in vars(monthly_bills).values() if hasattr(each, "policy")]
ALL: list[Any] = [*MEMBERS, monthly_bills.bill, monthly_bills.month]


@pytest.mark.parametrize("cached", [256, 0])
def test_a_bill_that_fails_holds_up_no_other(cached: int) -> None:
    """Each customer's bill is a run; what could not be sent says why, and its draft is gone."""

    async def body(bench: Bench) -> None:
        found = await bench.run("month", customers=["ann", "bob", "eve"])
        said = "not sent: eve has ordered nothing"
        assert found == {"ann": 200, "bob": 15, "eve": said}
        assert set() == monthly_bills.OPEN

    monthly_bills.OPEN.clear()
    virtually(ALL, body, cached=cached)


@pytest.mark.parametrize("cached", [256, 0])
def test_a_month_that_is_cancelled_takes_all_drafts_back(cached: int) -> None:
    """The parent has ended once each child has cleaned up."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("month", customers=["ann", "bob"], wait=100)).run
        await asyncio.sleep(5)
        assert {"ann", "bob"} == monthly_bills.OPEN
        await bench.engine.cancel(run)
        with pytest.raises(Ended):
            await bench.result(run)
        assert set() == monthly_bills.OPEN

    monthly_bills.OPEN.clear()
    virtually(ALL, body, cached=cached)
