"""Schedules over HTTP, as the client of programs asks for them, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import pytest

from rewake import AsyncClient, every, secret, workflow
from rewake.access import Principal, Scope
from rewake.client.typed import RunsWanted
from rewake.errors import (
    InvalidInput,
    RewakeError,
    RunNotFound,
    ScheduleConflict,
    ScheduleNotFound,
)
from rewake.http import admission, schedules
from rewake.http.cursors import next_cursor
from rewake.testing.clock import EPOCH
from tests.client.transport import InProcess
from tests.support.asgi import served
from tests.support.virtual import Bench, virtually

NOW = datetime.fromtimestamp(EPOCH / 1000, UTC)


@workflow(schedule=every(3_600, name="hourly"))
async def report(team: str = "all", key: Annotated[str, secret] = "") -> str:
    return team + key[:0]


@workflow
async def other() -> None: ...


def asked(body: Callable[[AsyncClient], Awaitable[None]]) -> None:
    async def main(bench: Bench) -> None:
        await asyncio.sleep(1)
        await body(InProcess(served(bench)).client())

    virtually((report, other), main, sweep=60_000, lease=300_000)


def test_a_schedule_is_made_changed_and_deleted() -> None:
    """Each answer is the schedule as it is then; what is not said stays; secrets are hidden."""

    async def body(client: AsyncClient) -> None:
        inputs = {"team": "x", "key": "k"}
        made = await client.schedules.create(
            "daily", report, cron="0 9 * * *", tz="Europe/Zurich", input=inputs, jitter=60
        )
        assert made["next"] == "2023-11-15T08:00:00.000Z"
        assert made["input"] == {"team": "x", "key": "[redacted]"}
        assert (made["state"], made["code"], made["by"]) == ("active", False, "bootstrap")
        changed = await client.schedules.change("daily", overlap="queue")
        assert (changed["cron"], changed["overlap"]) == ("0 9 * * *", "queue")
        changed = await client.schedules.change("daily", every=600)
        assert (changed["cron"], changed["tz"], changed["every"]) == (None, None, 600)
        assert changed["jitter"] == 60
        assert [each["name"] async for each in client.schedules.list()] == ["daily", "hourly"]
        assert [each["name"] async for each in client.schedules.list(other)] == []
        await client.schedules.delete("daily")
        with pytest.raises(ScheduleNotFound):
            await client.schedules.get("daily")

    asked(body)


def test_a_schedule_of_the_code_is_shown_paused_and_resumed() -> None:
    """Its next times are told ahead, paused or not."""

    async def body(client: AsyncClient) -> None:
        paused = await client.schedules.pause("hourly", "an inventory")
        assert (paused["state"], paused["note"], paused["code"]) == ("paused", "an inventory", True)
        changed = await client.schedules.change("hourly", overlap="queue")
        assert (changed["state"], changed["note"]) == ("paused", "an inventory")
        coming = (await client.schedules.upcoming("hourly", 2))["times"]
        assert [each["at"] for each in coming] == [
            "2023-11-14T23:00:00.000Z",
            "2023-11-15T00:00:00.000Z",
        ]
        assert coming[0]["run"] == "hourly:2023-11-14T23:00:00Z"
        assert (await client.schedules.resume("hourly"))["state"] == "active"

    asked(body)


def test_runs_are_started_by_hand_and_of_the_past() -> None:
    """A run says which schedule has started it; a dry run of a backfill starts nothing."""

    async def body(client: AsyncClient) -> None:
        run = await client.schedules.trigger("hourly", id="mine")
        assert (run["id"], run["schedule"]) == ("mine", "hourly")
        span = NOW - timedelta(hours=3), NOW
        told = await client.schedules.backfill("hourly", *span, dry_run=True)
        assert told["count"] == 3
        assert [each["id"] async for each in client.list()] == ["mine"]
        await client.schedules.backfill("hourly", *span)
        await asyncio.sleep(120)
        found = [each async for each in client.list(report)]
        assert {each["schedule"] for each in found} == {"hourly"}
        assert len(found) == 4
        wanted: list[tuple[RunsWanted, int]] = [
            ({"schedule": "hourly"}, 4),
            ({"schedule": "daily"}, 0),
            ({"scheduled": True}, 4),
            ({"scheduled": False}, 0),
        ]
        for asked_for, count in wanted:
            assert len([each async for each in client.list(**asked_for)]) == count, asked_for
        entry = await anext(client.history(found[0]["id"]))
        assert entry["by"] == "schedule:hourly"

    asked(body)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"cron": "0 0 30 2 *"}, "cron"),
        ({"cron": "0 0 * * *", "tz": "Mars/Phobos"}, "tz"),
        ({"cron": "0 0 * * *", "every": 5}, "every"),
        ({"every": 0}, "every"),
        ({"every": 60, "tz": "UTC"}, "tz"),
        ({"every": 60, "jitter": 61}, "jitter"),
        ({"every": 60, "start": "soon"}, "start"),
        ({"cron": "0 0 * * *", "start": "2026-01-01"}, "start"),
        ({"every": 60, "overlap": "both"}, "overlap"),
        ({"every": 60, "catch_up": -1}, "catch_up"),
        ({"every": 60, "input": {"team": 5}}, "team"),
        ({"every": 60, "input": {"x": 5}}, "x"),
        ({"every": 60, "nope": 5}, "nope"),
        ({"every": "60"}, "every"),
        ({"every": 1e300}, "every"),
        ({"every": 60, "name": "a b"}, "name"),
        ({}, "cron"),
    ],
)
def test_what_cannot_be_is_refused_with_its_field(body: dict[str, Any], field: str) -> None:
    """Nothing is made of it."""

    async def main(client: AsyncClient) -> None:
        with pytest.raises(InvalidInput) as refused:
            await client.schedules._do(**{"name": "x", "workflow": "report", **body})
        assert refused.value.field == field
        with pytest.raises(ScheduleNotFound):
            await client.schedules.get("x")

    asked(main)


def test_a_request_that_finds_something_else_is_refused() -> None:
    """A workflow that there is not, a name that is taken, a schedule that there is not, a
    backfill of a million.
    """

    async def body(client: AsyncClient) -> None:
        schedules = client.schedules
        refused: list[tuple[type[RewakeError], Awaitable[object]]] = [
            (RunNotFound, schedules.create("x", "nothing", every=60)),
            (ScheduleConflict, schedules.create("hourly", report, every=60)),
            (ScheduleNotFound, schedules.change("x", every=60)),
            (ScheduleNotFound, schedules.trigger("x")),
            (ScheduleNotFound, schedules.delete("x")),
            (InvalidInput, schedules.backfill("hourly", NOW - timedelta(days=365 * 50), NOW)),
            (InvalidInput, schedules.pause("hourly", "x" * 1000)),
            (InvalidInput, schedules.trigger("hourly", id="a/b")),
        ]
        for error, call in refused:
            with pytest.raises(error):
                await call

    asked(body)


def test_a_tenant_has_schedules_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its runs are the tenant's; it knows of no others, and makes none for others."""
    tenant = Principal("token:t", frozenset({*Scope} - {Scope.ADMIN}), tenant="acme")

    async def body(client: AsyncClient) -> None:
        monkeypatch.setattr(admission, "principal_in", lambda _: tenant)
        made = await client.schedules.create("mine", report, every=60)
        assert made["tenant"] == "acme"
        with pytest.raises(InvalidInput):
            await client.schedules.create("x", report, every=60, tenant="other")
        assert [each["name"] async for each in client.schedules.list()] == ["mine"]
        with pytest.raises(ScheduleNotFound):
            await client.schedules.get("hourly")
        run = await client.schedules.trigger("mine")
        assert (await client.get(run["id"]))["tenant"] == "acme"

    asked(body)


