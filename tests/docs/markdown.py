"""The code blocks of a Markdown page, and its links."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("**/*.md")),
]

_FENCE = re.compile(
    r"^(?P<indent> *)```(?P<info>[^\n`]*)\n(?P<text>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL
)
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\((?P<target>[^)\s]+)\)")
_HEADING = re.compile(r"^#+ +(?P<title>.+?) *#*$", re.MULTILINE)
_NAMED = re.compile(r"# (?P<name>[\w-]+\.py)\n")


@dataclass(frozen=True)
class Block:
    """A code block: its language, what else its first line says, its text, its line."""

    page: Path
    line: int
    language: str
    info: str
    text: str

    @property
    def name(self) -> str | None:
        """The file that it is, if its first line is a comment with a file name."""
        found = _NAMED.match(self.text)
        return found["name"] if found else None

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks_of(page: Path) -> list[Block]:
    """The code blocks, in order."""
    whole = page.read_text()
    found = []
    for match in _FENCE.finditer(whole):
        language, _, info = match["info"].strip().partition(" ")
        line = whole.count("\n", 0, match.start()) + 1
        text = re.sub(f"^{match['indent']}", "", match["text"], flags=re.MULTILINE)
        found.append(Block(page, line, language, info, text))
    return found


def prose_of(page: Path) -> str:
    """The page without its code blocks."""
    return _FENCE.sub("", page.read_text())


def links_of(page: Path) -> Iterator[str]:
    """Where the links of a page go."""
    for match in _LINK.finditer(prose_of(page)):
        yield match["target"]


def anchors_of(page: Path) -> set[str]:
    """The anchors of its headings, as GitHub makes them."""
    return {
        re.sub(r"[^\w\- ]", "", match["title"].lower()).replace(" ", "-")
        for match in _HEADING.finditer(prose_of(page))
    }
