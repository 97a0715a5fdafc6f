"""Lines of log in a bounded space: those of one attempt, or of the body of one run.

A line that is too long is cut; when the space is used up a notice says so, and no more is kept.
Printed text comes in pieces: a line is kept once it has ended, or is too long. A character that
UTF-8 cannot hold (a lone surrogate, as in the name of a file) is kept as an escape.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from rewake.records import Millis
from rewake.streamed import LogLine
from rewake.values.text import storable

LIMIT = 1024 * 1024
"""Characters that one attempt, or one run's body, may log; a line's end is one."""
LONGEST = 16 * 1024
"""Characters of one line."""
LEVEL = 32
"""Characters of the name of a level."""
BATCH = 64 * 1024
"""Characters of lines that are stored in one item."""

_CUT = f"(cut here: no more than {LIMIT:,} characters of log are kept)"


_ENDS = re.compile(r"\r\n|\n|\r")  # A progress bar ends its line by going back to its beginning.


class _Begun:
    """A line that has not ended, in the pieces in which it came."""

    __slots__ = ("_pieces", "size")

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self.size = 0

    def add(self, piece: str) -> None:
        """Append a piece to the line."""
        if piece:
            self._pieces.append(piece)
            self.size += len(piece)

    def end_with(self, piece: str) -> str:
        """Return the whole line, ended by `piece`, and begin the next one."""
        line = "".join([*self._pieces, piece])
        self._pieces.clear()
        self.size = 0
        return line


class LogLines:
    """A bounded log, which collects lines; `take` gives those that are new."""

    def __init__(self) -> None:
        self._lines: list[LogLine] = []
        self._begun: dict[str, _Begun] = {}
        self._room = LIMIT
        self.empty = True
        """Whether nothing was kept, nor begun."""

    def add(self, at: Millis, level: str, message: str) -> None:
        """Keep a line."""
        if self._room <= 0:
            return
        message = _cut(storable(message))
        self._room -= len(message) + 1
        if self._room <= 0:
            message = _CUT
        self.empty = False
        self._lines.append(LogLine(at, storable(level)[:LEVEL], message))

    def write(self, at: Millis, level: str, text: str) -> None:
        """Keep printed text, line by line."""
        if self._room <= 0:
            return
        self.empty = False
        begun = self._begun.setdefault(level, _Begun())
        *whole, rest = _ENDS.split(text)
        for part in whole:
            self.add(at, level, begun.end_with(part))
        begun.add(rest)
        if begun.size > LONGEST:
            self.add(at, level, begun.end_with(""))

    def take(self, at: Millis, *, over: bool = True) -> list[list[LogLine]]:
        """Take the lines since the last call, in batches. If `over`, a begun line is ended."""
        if self._begun and over:
            for level, begun in self._begun.items():
                if begun.size:
                    self.add(at, level, begun.end_with(""))
            self._begun.clear()
        if not self._lines:
            return []
        taken, self._lines = self._lines, []
        return list(_batches(taken))

    def count(self, lines: Iterable[LogLine]) -> None:
        """Count lines that are kept already against the limit."""
        for line in lines:
            self._room = 0 if line.message == _CUT else self._room - len(line.message) - 1


def _cut(message: str) -> str:
    if len(message) <= LONGEST:
        return message
    return f"{message[:LONGEST]} (and {len(message) - LONGEST:,} characters more)"


def _batches(lines: Iterable[LogLine]) -> Iterator[list[LogLine]]:
    batch: list[LogLine] = []
    size = 0
    for line in lines:
        if batch and size + len(line.message) > BATCH:
            yield batch
            batch, size = [], 0
        batch.append(line)
        size += len(line.message) + 64  # The text that surrounds a message in the store.
    yield batch
