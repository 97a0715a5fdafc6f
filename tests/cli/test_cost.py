"""`rewake cost`: what a run would cost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rewake.cli.local.cost import bill
from rewake.views.costs import prices_of
from tests.cli.shell import Shell
from tests.engine.test_units import cost as counted

APP = """
from rewake import task, workflow

@task
async def quick(n: int) -> int:
    print("said")
    return n

@workflow
async def main(n: int) -> int:
    for i in range(n):
        await quick(i)
    return n
"""


def test_a_run_is_priced(tmp_path: Path) -> None:
    """By what it used; what its tasks print is not in the answer."""
    shell = Shell(tmp_path)
    shell.write("app.py", APP)
    done = shell.rewake("cost", "app.py", "--input", '{"n": 20}', "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["state"] == "done"
    least = (counted("sequence", 20).units - counted("nothing", 1).units) * 0.8
    assert least <= found["used"]["write units"] <= 20 * 7
    assert found["used"]["message requests"] >= 20 * 3
    assert found["a million runs"] == pytest.approx(sum(found["dollars"].values()) * 1e6)


def test_a_run_that_goes_on_is_not_priced_as_a_whole(tmp_path: Path) -> None:
    """What it has used so far is told, and that this is not all."""
    shell = Shell(tmp_path)
    shell.write(
        "app.py",
        APP.replace("import task", "import sleep, task").replace("quick(i)", "sleep(i + 9)"),
    )
    done = shell.rewake("cost", "app.py", "--input", '{"n": 1}', "--wait", "0.5")
    assert done.returncode == 0, done.stderr
    assert "has not ended in 0.5 s: what it uses from then on is not counted" in done.stderr


def test_every_use_has_a_price() -> None:
    """The prices say when they were, and of where."""
    assert {"date", "where", "source"} <= prices_of().keys()
    assert bill({"write units": 1_000_000})["a million runs"] > 0
