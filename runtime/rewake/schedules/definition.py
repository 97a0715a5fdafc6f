"""What a schedule is made of, whoever says so: code, a request or the command line."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import msgspec

from rewake.access import check_tenant
from rewake.errors import InvalidInput
from rewake.ledger import Schedule
from rewake.records import LATEST, Millis
from rewake.schedules.times import Cron, Every, Times
from rewake.values.nested import json_of

DAY: Millis = 86_400_000
CATCH_UP: Millis = DAY
"""How late a run may be started, if nothing is said."""
LARGEST_INPUT = 16 * 1024
"""The most bytes of the arguments of a schedule."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", re.ASCII)


class Overlap(StrEnum):
    """What is done at a nominal time while the run of an earlier one has not ended.

    `skip`: nothing, and the reason is kept. `queue`: its run is started once that has ended.
    `cancel`: that is asked to cancel, and the newest run is started once it has ended. `allow`:
    its run is started beside it.
    """

    SKIP = "skip"
    QUEUE = "queue"
    CANCEL = "cancel"
    ALLOW = "allow"


@dataclass(frozen=True, slots=True)
class Definition:
    """When runs are started, and how. `name`: empty where it is that of the workflow.

    `jitter` (ms): a run is started up to so much later than its nominal time, by chance that is
    the same for each time. `catch_up` (ms): how late it may be started. `tenant`: whose its runs
    are. Raises `InvalidInput`.
    """

    times: Times
    name: str = ""
    inputs: Mapping[str, Any] = field(default_factory=dict)
    jitter: Millis = 0
    overlap: Overlap = Overlap.SKIP
    catch_up: Millis = CATCH_UP
    paused: bool = False
    tenant: str = ""

    def __post_init__(self) -> None:
        if self.name:
            check_name(self.name)
        check_tenant(self.tenant)
        if not 0 <= self.catch_up <= LATEST:
            raise InvalidInput("catch_up is not negative", field="catch_up")
        if self.jitter < 0:
            raise InvalidInput("jitter is not negative", field="jitter")
        if self.jitter and self.jitter >= (shortest := self.times.shortest()):
            told = f"jitter must be shorter than the time between two runs ({shortest / 1000:g} s)"
            raise InvalidInput(told, field="jitter")
        if len(self.text) > LARGEST_INPUT:
            told = f"the arguments of a schedule have at most {LARGEST_INPUT:,} bytes as JSON"
            raise InvalidInput(told, field="input")

    @property
    def text(self) -> str:
        """The arguments as they are kept. Raises `InvalidInput`."""
        try:
            text = msgspec.json.encode(dict(self.inputs), order="sorted").decode()
        except (TypeError, ValueError, RecursionError, UnicodeEncodeError) as error:
            told = f"the arguments of a schedule are kept as JSON: {error}"
            raise InvalidInput(told, field="input") from None
        return text

    @property
    def digest(self) -> str:
        """What tells whether code says something else than before."""
        said = (str(self.times), self.text, self.jitter, str(self.overlap), self.catch_up)
        whose = (self.tenant,) if self.tenant else ()
        parts = repr((*said, self.paused, getattr(self.times, "start", 0), *whose))
        return hashlib.sha256(parts.encode("utf-8", "surrogatepass")).hexdigest()[:16]

    def changes(self) -> dict[str, Any]:
        """What an item says of it."""
        times, made = self.times, {"cron": "", "tz": "", "period": 0, "start": 0}
        if isinstance(times, Cron):
            made |= {"cron": times.line, "tz": times.zone}
        elif isinstance(times, Every):
            made |= {"period": times.period, "start": times.start}
        made |= {"inputs": self.text, "jitter": self.jitter, "overlap": str(self.overlap)}
        return {**made, "catch_up": self.catch_up}


def check_name(name: str) -> None:
    """Raise `InvalidInput` unless this can be the name of a schedule."""
    if not _NAME.fullmatch(name):
        told = "a schedule's name has 1 to 64 of a-z, A-Z, 0-9 and _.-, a letter or digit first"
        raise InvalidInput(told, field="name")


def overlap_of(text: str) -> Overlap:
    """The policy of this name. Raises `InvalidInput`."""
    try:
        return Overlap(text)
    except ValueError:
        told = f"overlap is one of {', '.join(Overlap)}"
        raise InvalidInput(told, field="overlap") from None


def times_of(schedule: Schedule) -> Times:
    """The moments of a stored schedule."""
    if schedule.cron:
        return Cron(schedule.cron, schedule.tz)
    return Every(schedule.period, schedule.start)


def inputs_of(schedule: Schedule) -> dict[str, Any]:
    """The arguments of each run of a stored schedule."""
    found: dict[str, Any] = json_of(schedule.inputs.encode())
    return found


def definition_of(schedule: Schedule) -> Definition:
    """What a stored schedule is made of."""
    return Definition(
        times_of(schedule),
        schedule.name,
        inputs_of(schedule),
        schedule.jitter,
        Overlap(schedule.overlap),
        schedule.catch_up,
        tenant=schedule.tenant,
    )


def run_of_moment(schedule: Schedule, moment: Millis) -> str:
    """The id of the run of a nominal time: one for ever, whoever starts it."""
    return f"{schedule.name}:{times_of(schedule).name(moment)}"


def due_of(schedule: Schedule, moment: Millis) -> Millis:
    """When the run of a nominal time is to be started: later by its jitter."""
    if not schedule.jitter:
        return moment
    chance = hashlib.sha256(f"{schedule.name}\0{moment}".encode()).digest()[:8]
    return moment + int.from_bytes(chance, "big") % (schedule.jitter + 1)
