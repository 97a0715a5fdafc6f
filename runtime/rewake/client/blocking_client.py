"""`Client`: a client for threads; what its methods do is told at those of `AsyncClient`."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Generic, ParamSpec, Self, TypeVar, Unpack, overload

from rewake.authoring.inputs import arguments_of
from rewake.authoring.workflow import Workflow
from rewake.client import flows
from rewake.client.answers import Lost
from rewake.client.asking import Flow, Manner, Pause
from rewake.client.blocking import BlockingTransport
from rewake.client.flows import PAGE, Options, View
from rewake.client.schedules import Schedules
from rewake.client.settings import headers_of, server_token, server_url
from rewake.client.states import States
from rewake.client.transports import Transport
from rewake.client.typed import (
    AnyWorkflow,
    RunsWanted,
    SignalOptions,
    StartOptions,
    checked,
    checked_name,
    name_of,
    query_of,
    query_of_runs,
    value_of,
)
from rewake.values.data import encoded

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
T = TypeVar("T")


class Client:
    """Asks a Rewake server; any number of threads may use one. To be closed, as by `with`.

    It takes what an `AsyncClient` takes, has the same methods, and raises the same errors.
    """

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        *,
        timeout: float = 30,
        patience: float = 30,
        transport: Transport | None = None,
    ) -> None:
        self.url = server_url(url)
        self._token = server_token(token)
        self._transport = transport or BlockingTransport(timeout)
        self.manner = Manner(self.url, patience, time.monotonic)

    def __repr__(self) -> str:
        return f"<Client of {self.url}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        self._transport.close()

    @functools.cached_property
    def schedules(self) -> Schedules:
        """The schedules of the server."""
        return Schedules(self)

    @functools.cached_property
    def states(self) -> States:
        """The keyed states of the server."""
        return States(self)

    # --- starting ------------------------------------------------------------------------------

    @overload
    def start(self, workflow: Workflow[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Run[R]: ...
    @overload
    def start(
        self,
        workflow: str,
        /,
        input: Mapping[str, Any] | None = None,
        **options: Unpack[StartOptions],
    ) -> Run[Any]: ...
    def start(self, workflow: Any, /, *args: Any, **kwargs: Any) -> Run[Any]:
        if isinstance(workflow, Workflow):
            return self.with_options().start(workflow, *args, **kwargs)
        return self._by_name(checked_name(workflow), *args, **kwargs)

    def with_options(self, **options: Unpack[StartOptions]) -> Starter:
        """What starts runs with an id or a key: `with_options(key="7").start(deploy, "x")`."""
        return Starter(self, Options(**options))

    def _by_name(
        self,
        name: str,
        input: Mapping[str, Any] | None = None,
        **options: Unpack[StartOptions],
    ) -> Run[Any]:
        return self.started(name, None, dict(input or {}), Options(**options))

    def started(
        self, name: str, workflow: AnyWorkflow | None, arguments: dict[str, Any], options: Options
    ) -> Run[Any]:
        if options.connection is not None:
            from rewake.client import joined  # noqa: PLC0415 - it takes what a server has

            run, new = joined.at_once(joined.start(workflow, arguments, options))
            return Run(self, run, workflow, new, {})
        reply = self.do(flows.start(self.manner, name, encoded(arguments), options))
        return Run(self, reply.body["id"], workflow, flows.is_new(reply, options), reply.body)

    # --- runs ----------------------------------------------------------------------------------

    def run(self, workflow: Workflow[P, R], run: str) -> Run[R]:
        view = self.get(run)
        checked(view, workflow)
        return Run(self, run, workflow, False, {})

    def get(self, run: str) -> View:
        return self.do(flows.fetched(self.manner, "runs", run))

    def result(self, run: str, wait: float | None = None) -> Any:
        return value_of(self.do(flows.outcome(self.manner, run, wait)).body, None)

    def watch(
        self, run: str, *, only: Sequence[str] | None = None, cursor: str | None = None
    ) -> Iterator[View]:
        while True:
            page = self.do(flows.told(self.manner, run, cursor, only))
            yield from page["items"]
            if page["ended"]:
                return
            cursor = page["cursor"]

    def list(
        self, workflow: AnyWorkflow | str | None = None, **wanted: Unpack[RunsWanted]
    ) -> Iterator[View]:
        return self.pages("runs", "runs", query=query_of_runs(workflow, wanted, PAGE))

    def approvals(
        self,
        workflow: AnyWorkflow | str | None = None,
        *,
        approver: str | None = None,
        group: str | None = None,
    ) -> Iterator[View]:
        query = query_of(workflow=name_of(workflow), approver=approver, group=group)
        return self.pages("approvals", "approvals", query=query)

    def history(self, run: str) -> Iterator[View]:
        return self.pages("entries", "runs", run, "history", cursor_name="after")

    def logs(self, run: str, key: str | None = None) -> Iterator[View]:
        query = query_of(key=key)
        return self.pages("lines", "runs", run, "logs", query=query, cursor_name="after")

    def pages(
        self,
        name: str,
        *path: str,
        query: Mapping[str, object] = {},
        cursor_name: str = "cursor",
    ) -> Iterator[View]:
        cursor = None
        while True:
            asked = {**query, cursor_name: cursor}
            page = self.do(flows.fetched(self.manner, *path, query=asked))
            yield from page[name]
            cursor = page["cursor"]
            if cursor is None:
                return

    # --- acting on them ------------------------------------------------------------------------

    def cancel(self, run: str, reason: str | None = None, *, even_stuck: bool = False) -> View:
        return self._act(run, "cancel", reason=reason, even_stuck=even_stuck)

    def kill(self, run: str, reason: str | None = None) -> View:
        return self._act(run, "kill", reason=reason)

    def pause(self, run: str) -> View:
        return self._act(run, "pause")

    def resume(self, run: str) -> View:
        return self._act(run, "resume")

    def rerun(
        self, run: str, input: Mapping[str, Any] | None = None, *, id: str | None = None
    ) -> View:
        return self.do(flows.begun(self.manner, run, "rerun", id, {"input": input}))

    def fork(
        self,
        run: str,
        at: str,
        input: Mapping[str, Any] | None = None,
        *,
        id: str | None = None,
    ) -> View:
        return self.do(flows.begun(self.manner, run, "fork", id, {"at": at, "input": input}))

    def retry(self, run: str, *, discard_cleanup: bool = False) -> View:
        return self._act(run, "retry", discard_cleanup=discard_cleanup)

    def decide(
        self,
        run: str,
        key: str,
        *,
        approved: bool,
        value: Any = None,
        approver: str | None = None,
        comment: str | None = None,
    ) -> View:
        answer = {"value": value, "approver": approver, "comment": comment}
        return self._act(run, "approvals", key, approved=approved, **answer)

    def approve(
        self,
        run: str,
        key: str,
        value: Any = None,
        *,
        approver: str | None = None,
        comment: str | None = None,
    ) -> View:
        more = {"approver": approver, "comment": comment}
        return self.decide(run, key, approved=True, value=value, **more)

    def reject(
        self, run: str, key: str, *, approver: str | None = None, comment: str | None = None
    ) -> View:
        return self.decide(run, key, approved=False, approver=approver, comment=comment)

    def delegate(self, run: str, key: str, delegate: str, *, comment: str | None = None) -> View:
        body = {"delegate": delegate, "comment": comment}
        return self._act(run, "approvals", key, **body)

    def _act(self, run: str, *path: str, **body: object) -> View:
        return self.do(flows.done(self.manner, "runs", run, *path, body=body))

    # --- signals ---------------------------------------------------------------------------

    def signal(self, run: str, name: str, value: Any = None, *, id: str | None = None) -> View:
        return self.do(flows.signalled(self.manner, run, name, value, id))

    def update(
        self,
        run: str,
        name: str,
        value: Any = None,
        *,
        id: str | None = None,
        wait: float | None = None,
    ) -> Any:
        return self.do(flows.updated(self.manner, run, name, value, id, wait))

    def answer(self, run: str, id: str, wait: float | None = None) -> Any:
        return self.do(flows.answered(self.manner, run, id, wait))

    @overload
    def signal_or_start(
        self,
        workflow: Workflow[P, R],
        key: str,
        name: str,
        value: Any,
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Run[R]: ...
    @overload
    def signal_or_start(
        self, workflow: str, key: str, name: str, value: Any, /, **options: Unpack[SignalOptions]
    ) -> Run[Any]: ...
    def signal_or_start(
        self, workflow: Any, key: str, name: str, value: Any, /, *args: Any, **kwargs: Any
    ) -> Run[Any]:
        asked = flows.signalled_by_key(self.manner, workflow, key, name, value, args, kwargs)
        of = workflow if isinstance(workflow, Workflow) else None
        return Run(self, self.do(asked)["run"], of, False, {})

    # --- events ----------------------------------------------------------------------------------

    def publish(self, name: str, data: Any = None, *, id: str | None = None) -> View:
        return self.do(flows.published(self.manner, name, data, id))

    # --- callbacks, by their addresses ---------------------------------------------------------

    def complete(self, address: str, result: Any = None, *, connection: object = None) -> View:
        if connection is not None:
            from rewake.client import joined  # noqa: PLC0415 - it takes what a server has

            return joined.at_once(joined.complete(address, result, connection))
        return self.do(flows.called(self.manner, address, body=result))

    def fail(
        self, address: str, type: str, message: str = "", *, connection: object = None
    ) -> View:
        if connection is not None:
            from rewake.client import joined  # noqa: PLC0415

            return joined.at_once(joined.fail(address, type, message, connection))
        body = {"type": type, "message": message}
        return self.do(flows.called(self.manner, address, "fail", body=body))

    def heartbeat(self, address: str) -> View:
        return self.do(flows.called(self.manner, address, "heartbeat", body={}))

    # --- doing it ------------------------------------------------------------------------------

    def do(self, flow: Flow[T]) -> T:
        try:
            step = next(flow)
            while True:
                if isinstance(step, Pause):
                    time.sleep(step.seconds)
                    step = flow.send(Lost("it rested"))
                    continue
                address, headers = step.address(self.url), headers_of(step, self._token)
                step = flow.send(self._transport.send(step, address, headers))
        except StopIteration as ended:
            result: T = ended.value
            return result
        finally:
            flow.close()


class Starter:
    """Starts runs with options. Made by `Client.with_options`."""

    def __init__(self, client: Client, options: Options) -> None:
        self._client = client
        self._options = options

    def start(self, workflow: Workflow[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Run[R]:
        """Start a run of a workflow with its arguments."""
        arguments = arguments_of(workflow, args, kwargs)
        return self._client.started(workflow.name, workflow, arguments, self._options)


class Run(Generic[R_co]):
    """A run that a client has started. `is_new`: it was not there before."""

    def __init__(
        self,
        client: Client,
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
        return f"<Run {self.id}>"

    def result(self, wait: float | None = None) -> R_co:
        """What it returned, of the workflow's type, once it has ended; else as `Client.result`."""
        if "result" not in self._view:
            flow = flows.outcome(self._client.manner, self.id, wait)
            self._view = self._client.do(flow).body
        result: R_co = value_of(self._view, self._workflow)
        return result

    def watch(self, *, only: Sequence[str] | None = None) -> Iterator[View]:
        """What it tells, until it ends."""
        return self._client.watch(self.id, only=only)

    def get(self) -> View:
        """Where it stands."""
        return self._client.get(self.id)

    def cancel(self, reason: str | None = None) -> View:
        """Let it clean up and end."""
        return self._client.cancel(self.id, reason)

    def signal(self, name: str, value: Any = None, *, id: str | None = None) -> View:
        """Send it a signal."""
        return self._client.signal(self.id, name, value, id=id)

    def update(
        self, name: str, value: Any = None, *, id: str | None = None, wait: float | None = None
    ) -> Any:
        """Send it an update, and return what it answers."""
        return self._client.update(self.id, name, value, id=id, wait=wait)
