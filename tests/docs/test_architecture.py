"""The map of the architecture is the folders as they are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.markdown import ROOT, blocks_of
from tests.test_house_rules import FLOORS, GROUND, PACKAGE

PAGE = ROOT / "docs" / "architecture.md"
MAP = blocks_of(PAGE)[0].text
ROWS = [line for line in PAGE.read_text().split("\n\n### ")[0].splitlines() if line[:2] == "| "]


def mapped(lines: Iterator[str]) -> Iterator[str]:
    """The modules that a map names, by their paths.

    A line that begins with a folder opens it, inside of the one above if it is indented; one that
    begins with a blank and a name goes on with the folder above.
    """
    room = folder = ""
    for line in lines:
        head, *names = line.partition("#")[0].split() or [""]
        if head.endswith("/"):
            room = room if line.startswith(" ") else head
            folder = head if head == room else room + head
        else:
            folder = folder if line.startswith(" ") else ""
            names = [head, *names] if head else []
        yield from (f"{folder}{name}" for name in names)


def test_the_map_has_each_module_once() -> None:
    """Each module of the package is on the map, in its room, once, and none that there is not."""
    there = {
        path.relative_to(PACKAGE).with_suffix("").as_posix()
        for path in PACKAGE.rglob("*.py")
        if not path.stem.startswith("_")
    }
    found = list(mapped(iter(MAP.splitlines())))

    assert sorted(found) == sorted(there)


def test_the_map_has_each_room_above_what_it_imports() -> None:
    """On the map a room stands above all rooms that it may import, and all above the ground."""
    tops = [name.partition("/")[0] for name in mapped(iter(MAP.splitlines()))]
    place = {room: tops.index(room) for room in [*FLOORS, *GROUND]}

    for room, below in FLOORS.items():
        for each in [*below, *GROUND]:
            assert place[room] < place[each], f"{room} is not above {each}"
    assert sorted(GROUND, key=place.__getitem__, reverse=True) == list(GROUND)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.strip("| ")[:40])
def test_a_row_leads_to_files(row: str) -> None:
    """Where the page says that something is, there is a file or a folder of that name."""
    folder = Path()
    for name in map(Path, re.findall(r"`([\w/]+(?:\.py|/))`", row.rpartition(" | ")[2])):
        folder = folder if name.parent == Path() and not (PACKAGE / name).is_dir() else name.parent
        assert (PACKAGE / folder / name.name).exists(), name


def test_no_row_stands_twice() -> None:
    """Each thing that somebody may look for has one row."""
    begins = [re.split(r";| \|", row.strip("| "))[0] for row in ROWS]

    assert sorted(begins) == sorted(set(begins))
