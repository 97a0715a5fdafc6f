"""Which moments a schedule means: over changes of the clocks, and for lines that cannot be."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewake.errors import InvalidInput
from rewake.records import LATEST, Millis
from rewake.schedules.times import Times, cron_times, every_times, many, zone_of


def at(text: str) -> Millis:
    return int(datetime.fromisoformat(text + "+00:00").timestamp() * 1000)


def names(times: Times, after: str, count: int) -> list[str]:
    return [times.name(moment) for moment in many(times, at(after), LATEST, count)]


def utc(times: Times, after: str, count: int) -> list[str]:
    found = many(times, at(after), LATEST, count)
    return [f"{datetime.fromtimestamp(each / 1000, UTC):%m-%dT%H:%M}" for each in found]


@pytest.mark.parametrize(
    ("zone", "line", "after", "expected"),
    [
        (
            "Europe/Zurich",
            "30 2 * * *",
            "2026-03-28T00:00",
            ["2026-03-28T02:30", "2026-03-29T03:00", "2026-03-30T02:30"],
        ),
        (
            "Europe/Zurich",
            "30 2 * * *",
            "2026-10-24T00:00",
            ["2026-10-24T02:30", "2026-10-25T02:30", "2026-10-26T02:30"],
        ),
        (
            "America/New_York",
            "30 2 * * *",
            "2026-03-08T00:00",
            ["2026-03-08T03:00", "2026-03-09T02:30"],
        ),
        (
            "America/New_York",
            "30 1 * * *",
            "2026-11-01T00:00",
            ["2026-11-01T01:30", "2026-11-02T01:30"],
        ),
        (
            "Australia/Lord_Howe",
            "15 2 * * *",
            "2026-10-02T00:00",
            ["2026-10-03T02:15", "2026-10-04T02:30", "2026-10-05T02:15"],
        ),
        (
            "Australia/Lord_Howe",
            "45 1 * * *",
            "2026-04-03T00:00",
            ["2026-04-04T01:45", "2026-04-05T01:45", "2026-04-06T01:45"],
        ),
        (
            "America/Sao_Paulo",
            "0 0 * * *",
            "2018-11-03T12:00",
            ["2018-11-04T01:00", "2018-11-05T00:00"],
        ),
        (
            "Pacific/Apia",
            "0 9 * * *",
            "2011-12-29T12:00",
            ["2011-12-29T09:00", "2011-12-31T09:00"],
        ),
    ],
)
def test_a_line_that_names_hours_means_each_local_time_once(
    zone: str, line: str, after: str, expected: list[str]
) -> None:
    """What the clocks skip is due right after, what comes twice is due the first time, and a day
    that a zone did without was never there.
    """
    assert names(cron_times(line, zone), after, len(expected)) == expected


def test_all_that_one_change_skips_is_due_once() -> None:
    """Four times of the hour that is skipped, and the one right after it, are one moment."""
    found = names(cron_times("*/15 2,3 * * *", "Europe/Zurich"), "2026-03-29T00:00", 3)
    assert found == ["2026-03-29T03:00", "2026-03-29T03:15", "2026-03-29T03:30"]


@pytest.mark.parametrize(
    ("zone", "line", "after", "expected"),
    [
        (
            "Europe/Zurich",
            "*/30 * * * *",
            "2026-10-24T23:59",
            ["10-25T00:00", "10-25T00:30", "10-25T01:00", "10-25T01:30", "10-25T02:00"],
        ),
        (
            "Europe/Zurich",
            "30 * * * *",
            "2026-03-28T23:59",
            ["03-29T00:30", "03-29T01:30", "03-29T02:30"],
        ),
        (
            "Australia/Lord_Howe",
            "*/15 * * * *",
            "2026-04-04T14:31",
            ["04-04T14:45", "04-04T15:00", "04-04T15:15", "04-04T15:30"],
        ),
        ("Pacific/Apia", "0 */1 * * *", "2011-12-30T08:30", ["12-30T09:00", "12-30T10:00"]),
    ],
)
def test_a_line_that_means_every_hour_means_real_time(
    zone: str, line: str, after: str, expected: list[str]
) -> None:
    """An hour that comes twice counts twice, and one that is skipped not at all."""
    assert utc(cron_times(line, zone), after, len(expected)) == expected


def test_times_that_come_twice_have_two_names() -> None:
    """The second of two alike is told from the first, since the run's id is made of its name."""
    found = names(cron_times("*/30 * * * *", "Europe/Zurich"), "2026-10-24T23:59", 4)
    assert found == [
        "2026-10-25T02:00",
        "2026-10-25T02:30",
        "2026-10-25T02:00-2",
        "2026-10-25T02:30-2",
    ]


