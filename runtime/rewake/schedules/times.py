"""The moments that a schedule means: a cron line in a time zone, or every so long.

A cron line has five fields (minute, hour, day of the month, month, day of the week), or six with
seconds before them; cronsim reads it. Where both days are given, either of them matches; where one
of them begins with a star, both must. Moments are instants that strictly rise, in whole seconds.

**Where the clocks change**, this is the policy, which is that of Debian's cron:

- A line that names hours (`30 2 * * *`, `0 9-17 * * *`) means each local time once. A time that the
  clocks skip is due as soon as they have: 02:30 at 03:00, once for all that is skipped there. A
  time that comes twice is due the first time.
- A line that means every hour (its hours are `*`, or come to all 24) means real time: it is due
  as often as its minutes come round, so an hour that comes twice counts twice, and one that is
  skipped not at all.
- What is skipped of three hours or more is no change of the clocks but of the calendar, such as the
  day that Samoa did without in 2011. It was never there, and nothing of it is due.

`every` counts real time from a moment on; no change of the clocks touches it.

The *name* of a moment is the local time, and a mark if it is the second of two alike: so
each name means one moment of its schedule, and each moment has one name.
"""

from __future__ import annotations

import functools
import zoneinfo
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from itertools import pairwise
from typing import Protocol

from cronsim import CronSim, CronSimError

from rewake.errors import InvalidInput
from rewake.records import LATEST, Millis

