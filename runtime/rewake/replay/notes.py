"""What a body says of its run to whoever looks at it: its status, its progress, its labels.

The body observes none of it, so it is no part of the history: a replay says it all again, and only
what is said after that is new. The commit that comes next writes it into the run's header.
"""

from __future__ import annotations

from typing import Any


class Notes:
    """What one instance has said so far. `changed`: some of it is in no header yet."""

    __slots__ = ("changed", "labels", "relabelled", "shown")

    def __init__(self) -> None:
        self.shown: dict[str, Any] = {}
        """`status`, and `progress` as done and total."""
        self.labels: dict[str, str] = {}
        """The labels of the run, as far as its history and its body say."""
        self.changed = self.relabelled = False

    def show(self, name: str, value: Any, *, new: bool) -> None:
        """Say something of this name. `new`: it was not said before this instance was replayed."""
        self.shown[name] = value
        self.changed = self.changed or new

    def label(self, labels: dict[str, str], *, new: bool) -> None:
        """Say which labels the run has."""
        self.labels = labels
        self.changed = self.changed or new
        self.relabelled = self.relabelled or new

    def committed(self) -> None:
        """Note that all of it is in the header."""
        self.changed = self.relabelled = False
