"""Schedules, as clients ask for them: `client.schedules`. Each is named; durations are seconds."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import datetime
from typing import Any, Protocol, TypedDict, TypeVar, Unpack

from rewake.client import flows
from rewake.client.asking import Ask, Flow, Manner, sending
from rewake.client.flows import PAGE, View
from rewake.client.typed import AnyWorkflow, name_of, query_of

T = TypeVar("T")


class AsyncAsking(Protocol):
    """What these need of `AsyncClient`."""

    @property
    def manner(self) -> Manner:
        """How it asks."""
        ...

    async def do(self, flow: Flow[T]) -> T:
        """Carry out a flow."""
        ...

    def pages(
        self, name: str, *path: str, query: Mapping[str, object] = ...
    ) -> AsyncIterator[View]:
        """The items of a list."""
        ...


class Asking(Protocol):
    """What these need of `Client`."""

    @property
    def manner(self) -> Manner:
        """How it asks."""
        ...

    def do(self, flow: Flow[T]) -> T:
        """Carry out a flow."""
        ...

    def pages(self, name: str, *path: str, query: Mapping[str, object] = ...) -> Iterator[View]:
        """The items of a list."""
        ...


class TimesOptions(TypedDict, total=False):
    """What a schedule is made of, as in `cron` and `every`: `cron` and `tz`, or `every` (seconds)
    and `start`.
    """

    cron: str
    tz: str
    every: float
    start: datetime
    input: Mapping[str, Any]
    jitter: float
    overlap: str
    catch_up: float


def _said(options: Mapping[str, Any]) -> dict[str, Any]:
    start = options.get("start")
    return {**options, "start": start.isoformat()} if start is not None else dict(options)


def _fill(since: datetime, until: datetime, *, queue: bool, dry_run: bool) -> dict[str, Any]:
    times = {"since": since.isoformat(), "until": until.isoformat()}
    return {**times, "queue": queue, "dry_run": dry_run}


def _deleted(manner: Manner, name: str) -> Flow[View]:
    ask = Ask("DELETE", ("v1", "schedules", name))
    return (yield from sending(ask, manner)).body  # type: ignore[no-any-return]


class AsyncSchedules:
    """The schedules of a server."""

    def __init__(self, client: AsyncAsking) -> None:
        self._client = client

    def list(self, workflow: AnyWorkflow | str | None = None) -> AsyncIterator[View]:
        """All, or those of one workflow, by name."""
        query = query_of(workflow=name_of(workflow), limit=PAGE)
        return self._client.pages("schedules", "schedules", query=query)

    async def get(self, name: str) -> View:
        """What it is, and what became of its newest times. Raises `ScheduleNotFound`."""
        return await self._client.do(flows.fetched(self._client.manner, "schedules", name))

    async def create(
        self,
        name: str,
        workflow: AnyWorkflow | str,
        *,
        paused: bool = False,
        tenant: str = "",
        **options: Unpack[TimesOptions],
    ) -> View:
        """Make a schedule, for a `tenant`. Raises `ScheduleConflict` if its name is taken."""
        named = {"name": name, "workflow": name_of(workflow), "paused": paused, "tenant": tenant}
        return await self._do(**named, **_said(options))

    async def change(self, name: str, **options: Unpack[TimesOptions]) -> View:
        """Let it be made of something else; what is not said stays."""
        return await self._do(name, **_said(options))

    async def pause(self, name: str, note: str = "") -> View:
        """Let it start no run until it is resumed. `note`: why."""
        return await self._do(name, "pause", note=note)

    async def resume(self, name: str) -> View:
        """Let it start runs again; what passed meanwhile has none."""
        return await self._do(name, "resume")

    async def trigger(self, name: str, *, id: str | None = None) -> View:
        """Start a run of it now. `id`: of the run, so that the same call twice starts one."""
        return await self._do(name, "trigger", id=id)

    async def backfill(
        self,
        name: str,
        since: datetime,
        until: datetime,
        *,
        queue: bool = False,
        dry_run: bool = False,
    ) -> View:
        """Start the runs of times of the past, from `since` on and before `until`."""
        return await self._do(name, "backfill", **_fill(since, until, queue=queue, dry_run=dry_run))

    async def upcoming(self, name: str, count: int = 10) -> View:
        """Its next nominal times."""
        query = {"count": count}
        flow = flows.fetched(self._client.manner, "schedules", name, "next", query=query)
        return await self._client.do(flow)

    async def delete(self, name: str) -> View:
        """Remove it; its runs stay."""
        return await self._client.do(_deleted(self._client.manner, name))

    async def _do(self, *path: str, **body: object) -> View:
        flow = flows.done(self._client.manner, "schedules", *path, body=body)
        return await self._client.do(flow)


class Schedules:
    """The schedules of a server."""

    def __init__(self, client: Asking) -> None:
        self._client = client

    def list(self, workflow: AnyWorkflow | str | None = None) -> Iterator[View]:
        """All, or those of one workflow, by name."""
        query = query_of(workflow=name_of(workflow), limit=PAGE)
        return self._client.pages("schedules", "schedules", query=query)

    def get(self, name: str) -> View:
        """What it is, and what became of its newest times. Raises `ScheduleNotFound`."""
        return self._client.do(flows.fetched(self._client.manner, "schedules", name))

    def create(
        self,
        name: str,
        workflow: AnyWorkflow | str,
        *,
        paused: bool = False,
        tenant: str = "",
        **options: Unpack[TimesOptions],
    ) -> View:
        """Make a schedule, for a `tenant`. Raises `ScheduleConflict` if its name is taken."""
        named = {"name": name, "workflow": name_of(workflow), "paused": paused, "tenant": tenant}
        return self._do(**named, **_said(options))

    def change(self, name: str, **options: Unpack[TimesOptions]) -> View:
        """Let it be made of something else; what is not said stays."""
        return self._do(name, **_said(options))

    def pause(self, name: str, note: str = "") -> View:
        """Let it start no run until it is resumed. `note`: why."""
        return self._do(name, "pause", note=note)

    def resume(self, name: str) -> View:
        """Let it start runs again; what passed meanwhile has none."""
        return self._do(name, "resume")

    def trigger(self, name: str, *, id: str | None = None) -> View:
        """Start a run of it now. `id`: of the run, so that the same call twice starts one."""
        return self._do(name, "trigger", id=id)

    def backfill(
        self,
        name: str,
        since: datetime,
        until: datetime,
        *,
        queue: bool = False,
        dry_run: bool = False,
    ) -> View:
        """Start the runs of times of the past, from `since` on and before `until`."""
        return self._do(name, "backfill", **_fill(since, until, queue=queue, dry_run=dry_run))

    def upcoming(self, name: str, count: int = 10) -> View:
        """Its next nominal times."""
        query = {"count": count}
        flow = flows.fetched(self._client.manner, "schedules", name, "next", query=query)
        return self._client.do(flow)

    def delete(self, name: str) -> View:
        """Remove it; its runs stay."""
        return self._client.do(_deleted(self._client.manner, name))

    def _do(self, *path: str, **body: object) -> View:
        flow = flows.done(self._client.manner, "schedules", *path, body=body)
        return self._client.do(flow)