def test_seconds_and_the_last_day_can_be_named() -> None:
    """A line of six fields has seconds before it, and L is the last day of a month."""
    assert names(cron_times("15 0 9 L * *", "UTC"), "2027-02-01T00:00", 1) == [
        "2027-02-28T09:00:15"
    ]


_ZONES = ["Europe/Zurich", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca", "UTC"]
_LINES = ["30 2 * * *", "*/20 * * * *", "0 1-3 * * *", "5 0 * * sun", "0 0 1 * *", "7 23 * * *"]


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(_ZONES),
    st.sampled_from(_LINES),
    st.integers(min_value=at("2015-01-01T00:00"), max_value=at("2035-01-01T00:00")),
)
def test_moments_rise_and_each_has_a_name_of_its_own(zone: str, line: str, start: int) -> None:
    """From anywhere: each moment is later than the one before, no two have one name, and between
    two that follow each other there is none, from whichever moment between it is asked.
    """
    times = cron_times(line, zone)
    found = many(times, start, LATEST, 30)
    assert all(start < found[0] and sooner < later for sooner, later in pairwise(found))
    assert len({times.name(each) for each in found}) == len(found)
    sooner, later = found[3:5]
    assert {times.after(each) for each in (sooner, (sooner + later) // 2, later - 1)} == {later}


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(_ZONES[:3]),
    st.sampled_from(["*/20 * * * *", "10 * * * *"]),
    st.integers(min_value=at("2026-01-01T00:00"), max_value=at("2027-01-01T00:00")),
)
def test_real_time_is_what_a_clock_there_shows(zone: str, line: str, start: int) -> None:
    """Of a line that means every hour, each minute of a day is due if a clock then shows it."""
    place, minutes = ZoneInfo(zone), {0, 20, 40} if line.startswith("*/20") else {10}
    begin = datetime.fromtimestamp(start // 60_000 * 60, UTC)
    shown = [begin + timedelta(minutes=n) for n in range(1, 1441)]
    due = [each for each in shown if each.astimezone(place).minute in minutes]
    end = int(shown[-1].timestamp() * 1000) + 1
    found = many(cron_times(line, zone), int(begin.timestamp() * 1000), end, 10_000)
    assert found == [int(each.timestamp() * 1000) for each in due]


@pytest.mark.parametrize(
    "line",
    [
        *("0 0 30 2 *", "0 0 31 4,6 *", "61 * * * *", "* * *", "", "* * * * * * *", "@daily"),
        *("0 9 * * mon-", "٠ * * * *", "\0 * * * *", "*/0 * * * *", "5-1 * * * *", "x" * 300),
        "0 0 * * mon#6",
    ],
)
def test_a_line_that_cannot_be_is_refused(line: str) -> None:
    """Also one whose day never comes; the error names the field."""
    with pytest.raises(InvalidInput) as refused:
        cron_times(line, "UTC")
    assert refused.value.field == "cron"


@pytest.mark.parametrize(
    "zone", ["Mars/Phobos", "../etc/passwd", "", "Europe", "\0", "/etc/passwd"]
)
def test_a_zone_that_is_not_is_refused(zone: str) -> None:
    """Also a path, and a folder of zones; the error names the field."""
    with pytest.raises(InvalidInput) as refused:
        zone_of(zone)
    assert refused.value.field == "tz"


def test_there_is_a_last_moment() -> None:
    """Behind the year 9999 there is none any more, whatever is asked."""
    yearly = cron_times("0 0 1 1 *", "Europe/Zurich")
    assert len(many(yearly, at("9995-06-01T00:00"), LATEST + 1, 20)) == 4
    assert every_times(86_400_000).after(LATEST) is None


def test_a_period_counts_from_its_start() -> None:
    """Before it there is none; the start itself is the first; all others follow from it."""
    times = every_times(60_000, at("2030-01-01T00:00:07"))
    assert names(times, "2029-01-01T00:00", 2) == ["2030-01-01T00:00:07Z", "2030-01-01T00:01:07Z"]
    assert names(times, "2031-01-01T00:00", 1) == ["2031-01-01T00:00:07Z"]
    assert every_times(1_500).name(1_500) == "1970-01-01T00:00:01.500Z"


@pytest.mark.parametrize("period", [0, -5, 999, 10**15])
def test_a_period_that_cannot_be_is_refused(period: int) -> None:
    """Less than a second, or more than ten years."""
    with pytest.raises(InvalidInput):
        every_times(period)
