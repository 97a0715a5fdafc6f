"""Every attack that the page on security tells of is tried by a test that exists."""

from __future__ import annotations

import re

import pytest

from tests.docs.markdown import ROOT
from tests.docs.test_guarantees import names_in

TEXT = (ROOT / "docs/security.md").read_text()
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", TEXT)))


@pytest.mark.parametrize(("file", "test"), NAMED)
def test_an_attack_is_tried(file: str, test: str) -> None:
    """The test that a row names is there."""
    assert test in names_in(file)


def test_every_row_names_one() -> None:
    """No attack stands in a table without the test that tries it, in the last of three cells."""
    rows = [line for line in TEXT.splitlines() if line.startswith("| ") and "---" not in line]
    assert rows
    for row in rows:
        cells = row.strip("|").split(" | ")
        assert len(cells) == 3, row
        assert "`tests/" in cells[2] or row.startswith(("| what is tried", "| border")), row


def test_each_section_stands_once() -> None:
    """No two sections have one name, and the list at the top has all of them, in order."""
    sections = re.findall(r"^## (.*)$", TEXT, flags=re.MULTILINE)

    assert re.findall(r"^- \[(.*)\]\(#", TEXT, flags=re.MULTILINE) == sections
    assert len(sections) == len(set(sections))
