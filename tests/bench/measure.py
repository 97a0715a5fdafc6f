"""What a measurement is: samples, and the state of the machine in which each was taken."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from enum import StrEnum

import msgspec

COMMIT = 0.25
"""Milliseconds: the commit of the machine that the goals were set on."""


_UNSTEADY = 1.5
_BUSY = 0.25


class Scale(StrEnum):
    """What a goal is relative to."""

    FIXED = "fixed"
    COMMITS = "commits"
    DISK = "disk"


class Goal(msgspec.Struct, frozen=True):
    """A bound: at most `limit`, or with `least` at least that.

    With `COMMITS` the limit counts commits of this machine; with `DISK` it was set on one whose
    commit takes `COMMIT`, and is loosened for a slower one (never tightened).
    """

    limit: float
    scale: Scale = Scale.FIXED
    least: bool = False

    def bound(self, commit: float) -> float:
        """The limit where a commit takes this many milliseconds."""
        slower = max(1.0, commit / COMMIT)
        match self.scale:
            case Scale.COMMITS:
                return self.limit * commit
            case Scale.DISK:
                return self.limit / slower if self.least else self.limit * slower
            case Scale.FIXED:
                return self.limit

    def met(self, value: float, commit: float) -> bool:
        """Whether a measured value is within the bound."""
        bound = self.bound(commit)
        return value >= bound if self.least else value <= bound


class Sample(msgspec.Struct, frozen=True):
    """One repetition: its value, and what the machine was like.

    `before` and `after` are its commits in milliseconds, `background` the share of all cores that
    others used just before.
    """

    value: float
    before: float
    after: float
    background: float

    @property
    def commit(self) -> float:
        """A commit at that time, in milliseconds."""
        return (self.before + self.after) / 2


class Row(msgspec.Struct):
    """All repetitions of one measurement."""

    workload: str
    name: str
    unit: str
    goal: Goal | None = None
    kind: str = ""
    samples: list[Sample] = []

    @property
    def value(self) -> float:
        """The median."""
        return statistics.median(sample.value for sample in self.samples)

    @property
    def commit(self) -> float:
        """The median of the commits measured beside it, in milliseconds."""
        return statistics.median(sample.commit for sample in self.samples)

    @property
    def steady(self) -> bool:
        """Whether the machine was idle, and its disk as fast after each sample as before it."""
        return self.background < _BUSY and all(
            max(each.before, each.after) < _UNSTEADY * min(each.before, each.after)
            for each in self.samples
        )

    @property
    def background(self) -> float:
        """The most that others used."""
        return max(sample.background for sample in self.samples)


def percentile(values: Sequence[float], percent: float) -> float:
    """The value below which `percent` of the values lie, interpolated."""
    ordered = sorted(values)
    place = (len(ordered) - 1) * percent / 100
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)