@pytest.mark.parametrize("limits", [{"tenant": "acme"}, {"workflows": frozenset({"other"})}])
def test_a_cursor_names_no_schedule_of_others(
    monkeypatch: pytest.MonkeyPatch, limits: dict[str, Any]
) -> None:
    """Pages are full and go on to the last that may be known, whatever lies between them."""
    limited = Principal("token:t", frozenset({*Scope} - {Scope.ADMIN}), **limits)

    async def body(client: AsyncClient) -> None:
        for number in range(3):
            await client.schedules.create(f"a{number}-secret", report, every=60)
            await client.schedules.create(f"b{number}-mine", other, every=60, tenant="acme")
        monkeypatch.setattr(admission, "principal_in", lambda _: limited)
        monkeypatch.setattr("rewake.client.schedules.PAGE", 1)
        cursors: list[str] = []

        def noted(sort: str | None) -> str | None:
            cursors.append(str(sort))
            return next_cursor(sort)

        monkeypatch.setattr(schedules, "next_cursor", noted)
        found = [each["name"] async for each in client.schedules.list()]
        assert found == ["b0-mine", "b1-mine", "b2-mine"]
        assert cursors == ["Z#b0-mine", "Z#b1-mine", "None"]

    asked(body)


def test_who_is_limited_to_other_workflows_does_not_know_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Neither in the list, nor by its name, nor as one that can be made."""
    stranger = Principal("token:x", frozenset({*Scope} - {Scope.ADMIN}), frozenset({"other"}))

    async def body(client: AsyncClient) -> None:
        monkeypatch.setattr(admission, "principal_in", lambda _: stranger)
        assert [each async for each in client.schedules.list()] == []
        for call in (
            client.schedules.get("hourly"),
            client.schedules.pause("hourly"),
            client.schedules.delete("hourly"),
        ):
            with pytest.raises(ScheduleNotFound):
                await call
        with pytest.raises(RunNotFound):
            await client.schedules.create("x", report, every=60)
        made = await client.schedules.create("x", other, every=60)
        assert made["by"] == "token:x"

    asked(body)
