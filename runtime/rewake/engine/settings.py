"""What can be set about an engine, with its defaults."""

from __future__ import annotations

from dataclasses import dataclass

from rewake.errors import ConfigError
from rewake.records import Millis


@dataclass(frozen=True, slots=True)
class Settings:
    """All durations are in milliseconds. Raises `ConfigError` for a number that is too small."""

    lease: Millis = 5_000
    """How long a claim holds without being renewed: after that its process is taken for dead."""
    grace: Millis = 4_000
    """How long a dispatched message may take before it counts as lost; at most a lease."""
    sweep: Millis = 1_000
    """How often the due index is asked."""
    horizon: Millis = 2_500
    """How far ahead it is asked, so that a timer fires on time."""
    skew: Millis = 250
    """How far the clocks of two processes may differ."""
    tasks: int = 100
    """How many attempts run at once in this process."""
    cached: int = 256
    """How many suspended runs stay in memory."""
    strikes: int = 5
    """How often a run may kill its process before it is stuck."""
    lost: int = 3
    """How often a task may kill its process before it has failed."""

    def __post_init__(self) -> None:
        for name in ("lease", "grace", "sweep", "tasks"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be 1 or more")
        # A short lease is chosen to notice a death early; the check must not come later.
        object.__setattr__(self, "grace", min(self.grace, self.lease))
