"""The examples of child runs do what they say, replayed after each commit."""

from __future__ import annotations

import pytest

from examples import monthly_bills
from rewake.errors import TaskError
from rewake.testing import Environment


@pytest.fixture(autouse=True)
def fresh() -> None:
    """No bill is open."""
    monthly_bills.OPEN.clear()


def test_a_bill_that_fails_holds_up_no_other() -> None:
    """Each customer's bill is a run; what could not be sent says why, and its draft is gone."""
    with Environment(monthly_bills) as server:
        found = server.start(monthly_bills.month, ["ann", "bob", "eve"]).result()
        said = "not sent: eve has ordered nothing"
        assert found == {"ann": 200, "bob": 15, "eve": said}
        assert set() == monthly_bills.OPEN


def test_a_month_that_is_cancelled_takes_all_drafts_back() -> None:
    """The parent has ended once each child has cleaned up."""
    with Environment(monthly_bills) as server:
        run = server.start(monthly_bills.month, ["ann", "bob"], wait=100)
        server.advance(5)
        assert {"ann", "bob"} == monthly_bills.OPEN
        run.cancel()
        with pytest.raises(TaskError, match="cancelled"):
            run.result()
        assert set() == monthly_bills.OPEN
