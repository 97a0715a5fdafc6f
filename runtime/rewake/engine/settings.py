"""What can be set about an engine, with its defaults."""

from __future__ import annotations

from dataclasses import dataclass

from rewake.errors import ConfigError
from rewake.records import Millis


@dataclass(frozen=True, slots=True)
class Settings:
    """All durations in milliseconds.

    `lease`: how long a holder keeps a run or task without renewing it; a dead process is noticed
    after that. `grace`: how long a dispatched message may take before it counts as lost; no longer
    than a lease.
    `sweep`: how often the due index is asked. `horizon`: how far ahead it is asked, so that a
    timer fires on time. `skew`: how far the clocks of two processes may differ. `tasks`: how many
    attempts run at once in this process. `cached`: how many suspended runs stay in memory.
    `strikes`: how often a run may kill its process before it is stuck; `lost`: how often a task
    may, before it has failed.
    """

    lease: Millis = 5_000
    grace: Millis = 4_000
    sweep: Millis = 1_000
    horizon: Millis = 2_500
    skew: Millis = 250
    tasks: int = 100
    cached: int = 256
    strikes: int = 5
    lost: int = 3

    def __post_init__(self) -> None:
        for name in ("lease", "grace", "sweep", "tasks"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be 1 or more")
        # A short lease is chosen to notice a death early; the look must not come later.
        object.__setattr__(self, "grace", min(self.grace, self.lease))
