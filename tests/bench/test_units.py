"""The table of `docs/cost.md` says what operations use, as it is counted now."""

from __future__ import annotations

import re

import pytest

from rewake.stores.metered import READS as READ_UNITS
from rewake.stores.metered import WRITES, MeteredTable
from rewake.views.costs import prices_of
from tests.bench.counted import PROGRAMS
from tests.bench.units import OPERATIONS, READS, SERVER, USES, dollars, measured, used_by
from tests.docs.markdown import ROOT
from tests.support.small_dynamodb import SmallDynamo
from tests.support.small_table import SmallTable
from tests.support.virtual import Bench, virtually

PAGE = (ROOT / "docs" / "cost.md").read_text()
_ROW = re.compile(r"^\| (?P<name>[^|]+) \|(?P<cells>( [\d.,]+ \|)+)$", re.MULTILINE)
TABLE = {
    row["name"]: [float(cell.replace(",", "")) for cell in row["cells"].split("|")[:-1]]
    for row in _ROW.finditer(PAGE)
    if row["cells"].count("|") == len(USES) + 1
}


def test_the_page_has_a_row_of_each() -> None:
    """In their order, and no others."""
    assert list(TABLE) == list(OPERATIONS)


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_uses_what_the_page_says(name: str) -> None:
    """To a twentieth; and its price is that of these units."""
    used = used_by(name)
    *units, price = TABLE[name]
    assert [used.get(use, 0) for use in USES] == pytest.approx(units, rel=0.05, abs=0.06)
    told = dollars(dict(zip(USES, units, strict=True)), prices_of()["dollars per million"])
    assert price == pytest.approx(told, abs=0.02)


@pytest.mark.parametrize(("workflow", "n"), [("sequence", 60), ("fan_out", 200), ("steps", 200)])
def test_the_command_counts_as_dynamodb_would(workflow: str, n: int) -> None:
    """The table of `rewake cost`, in memory, has the write units that DynamoDB bills."""
    metered, small = MeteredTable(), SmallTable(SmallDynamo())

    async def body(bench: Bench) -> None:
        await bench.run(workflow, n=n)

    for table in (metered, small):
        virtually(PROGRAMS, body, table=table)
    assert metered.used[WRITES] == pytest.approx(small.units, rel=0.02)
    assert metered.used[READ_UNITS] == pytest.approx(small.reads, rel=0.1)


def test_an_idle_server_uses_what_the_page_says() -> None:
    """An hour of it, in read units, without any write."""
    found = re.search(r"([\d,]+) read units an hour", PAGE)
    assert found is not None
    used = measured(SERVER, SmallDynamo())
    assert used[READS] == pytest.approx(float(found[1].replace(",", "")), rel=0.05)
    assert {count for name, count in used.items() if name != READS} == {0}