CALENDAR = timedelta(hours=3)
"""What is skipped of this length or more is a change of the calendar."""
SHORTEST: Millis = 1_000
"""The shortest period of `every`, and the step of all moments."""
LONGEST: Millis = 10 * 366 * 86_400_000
"""The longest period of `every`."""
SAMPLE = 200
"""So many moments are looked at to find the shortest distance between two of a cron line."""
LONGEST_LINE = 200
"""The most characters of a cron line."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NEVER = datetime(2000, 1, 1)  # noqa: DTZ001 - local times are naive throughout


class Times(Protocol):
    """The moments of a schedule."""

    def after(self, moment: Millis) -> Millis | None:
        """The first moment later than this one; None: there is none any more."""
        ...

    def name(self, moment: Millis) -> str:
        """What a moment of it is called."""
        ...

    def shortest(self) -> Millis:
        """The shortest distance of two moments that follow each other, as far as it is known."""
        ...

    def __str__(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Cron:
    """A cron line in a time zone. Made by `cron_times`, which checks it."""

    line: str
    zone: str

    def __str__(self) -> str:
        return f"{self.line} ({self.zone})"

    def after(self, moment: Millis) -> Millis | None:
        """The first moment later than this one."""
        place, start = zone_of(self.zone), _datetime(moment)
        try:
            find = _after_in_real_time if _is_hourly(self.line) else _after_of_local_times
            found = find(self.line, place, start)
        except (OverflowError, ValueError):  # behind the year 9999
            return None
        return None if found is None or _millis(found) > LATEST else _millis(found)

    def name(self, moment: Millis) -> str:
        """The local time, and `-2` if it is the second of two alike."""
        local = _datetime(moment).astimezone(zone_of(self.zone))
        seconds = "%Y-%m-%dT%H:%M:%S" if local.second else "%Y-%m-%dT%H:%M"
        return local.strftime(seconds) + ("-2" if local.fold else "")

    def shortest(self) -> Millis:
        """The shortest distance of the next moments that follow each other."""
        found = list(_many(self, 1_700_000_000_000, SAMPLE))
        return min((later - sooner for sooner, later in pairwise(found)), default=LATEST)


@dataclass(frozen=True, slots=True)
class Every:
    """Each so many milliseconds, counted from `start` on, before which there is none."""

    period: Millis
    start: Millis = 0

    def __str__(self) -> str:
        return f"every {timedelta(milliseconds=self.period)}"

    def after(self, moment: Millis) -> Millis | None:
        """The first moment later than this one."""
        behind = moment - self.start
        found = self.start + max(0, behind // self.period + 1) * self.period
        return found if found <= LATEST else None

    def name(self, moment: Millis) -> str:
        """The moment in UTC, with milliseconds where it has some."""
        found = _datetime(moment)
        millis = f".{moment % 1000:03d}" if moment % 1000 else ""
        return f"{found:%Y-%m-%dT%H:%M:%S}{millis}Z"

    def shortest(self) -> Millis:
        """Its period."""
        return self.period


def cron_times(line: str, zone: str) -> Cron:
    """The moments of a cron line in a zone. Raises `InvalidInput`, also if there is none ever."""
    if not (line.isascii() and len(line) <= LONGEST_LINE):
        told = f"a cron line is a text of five fields, of at most {LONGEST_LINE} characters"
        raise InvalidInput(told, field="cron")
    line = " ".join(line.split())
    zone_of(zone)
    try:
        next(CronSim(line, _NEVER))
    except CronSimError as error:
        told = "minute, hour, day of the month, month, day of the week (such as 0 9 * * mon-fri)"
        raise InvalidInput(
            f"{line!r} is no cron line: {error}; it has {told}", field="cron"
        ) from None
    except (StopIteration, RuntimeError, ValueError, OverflowError, AssertionError):
        raise InvalidInput(
            f"the cron line {line!r} means no day that there is", field="cron"
        ) from None
    return Cron(line, zone)


def every_times(period: Millis, start: Millis = 0) -> Every:
    """The moments of each so many milliseconds. Raises `InvalidInput`."""
    if not SHORTEST <= period <= LONGEST:
        told = "every= is at least one second, and at most ten years"
        raise InvalidInput(told, field="every")
    if not 0 <= start <= LATEST:
        raise InvalidInput("start= is a moment between 1970 and 9999", field="start")
    return Every(period, start)


@functools.cache
def zone_of(name: str) -> tzinfo:
    """The time zone of this name. Raises `InvalidInput`."""
    try:
        if name == "UTC":
            return timezone.utc  # noqa: UP017 - mypy knows this one as a tzinfo
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError, TypeError, AttributeError):
        told = f"there is no time zone {str(name)[:60]!r}: take one such as Europe/Zurich or UTC"
        raise InvalidInput(told, field="tz") from None


def many(times: Times, after: Millis, until: Millis, most: int) -> list[Millis]:
    """The first moments later than `after` and earlier than `until`, at most so many."""
    found: list[Millis] = []
    for moment in _many(times, after, most):
        if moment >= until:
            break
        found.append(moment)
    return found


def _many(times: Times, after: Millis, most: int) -> Iterator[Millis]:
    moment: Millis | None = after
    for _ in range(most):
        moment = times.after(moment) if moment is not None else None
        if moment is None:
            return
        yield moment


# --- cron lines --------------------------------------------------------------------------------


@functools.lru_cache(maxsize=1024)
def _is_hourly(line: str) -> bool:
    """Whether a line means every hour of the days that it means, and so real time."""
    return len(CronSim(line, _NEVER).hours) == 24


def _matches(line: str, local: datetime) -> Iterator[datetime]:
    """The local times later than this one that a line names, as if no clock ever changed."""
    return iter(CronSim(line, local))


def _after_of_local_times(line: str, place: tzinfo, start: datetime) -> datetime | None:
    """The first moment behind `start` of a line that means each local time once."""
    for local in _matches(line, _local(start, place)):
        found = _moment_of(local, place)
        if found is not None and found > start:
            return found
    return None


def _moment_of(local: datetime, place: tzinfo) -> datetime | None:
    """When this local time is due; None: it was never there."""
    found = local.replace(tzinfo=place).astimezone(UTC)  # of two alike, the first
    if _local(found, place) == local:
        return found
    before, after = (local.replace(tzinfo=place, fold=fold).utcoffset() for fold in (0, 1))
    assert before is not None
    assert after is not None
    if after - before >= CALENDAR:
        return None
    # The two readings of a time that is skipped lie around the change.
    return _change_between(local - after, local - before, place)


def _after_in_real_time(line: str, place: tzinfo, start: datetime) -> datetime | None:
    """The first moment behind `start` at which a clock there shows what a line names."""
    shown, at = _local(start, place), start
    while (found := next(_matches(line, shown), None)) is not None:
        moment = (found - _offset(at, place)).replace(tzinfo=UTC)
        change = _first_change(at, moment, place)
        if change is None:
            return moment
        # The clocks show something else from there on, at that moment too.
        shown, at = _local(change, place) - timedelta(seconds=1), change
    return None


def _first_change(start: datetime, until: datetime, place: tzinfo) -> datetime | None:
    """The first moment behind `start`, up to `until`, at which the offset is another one."""
    step, at = timedelta(days=7), start
    while at < until:
        upto = min(until, at + step)
        if _offset(upto, place) != _offset(at, place):
            return _change_between(at.replace(tzinfo=None), upto.replace(tzinfo=None), place)
        at = upto
    return None


def _change_between(sooner: datetime, later: datetime, place: tzinfo) -> datetime:
    """The moment at which the offset changes between these two, both in UTC, to the second."""
    low, high = sooner.replace(tzinfo=UTC), later.replace(tzinfo=UTC)
    before = _offset(low, place)
    while high - low > timedelta(seconds=1):
        middle = low + timedelta(seconds=int((high - low).total_seconds()) // 2)
        low, high = (middle, high) if _offset(middle, place) == before else (low, middle)
    return high


def _offset(moment: datetime, place: tzinfo) -> timedelta:
    found = moment.astimezone(place).utcoffset()
    return found if found is not None else timedelta()


def _local(moment: datetime, place: tzinfo) -> datetime:
    """What a clock there shows at a moment."""
    return moment.astimezone(place).replace(tzinfo=None, fold=0)


def _datetime(moment: Millis) -> datetime:
    """The moment, to the second: cron knows no less."""
    return _EPOCH + timedelta(seconds=moment // 1000)


def _millis(moment: datetime) -> Millis:
    return (moment - _EPOCH) // timedelta(milliseconds=1)
