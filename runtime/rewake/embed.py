"""The door for code that mounts Rewake in an app of its own, or embeds its engine.

    from rewake.embed import Engine, InProcessDispatcher, Secret, SqliteTable, SystemClock, load_app

    app, _ = load_app("app.py")
    table, dispatcher = SqliteTable("runs.db"), InProcessDispatcher(SystemClock())
    engine = Engine(app, table, dispatcher, Secret("a long random text"))
    engine.open()                                   # in a running event loop
    header, new = await engine.start("main", {"urls": []})
    outcome = await engine.result(header.run, wait=20)
    value = result_of(engine, header, outcome)      # or TaskError: why it did not succeed
    await engine.close()

`create_app(engine, secret)` is the HTTP face of such an engine as a Starlette app, which opens and
closes it; `app_from_env()` is the whole server as the environment describes it. A decision is made
with `await Approvals(engine).decide(run, key, Approval(Decision.APPROVED))`. `MemoryTable` keeps
everything in memory: for tests.
"""

from __future__ import annotations

from typing import Any

from rewake.app import App, load_app
from rewake.authoring.hints import return_hint
from rewake.clock import SystemClock
from rewake.dispatchers.http import HttpDispatcher
from rewake.dispatchers.in_process import InProcessDispatcher
from rewake.engine.approvals import Approvals
from rewake.engine.engine import Engine
from rewake.engine.settings import Settings
from rewake.errors import CheckpointUnreadable
from rewake.hosts.building import app_from_env
from rewake.http.app import create_app
from rewake.kinds import Purpose
from rewake.records import Header, Outcome
from rewake.signing.secret import Secret
from rewake.stores.memory import MemoryTable
from rewake.stores.sqlite.table import SqliteTable
from rewake.values.failures import task_error
from rewake.values.run_codec import RunCodec


def result_of(engine: Engine, header: Header, outcome: Outcome) -> Any:
    """What a run returned, as the Python value; a pickle is loaded only if its signature is right.

    Raises `TaskError` if the run did not succeed, `CheckpointUnreadable` if its result cannot be
    read, and `RunNotFound` if this app lacks its workflow, whose type hint says what to read.
    """
    if outcome.failure is not None:
        raise task_error(outcome.failure)
    if outcome.value is None:
        raise CheckpointUnreadable(f"the result of run {header.run} is missing")
    services = engine.services
    hint = return_hint(services.app.workflow(header.workflow).function)
    codec = RunCodec(services.secret, header.run)
    return codec.decode(outcome.value, key="", purpose=Purpose.OUTPUT, hint=hint)


__all__ = [
    "App",
    "Approvals",
    "Engine",
    "HttpDispatcher",
    "InProcessDispatcher",
    "MemoryTable",
    "Secret",
    "Settings",
    "SqliteTable",
    "SystemClock",
    "app_from_env",
    "create_app",
    "load_app",
    "result_of",
]
