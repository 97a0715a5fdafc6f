"""What a client does in a transaction of its user's own, without a server.

The run, or how a callback ended, is written by the code that a server has, through the user's
connection; servers find it once it is committed. It takes what a server has been told: the secret
and, where values are encrypted, the keys, as the environment says.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec

from rewake.app import App
from rewake.client.flows import Options, View, token_in
from rewake.client.typed import AnyWorkflow
from rewake.clock import SystemClock
from rewake.dispatchers.in_process import InProcessDispatcher
from rewake.engine.engine import Engine
from rewake.engine.outside.callbacks import Callbacks
from rewake.engine.settings import Settings
from rewake.engine.starts.delays import begin_at
from rewake.engine.starts.starting import IfFinished, IfRunning
from rewake.errors import ConfigError, UsageError
from rewake.hosts.config import ServerConfig
from rewake.hosts.databases import schema_of
from rewake.kinds import OutcomeKind
from rewake.stores.postgres.joined import JoinedTable, carried_out_at_once
from rewake.tags import Served
from rewake.values.data import encoded

T = TypeVar("T")


def at_once(work: Awaitable[T]) -> T:
    """What comes of it by a connection that blocks."""
    found: T = carried_out_at_once(work)
    return found


async def start(
    workflow: AnyWorkflow | None, arguments: dict[str, Any], options: Options
) -> tuple[str, bool]:
    """Start a run in the transaction of `options.connection`. Its id, and whether it is new.

    Raises as `Runs.start` does, `UsageError` and `ConfigError`.
    """
    if workflow is None:
        raise UsageError("connection= needs the workflow itself, by which its input is checked")
    if options.wait:
        raise UsageError("wait= waits for nothing before you commit")
    named, app = options.named(secrets.token_hex(16)), App()
    app.add(workflow)
    at = None if named.at is None else int(named.at.timestamp() * 1000)
    begin = begin_at(at, named.seconds, SystemClock().now())

    async def act(engine: Engine) -> tuple[str, bool]:
        header, new = await engine.start(
            workflow.name,
            msgspec.json.decode(encoded(arguments)),  # as it would travel
            run=named.id,
            idempotency_key=named.key,
            tenant=named.tenant or "",
            priority=named.priority,
            if_running=None if named.if_running is None else IfRunning(named.if_running),
            if_finished=None if named.if_finished is None else IfFinished(named.if_finished),
            at=begin,
            labels=named.labels or {},
        )
        return header.run, new

    return await _joined(options.connection, app, act)


async def complete(address: str, result: object, connection: object) -> View:
    """End a callback with its result in the transaction of a connection, as a server would."""
    data = msgspec.json.decode(encoded(result))
    token = token_in(address)
    decided = await _joined(
        connection, App(), lambda engine: Callbacks(engine).complete(token, data, carry_on=False)
    )
    return {"state": _SAID[decided]}


async def fail(address: str, type: str, message: str, connection: object) -> View:
    """Let a callback raise a `TaskError`, likewise."""
    token = token_in(address)
    decided = await _joined(
        connection,
        App(),
        lambda engine: Callbacks(engine).fail(token, type, message, carry_on=False),
    )
    return {"state": _SAID[decided]}


_SAID = {OutcomeKind.OK: "completed", OutcomeKind.ERROR: "failed"}


async def _joined(connection: object, app: App, act: Callable[[Engine], Awaitable[T]]) -> T:
    """What an engine does by a user's connection, that is never opened and carries nothing out."""
    config = ServerConfig.from_env()
    if config.secret is None:
        raise ConfigError("connection= needs the secret of the servers: set REWAKE_SECRET")
    table = JoinedTable(connection, schema_of(os.environ.get("REWAKE_DB", "")))
    dispatcher = InProcessDispatcher(SystemClock())
    settings = Settings(served=Served(untagged=False))  # what it starts is due, for any server
    engine = Engine(
        app, table, dispatcher, config.secret, shelf=table, settings=settings, threads=False
    )
    return await act(engine)
