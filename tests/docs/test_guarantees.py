"""Every guarantee names tests that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/guarantees.md").read_text()
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", TEXT)))


def names_in(file: str) -> set[str]:
    """The names of the functions in a file."""
    tree = ast.parse((ROOT / file).read_text())
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in ast.walk(tree) if isinstance(node, functions)}


@pytest.mark.parametrize(("file", "test"), NAMED)
def test_a_guarantee_is_tested(file: str, test: str) -> None:
    """The test that a guarantee names is there."""
    assert test in names_in(file)


PROMISED = TEXT.split("## What this assumes")[0]


def test_guarantees_are_counted() -> None:
    """Their numbers are 1, 2, 3 and so on, so that one can be spoken of."""
    numbers = [int(each) for each in re.findall(r"^(\d+)\. ", PROMISED, flags=re.MULTILINE)]

    assert numbers == list(range(1, len(numbers) + 1))


def test_every_guarantee_names_one() -> None:
    """No numbered sentence stands without a test or a measurement."""
    for sentence in re.split(r"^\d+\. ", PROMISED, flags=re.MULTILINE)[1:]:
        assert "`tests/" in sentence, sentence
