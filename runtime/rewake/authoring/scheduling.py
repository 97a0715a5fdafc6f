"""`cron` and `every`: when runs of a workflow are started; `scheduled_at`: for which time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypedDict, Unpack

from rewake.authoring.policy import Seconds, millis
from rewake.authoring.quorum import setting
from rewake.errors import AppError, InvalidInput
from rewake.records import Millis
from rewake.replay.execution import current
from rewake.schedules.definition import CATCH_UP, Definition, Overlap, check_name, overlap_of
from rewake.schedules.times import Times, cron_times, every_times

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class ScheduleOptions(TypedDict, total=False):
    """What `cron` and `every` take. Durations are seconds, or a `timedelta`.

    `input`: the arguments of each run, by name; what JSON can hold. `name`: what the schedule is
    called, by default as its workflow. `jitter`: each run is started up to so much later, by chance
    that is the same for each time. `overlap`: what is done while the run before has not ended:
    `skip` (the default), `queue`, `cancel` (the one before) or `allow`. `catch_up`: how late a run
    may be started, where nothing could start it in time; a day, if nothing is said. `paused`: it
    is made paused. `tenant`: whose its runs are.
    """

    input: Mapping[str, Any]
    name: str
    jitter: Seconds
    overlap: str
    catch_up: Seconds
    paused: bool
    tenant: str


def cron(line: str, /, *, tz: str = "UTC", **options: Unpack[ScheduleOptions]) -> Definition:
    """Runs at the times of a cron line, as clocks in the zone `tz` show them.

        @workflow(schedule=cron("0 9 * * mon-fri", tz="Europe/Zurich"))

    A line has five fields, as of Debian's cron, or six with seconds before them. Where the clocks
    change, a line that names hours means each local time once (what is skipped, right after), and
    one that means every hour means real time.

    Raises `InvalidInput` for a line that cannot be or never comes, an unknown zone, and options
    that do not fit; `field` names it.
    """
    return _made(cron_times(line, tz), options)


def every(
    period: Seconds, /, *, start: datetime | None = None, **options: Unpack[ScheduleOptions]
) -> Definition:
    """Runs each so many seconds (or a `timedelta`), counted from `start`, by default from 1970.

        @workflow(schedule=every(timedelta(minutes=10)))

    So they come at the same moments whoever starts them, and after any pause. Real time: no change
    of clocks touches it. Before `start` there is none. Raises as `cron` does.
    """
    if start is not None and start.tzinfo is None:
        raise InvalidInput("start= needs a datetime with a time zone", field="start")
    begin = 0 if start is None else (start - _EPOCH) // timedelta(milliseconds=1)
    return _made(every_times(_millis("every", period), begin), options)


def scheduled_at() -> datetime | None:
    """For which time of its schedule this run was started, in UTC; None: no schedule started it.

    It is the nominal time, without jitter and delay, and the same on each replay and retry. Outside
    a run it is None.
    """
    moment = None if current() is None else setting.get().scheduled
    return None if moment is None else _EPOCH + timedelta(milliseconds=moment)


def definitions_of(given: object, workflow: str) -> dict[str, Definition]:
    """The schedules that `@workflow(schedule=)` names. Raises `AppError`."""
    listed: Sequence[object] = given if isinstance(given, (list, tuple)) else [given]
    found: dict[str, Definition] = {}
    for each in listed:
        if not isinstance(each, Definition):
            raise AppError("schedule= is cron(...) or every(...), or a list of them")
        name = each.name or workflow
        if name in found:
            raise AppError(f"two schedules are named {name!r}; give each a name= of its own")
        try:
            check_name(name)
        except InvalidInput as error:
            told = f"the schedule of workflow {workflow!r} needs a name= of its own: {error}"
            raise AppError(told) from None
        found[name] = each
    return found


def _made(times: Times, options: ScheduleOptions) -> Definition:
    unknown = set(options) - set(ScheduleOptions.__annotations__)
    if unknown:
        raise TypeError(f"a schedule has no option {min(unknown)!r}")
    inputs = options.get("input", {})
    if not isinstance(inputs, Mapping):
        raise InvalidInput("input= has the arguments by name", field="input")
    return Definition(
        times,
        options.get("name", ""),
        dict(inputs),
        _millis("jitter", options.get("jitter", 0)),
        overlap_of(options.get("overlap", Overlap.SKIP)),
        _millis("catch_up", options["catch_up"]) if "catch_up" in options else CATCH_UP,
        bool(options.get("paused", False)),
        _text("tenant", options.get("tenant", "")),
    )


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise InvalidInput(f"{name} is a text", field=name)
    return value


def _millis(name: str, value: object) -> Millis:
    """A duration in milliseconds. Raises `InvalidInput`."""
    if isinstance(value, bool) or not isinstance(value, (int, float, timedelta)):
        raise InvalidInput(f"{name} is seconds, or a timedelta", field=name)
    try:
        return millis(value)
    except (ValueError, OverflowError):
        raise InvalidInput(f"{name} is a number of seconds", field=name) from None
