"""`AsyncClient`: a client for programs that run an event loop."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Generic, ParamSpec, Self, TypeVar, Unpack, overload

from rewake.authoring.workflow import Workflow
from rewake.client import flows
from rewake.client.answers import Lost
from rewake.client.asking import Flow, Manner, Pause
from rewake.client.flows import PAGE, Options, View
from rewake.client.schedules import AsyncSchedules
from rewake.client.settings import headers_of, server_token, server_url
from rewake.client.states import AsyncStates
from rewake.client.transports import AiohttpTransport, AsyncTransport
from rewake.client.typed import (
    AnyWorkflow,
    RunsWanted,
    SignalOptions,
    StartOptions,
    arguments_given,
    checked,
    checked_name,
    name_of,
    options_of,
    query_of,
    query_of_runs,
    value_of,
)
from rewake.values.data import encoded

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
T = TypeVar("T")


class AsyncClient:
    """Asks a Rewake server, in one event loop; to be closed, as by `async with`.

    `url`: of the server, by default `REWAKE_SERVER`, else 127.0.0.1:8000. `token`: by default
    `REWAKE_TOKEN`. `timeout`: seconds that an answer may take, beyond what is waited for on
    purpose. `patience`: seconds for which what may be sent again is tried again, while the server
    is away or has no room.

    Whatever the server refuses is raised as the error that it met (`rewake.errors`), what cannot be
    reached as `ServerUnavailable`.
    """

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        *,
        timeout: float = 30,
        patience: float = 30,
        transport: AsyncTransport | None = None,
    ) -> None:
        """`transport` carries requests in another way, as in a test. Raises `ConfigError`."""
        self.url = server_url(url)
        self._token = server_token(token)
        self._transport = transport or AiohttpTransport(timeout)
        self.manner = Manner(self.url, patience, lambda: asyncio.get_running_loop().time())

    def __repr__(self) -> str:
        return f"<AsyncClient of {self.url}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections; nothing can be asked any more."""
        await self._transport.close()

    @functools.cached_property
    def schedules(self) -> AsyncSchedules:
        """The schedules of the server."""
        return AsyncSchedules(self)

    @functools.cached_property
    def states(self) -> AsyncStates:
        """The keyed states of the server."""
        return AsyncStates(self)

    # --- starting ------------------------------------------------------------------------------

    @overload
    async def start(
        self, workflow: Workflow[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> AsyncRun[R]: ...
    @overload
    async def start(
        self,
        workflow: str,
        /,
        input: Mapping[str, Any] | None = None,
        **options: Unpack[StartOptions],
    ) -> AsyncRun[Any]: ...
    async def start(self, workflow: Any, /, *args: Any, **kwargs: Any) -> AsyncRun[Any]:
        """Start a run: of a workflow with its arguments, or by its name with an `input`.

        Without `id=` or `key=` it is given an id here, so that it starts once, however often the
        request must be sent. What is keyword here is an argument, if a workflow is given; its
        options are those of `with_options`. `wait=`: the server answers when the run has ended, or
        after so many seconds. `connection=`: one to the PostgreSQL database of the servers, in
        whose transaction the run is started; the server is not asked.
        """
        if isinstance(workflow, Workflow):
            return await self.with_options().start(workflow, *args, **kwargs)
        return await self._by_name(checked_name(workflow), *args, **kwargs)

    def with_options(self, **options: Unpack[StartOptions]) -> AsyncStarter:
        """What starts runs with an id or a key: `with_options(key="7").start(deploy, "x")`."""
        return AsyncStarter(self, Options(**options))

    async def _by_name(
        self, name: str, input: Mapping[str, Any] | None = None, **options: Unpack[StartOptions]
    ) -> AsyncRun[Any]:
        return await self.started(name, None, dict(input or {}), Options(**options_of(options)))

    async def started(
        self, name: str, workflow: AnyWorkflow | None, arguments: dict[str, Any], options: Options
    ) -> AsyncRun[Any]:
        """The run of a start."""
        if options.connection is not None:
            from rewake.client import joined  # noqa: PLC0415 - it takes what a server has

            run, new = await joined.start(workflow, arguments, options)
            return AsyncRun(self, run, workflow, new, {})
        reply, new = await self.do(flows.start(self.manner, name, encoded(arguments), options))
        return AsyncRun(self, reply.body["id"], workflow, new, reply.body)

    # --- runs ----------------------------------------------------------------------------------

    async def run(self, workflow: Workflow[P, R], run: str) -> AsyncRun[R]:
        """A run of this workflow that was started elsewhere. Raises `UsageError` if it is not."""
        view = await self.get(run)
        checked(view, workflow)
        return AsyncRun(self, run, workflow, False, {})

    async def get(self, run: str) -> View:
        """Where a run stands, and what it waits for."""
        return await self.do(flows.fetched(self.manner, "runs", run))

    async def result(self, run: str, wait: float | None = None) -> Any:
        """What a run returned, as JSON, once it has ended. `wait`: so many seconds at most.

        Raises `TaskError` if it did not succeed, `NotYet` if it has not ended, `StuckError`.
        """
        return value_of((await self.do(flows.outcome(self.manner, run, wait))).body, None)

    async def watch(
        self, run: str, *, only: Sequence[str] | None = None, cursor: str | None = None
    ) -> AsyncIterator[View]:
        """What a run tells, as it comes, until it ends; without a gap while the server is away.

        `only`: some of item, state, operation, log.
        """
        while True:
            page = await self.do(flows.told(self.manner, run, cursor, only))
            for item in page["items"]:
                yield item
            if page["ended"]:
                return
            cursor = page["cursor"]

    def list(
        self, workflow: AnyWorkflow | str | None = None, **wanted: Unpack[RunsWanted]
    ) -> AsyncIterator[View]:
        """Runs, newest first, of those that `RunsWanted` tells."""
        return self.pages("runs", "runs", query=query_of_runs(workflow, wanted, PAGE))

    def approvals(
        self,
        workflow: AnyWorkflow | str | None = None,
        *,
        approver: str | None = None,
        group: str | None = None,
    ) -> AsyncIterator[View]:
        """What runs wait for, of the newest run first."""
        query = query_of(workflow=name_of(workflow), approver=approver, group=group)
        return self.pages("approvals", "approvals", query=query)

    def history(self, run: str) -> AsyncIterator[View]:
        """The entries of a run's history, in order."""
        return self.pages("entries", "runs", run, "history", cursor_name="after")

    def operations(
        self, run: str, *, kind: str | None = None, state: str | None = None
    ) -> AsyncIterator[View]:
        """What a run has asked for, in order, and how it stands or has ended; without values."""
        query, path = query_of(kind=kind, state=state), ("runs", run, "operations")
        return self.pages("operations", *path, query=query, cursor_name="after")

    def logs(self, run: str, key: str | None = None) -> AsyncIterator[View]:
        """The lines that a run logged, each operation's in order. `key`: of one operation, an
        empty one of the body.
        """
        query = query_of(key=key)
        return self.pages("lines", "runs", run, "logs", query=query, cursor_name="after")

    async def pages(
        self,
        name: str,
        *path: str,
        query: Mapping[str, object] = {},
        cursor_name: str = "cursor",
    ) -> AsyncIterator[View]:
        """The items that the pages of a list have by this name."""
        cursor = None
        while True:
            asked = {**query, cursor_name: cursor}
            page = await self.do(flows.fetched(self.manner, *path, query=asked))
            for item in page[name]:
                yield item
            cursor = page["cursor"]
            if cursor is None:
                return

    # --- acting on them ------------------------------------------------------------------------

    async def cancel(
        self, run: str, reason: str | None = None, *, even_stuck: bool = False
    ) -> View:
        """Let a run clean up and end."""
        return await self._act(run, "cancel", reason=reason, even_stuck=even_stuck)

    async def kill(self, run: str, reason: str | None = None) -> View:
        """End a run here and now, without its cleanup."""
        return await self._act(run, "kill", reason=reason)

    async def pause(self, run: str) -> View:
        """Let nothing of a run begin any more, until it is resumed."""
        return await self._act(run, "pause")

    async def resume(self, run: str) -> View:
        """Let a stuck or paused run go on."""
        return await self._act(run, "resume")

    async def rerun(
        self, run: str, input: Mapping[str, Any] | None = None, *, id: str | None = None
    ) -> View:
        """Start a run anew, with its input or another one. `id`: of the new run."""
        return await self.do(flows.begun(self.manner, run, "rerun", id, {"input": input}))

    async def fork(
        self,
        run: str,
        at: str,
        input: Mapping[str, Any] | None = None,
        *,
        id: str | None = None,
    ) -> View:
        """Begin a new run from before the operation of the key `at`, perhaps with another input."""
        body = {"at": at, "input": input}
        return await self.do(flows.begun(self.manner, run, "fork", id, body))

    async def retry(self, run: str, *, discard_cleanup: bool = False) -> View:
        """Let a failed run go on from before what ended it."""
        return await self._act(run, "retry", discard_cleanup=discard_cleanup)

    async def decide(
        self,
        run: str,
        key: str,
        *,
        approved: bool,
        value: Any = None,
        approver: str | None = None,
        comment: str | None = None,
    ) -> View:
        """Decide on an approval. `value`: the filled-in form."""
        answer = {"value": value, "approver": approver, "comment": comment}
        return await self._act(run, "approvals", key, approved=approved, **answer)

    async def approve(
        self,
        run: str,
        key: str,
        value: Any = None,
        *,
        approver: str | None = None,
        comment: str | None = None,
    ) -> View:
        """Approve an approval. `value`: the filled-in form."""
        more = {"approver": approver, "comment": comment}
        return await self.decide(run, key, approved=True, value=value, **more)

    async def reject(
        self, run: str, key: str, *, approver: str | None = None, comment: str | None = None
    ) -> View:
        """Reject an approval."""
        return await self.decide(run, key, approved=False, approver=approver, comment=comment)

    async def delegate(
        self, run: str, key: str, delegate: str, *, comment: str | None = None
    ) -> View:
        """Hand a vote on to another person; the answer has their link."""
        body = {"delegate": delegate, "comment": comment}
        return await self._act(run, "approvals", key, **body)

    async def _act(self, run: str, *path: str, **body: object) -> View:
        return await self.do(flows.done(self.manner, "runs", run, *path, body=body))

    # --- signals and events ----------------------------------------------------------------

    async def signal(
        self, run: str, name: str, value: Any = None, *, id: str | None = None
    ) -> View:
        """Send a signal (JSON data, also of dataclasses and models), which is delivered once.

        `id` tells it from others, by default it is new. Raises `RunNotFound`, `RunConflict` if the
        run has ended, `InvalidInput`.
        """
        return await self.do(flows.signalled(self.manner, run, name, value, id))

    async def update(
        self,
        run: str,
        name: str,
        value: Any = None,
        *,
        id: str | None = None,
        wait: float | None = None,
    ) -> Any:
        """Send an update, and return what the workflow answers, as JSON. `wait`: so many seconds.

        Raises `UpdateRejected` if it says no, `NotYet` without an answer in time (`answer` asks
        again, by the `id`), and as `signal` does.
        """
        return await self.do(flows.updated(self.manner, run, name, value, id, wait))

    async def answer(self, run: str, id: str, wait: float | None = None) -> Any:
        """What the workflow answered to the update of this id. Raises as `update` does."""
        return await self.do(flows.answered(self.manner, run, id, wait))

    @overload
    async def signal_or_start(
        self,
        workflow: Workflow[P, R],
        key: str,
        name: str,
        value: Any,
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> AsyncRun[R]: ...
    @overload
    async def signal_or_start(
        self, workflow: str, key: str, name: str, value: Any, /, **options: Unpack[SignalOptions]
    ) -> AsyncRun[Any]: ...
    async def signal_or_start(
        self, workflow: Any, key: str, name: str, value: Any, /, *args: Any, **kwargs: Any
    ) -> AsyncRun[Any]:
        """Send a signal to the run of a key, or start one that begins with it: just one gets it.

        What follows are arguments of a new run; by a name `input=`, the signal's `id=`, `tenant=`.
        """
        asked = flows.signalled_by_key(self.manner, workflow, key, name, value, args, kwargs)
        of = workflow if isinstance(workflow, Workflow) else None
        view = await self.do(asked)
        return AsyncRun(self, view["run"], of, view.get("started", False), {})

    async def publish(self, name: str, data: Any = None, *, id: str | None = None) -> View:
        """Publish an event: every run that waits for it goes on.

        `data` is JSON of at most 64 KiB. For each `id` it is published once; without one it is
        given one here, for the request may have to be sent again. Gives `name`, `id`, `published`.
        Raises `InvalidInput`, and `EventConflict` if one of this id has other data.
        """
        return await self.do(flows.published(self.manner, name, data, id))

    # --- callbacks, by their addresses ---------------------------------------------------------

    async def complete(
        self, address: str, result: Any = None, *, connection: object = None
    ) -> View:
        """End a callback with its result. The first call stands; no token goes with it.

        `connection`: in whose transaction, as in `start`.
        """
        if connection is not None:
            from rewake.client import joined  # noqa: PLC0415 - it takes what a server has

            return await joined.complete(address, result, connection)
        return await self.do(flows.called(self.manner, address, body=result))

    async def fail(
        self, address: str, type: str, message: str = "", *, connection: object = None
    ) -> View:
        """Let a callback raise a `TaskError` of this type. `connection`: as in `complete`."""
        if connection is not None:
            from rewake.client import joined  # noqa: PLC0415

            return await joined.fail(address, type, message, connection)
        body = {"type": type, "message": message}
        return await self.do(flows.called(self.manner, address, "fail", body=body))

    async def heartbeat(self, address: str) -> View:
        """Say that whoever will call a callback lives."""
        return await self.do(flows.called(self.manner, address, "heartbeat", body={}))

    # --- doing it ------------------------------------------------------------------------------

    async def do(self, flow: Flow[T]) -> T:
        """Carry out a flow. Raises `RewakeError`."""
        try:
            step = next(flow)
            while True:
                if isinstance(step, Pause):
                    await asyncio.sleep(step.seconds)
                    step = flow.send(Lost("it rested"))
                    continue
                address, headers = step.address(self.url), headers_of(step, self._token)
                step = flow.send(await self._transport.send(step, address, headers))
        except StopIteration as ended:
            result: T = ended.value
            return result
        finally:
            flow.close()


class AsyncStarter:
    """Starts runs with options. Made by `AsyncClient.with_options`."""

    def __init__(self, client: AsyncClient, options: Options) -> None:
        self._client = client
        self._options = options

    async def start(
        self, workflow: Workflow[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> AsyncRun[R]:
        """Start a run of a workflow with its arguments."""
        arguments = arguments_given(workflow, args, kwargs)
        return await self._client.started(workflow.name, workflow, arguments, self._options)


class AsyncRun(Generic[R_co]):
    """A run that a client has started. `is_new`: it was not there before."""

    def __init__(
        self,
        client: AsyncClient,
        id: str,
        workflow: AnyWorkflow | None,
        is_new: bool,
        view: View,
    ) -> None:
        self.id = id
        self.is_new = is_new
        self._client = client
        self._workflow = workflow
        self._view = view

    def __repr__(self) -> str:
        return f"<AsyncRun {self.id}>"

    async def result(self, wait: float | None = None) -> R_co:
        """What it returned, of the workflow's type, once it has ended; else as
        `AsyncClient.result`.
        """
        if "result" not in self._view:
            flow = flows.outcome(self._client.manner, self.id, wait)
            self._view = (await self._client.do(flow)).body
        result: R_co = value_of(self._view, self._workflow)
        return result

    def watch(self, *, only: Sequence[str] | None = None) -> AsyncIterator[View]:
        """What it tells, until it ends."""
        return self._client.watch(self.id, only=only)

    async def get(self) -> View:
        """Where it stands."""
        return await self._client.get(self.id)

    async def cancel(self, reason: str | None = None) -> View:
        """Let it clean up and end."""
        return await self._client.cancel(self.id, reason)

    async def signal(self, name: str, value: Any = None, *, id: str | None = None) -> View:
        """Send it a signal."""
        return await self._client.signal(self.id, name, value, id=id)

    async def update(
        self, name: str, value: Any = None, *, id: str | None = None, wait: float | None = None
    ) -> Any:
        """Send it an update, and return what it answers."""
        return await self._client.update(self.id, name, value, id=id, wait=wait)
