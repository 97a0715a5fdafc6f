"""The how-to's table of what a form can ask is so."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from rewake.pages import parse

HOW_TO = (Path(__file__).parents[2] / "docs/how-to/approvals.md").read_text()
ROWS = re.findall(r"^\| `(\{.*?\})`[^|]*\| [^|]+ \| `(.*?)` \| `(.*?)` \|$", HOW_TO, re.MULTILINE)


@pytest.mark.parametrize(("schema", "typed", "answer"), ROWS)
def test_what_is_typed_is_what_the_how_to_says(schema: str, typed: str, answer: str) -> None:
    """Each row: a field of this schema, with this typed into it, is this in the answer."""
    form = {"type": "object", "properties": {"x": json.loads(schema)}, "required": ["x"]}
    assert parse(form, {"value.x": [typed]}) == ({"x": json.loads(answer)}, {})


def test_the_table_is_found() -> None:
    """All of its rows are tried."""
    assert len(ROWS) == 17
