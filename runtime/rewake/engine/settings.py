"""The settings of an engine, with their defaults."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass, field

from rewake.errors import ConfigError
from rewake.keep import DEFAULT, Keep
from rewake.records import Millis
from rewake.tags import Served

LONGEST_WHERE = 18
"""The most characters of the name of a process: a header has little room."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of an engine; durations in ms. Raises `ConfigError` if one is too small."""

    lease: Millis = 5_000
    """How long a claim holds unless renewed. After that, its process is taken for dead."""
    grace: Millis = 4_000
    """How long a dispatched message may take before it counts as lost; at most a lease."""
    sweep: Millis = 1_000
    """The time between two sweeps."""
    horizon: Millis = 2_500
    """How far ahead a sweep asks the due index, so that a timer fires on time."""
    skew: Millis = 250
    """How far the clocks of two processes may differ."""
    tasks: int = 100
    """How many attempts run at once in this process."""
    blocked: Millis = 30_000
    """How long one task, step or body may block the event loop before it is given up."""
    cached: int = 256
    """How many suspended runs stay in memory."""
    strikes: int = 5
    """How many processes in a row may die under a run before it is stuck, if it is to blame."""
    lost: int = 3
    """How many processes in a row may die under a task before it fails, if it is to blame."""
    pauses: bool = False
    """Whether the process stands still while no request is there: it begins nothing by itself."""
    entries: int = 200_000
    """How many entries the history of a run, or of its lap, may have."""
    value: int = 256 * 1024 * 1024
    """How many bytes a value may have."""
    url: str = ""
    """The address of all replicas, under which links live; empty: there are no links."""

    keep: Keep = DEFAULT
    """How long runs are kept once they have ended, where their workflow does not say."""
    events_kept: Millis = 7 * 86_400_000
    """How long events are kept, for waits that are asked for after them."""
    later: Millis = 600_000
    """How long after its end something may still be written that belongs to a run."""
    remembered: Millis = 30 * 86_400_000
    """How long after its end the id of a run, and its key, stay taken."""

    served: Served = field(default_factory=Served)
    """Whether untagged work is taken, and tasks of which tags."""
    where: str = field(default_factory=lambda: f"{_host()}:{os.getpid()}")
    """The process, as it is shown with the attempts that it carried out."""

    @property
    def patience(self) -> Millis:
        """How long a lease that was found to be over may still be renewed: a beat of its holder."""
        return self.lease // 3

    def __post_init__(self) -> None:
        for name in ("lease", "grace", "sweep", "tasks", "blocked"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be 1 or more")
        object.__setattr__(self, "keep", self.keep.after(DEFAULT))
        # A short lease is there to notice a death early, so the check must not come later.
        object.__setattr__(self, "grace", min(self.grace, self.lease))
        object.__setattr__(self, "where", self.where[-LONGEST_WHERE:])


def _host() -> str:
    """The host's own name, without its domain."""
    return socket.gethostname().partition(".")[0]
