"""Rules of this repository that no linter knows."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import rewake

ROOT = Path(__file__).parents[1]
FILES = sorted(
    path.relative_to(ROOT).as_posix()
    for folder in ("runtime", "tests", "examples", "handlers")
    for path in (ROOT / folder).rglob("*.py")
)
TESTS = [file for file in FILES if Path(file).name.startswith("test_")]
LONGEST = 600


@pytest.mark.parametrize("file", TESTS)
def test_every_test_states_its_promise(file: str) -> None:
    """Each test function has a docstring that says what it proves."""
    tree = ast.parse((ROOT / file).read_text())
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    silent = [
        node.name
        for node in tree.body
        if isinstance(node, functions)
        and node.name.startswith("test_")
        and not ast.get_docstring(node)
    ]
    assert not silent


@pytest.mark.parametrize("file", FILES)
def test_no_file_is_too_long(file: str) -> None:
    """A file holds one idea, and can be read without losing one's place."""
    assert len((ROOT / file).read_text().splitlines()) <= LONGEST


def test_the_public_door_is_sorted_and_whole() -> None:
    """`__all__` lists exactly what `rewake` offers, in order."""
    assert sorted(rewake.__all__) == rewake.__all__
    offered = {
        name
        for name, value in vars(rewake).items()
        if not name.startswith("_") and getattr(value, "__module__", "").startswith("rewake")
    }
    assert offered - set(rewake.__all__) == set()
