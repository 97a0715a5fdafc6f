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
closes it, with `limits=Limits(...)` of its load; `identity=IdentitySettings(...)` says whom it
believes who somebody is. `app_from_env()` is the whole server as the environment describes it. An
app that has one of them mounted runs it in its own lifespan: `async with running(runs)`. A
decision is made with
`await Approvals(engine).decide(run, key, Approval(Decision.APPROVED))`, a callback ended with
`await Callbacks(engine).complete(token, result)`, a signal sent with
`await Signals(engine).send(run, name, value)`, an event published with
`await Events(engine).publish(name, data)`. `MemoryTable` keeps everything in memory: for tests.
"""

from __future__ import annotations

from rewake.app import App, load_app
from rewake.clock import SystemClock
from rewake.dispatchers.http import HttpDispatcher
from rewake.dispatchers.in_process import InProcessDispatcher
from rewake.engine.engine import Engine
from rewake.engine.outside.approvals import Approvals
from rewake.engine.outside.callbacks import Callbacks
from rewake.engine.outside.events import Events
from rewake.engine.outside.signals import Signals
from rewake.engine.results import result_of
from rewake.engine.settings import Settings
from rewake.hosts.building import app_from_env
from rewake.http.app import create_app, running
from rewake.http.load import Limits
from rewake.identity.oidc import OidcSettings
from rewake.identity.proxies import ProxySettings
from rewake.identity.settings import IdentitySettings, Proof
from rewake.signing.secret import Secret
from rewake.stores.memory import MemoryTable
from rewake.stores.sqlite.table import SqliteTable

__all__ = [
    "App",
    "Approvals",
    "Callbacks",
    "Engine",
    "Events",
    "HttpDispatcher",
    "IdentitySettings",
    "InProcessDispatcher",
    "Limits",
    "MemoryTable",
    "OidcSettings",
    "Proof",
    "ProxySettings",
    "Secret",
    "Settings",
    "Signals",
    "SqliteTable",
    "SystemClock",
    "app_from_env",
    "create_app",
    "load_app",
    "result_of",
    "running",
]
