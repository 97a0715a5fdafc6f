"""`rewake doctor`: what a server would find that is started here, with these settings.

Each part is tried by itself: an app that cannot be loaded hides nothing of the database, and wrong
settings nothing of those that are right.
"""

from __future__ import annotations

import asyncio
import os
from functools import partial
from pathlib import Path

from rewake.app import App, load_app
from rewake.cli.exits import Exit
from rewake.cli.findings import show_findings
from rewake.cli.home import SECRET
from rewake.clock import SystemClock
from rewake.doctor.checks import (
    checks_of_database,
    checks_of_machine,
    checks_of_surroundings,
    hooks_found,
)
from rewake.doctor.encryption import encryption
from rewake.doctor.findings import Finding, carried_out, failure, warning, well
from rewake.doctor.front import Door
from rewake.engine.engine import Engine
from rewake.errors import ConfigError, RewakeError, StoreUnsuitable
from rewake.hosts.building import build_engine, look_at_dispatcher
from rewake.hosts.config import ServerConfig, dev_secret
from rewake.hosts.databases import Address, check_place, file_of
from rewake.hosts.hosts import HOSTS, refusals
from rewake.identity.settings import IdentitySettings
from rewake.signing.secret import Secret
from rewake.signing.tokens import app_token
from rewake.webhooks.hooks import hooks_of


def examine(source: str | None, db: str | None, json: bool) -> Exit:
    """Check what can be checked from here."""
    return show_findings(asyncio.run(_findings(source, db)), json=json)


async def _findings(source: str | None, db: str | None) -> list[Finding]:
    config, wrong = ServerConfig.as_far_as_it_goes(app=source, db=db)
    found = [failure("settings", str(each), "mend this variable") for each in wrong]
    if not wrong:
        found = [well("settings", "all can be read")]
    app, of_app = _app(config)
    secret, of_secret = _secret(config)
    of_host = _host(app, config)
    # What could not start could not open its database either.
    engine, folder, of_database = (None, None, []) if of_host else _engine(app, config, secret)
    clock = SystemClock()
    checks = {**checks_of_machine(secret, folder)}
    try:
        if engine is not None:
            checks |= checks_of_database(engine)
            if config.queue:
                checks["messages"] = partial(_messages, engine)
        elif secret is not None:
            checks["encryption"] = lambda: encryption(secret, None)
        if wrong:  # of the keys too, perhaps
            checks.pop("encryption", None)
        if secret is not None:
            door, identity = _door(config, secret), _identity(config)
            checks |= checks_of_surroundings(door, identity, clock, running=False)
        return [*found, *of_app, *of_host, *of_secret, *of_database, *await carried_out(checks)]
    finally:
        if engine is not None:
            await engine.close()


def _app(config: ServerConfig) -> tuple[App, list[Finding]]:
    try:
        app = load_app(config.app)[0]
    except Exception as error:  # of any kind: it is a user's code
        told = f"{config.app} cannot be loaded: {error}"
        return App(), [failure("app", told, "mend the app, or name another: rewake doctor APP")]
    webhooks = [(each, workflow.name) for each, workflow in app.webhooks.values()]
    try:
        hooks = hooks_found(hooks_of(webhooks, os.environ, development=True))
    except RewakeError as error:
        hooks = [failure("webhooks", str(error), "mend what it names")]
    names = ", ".join(sorted(app.workflows)) or "no workflow"
    return app, [well("app", f"{config.app} has {names}"), *hooks]


async def _messages(engine: Engine) -> list[Finding]:
    try:
        await look_at_dispatcher(engine.services.dispatcher)
    except ConfigError as error:
        return [failure("messages", str(error), "see REWAKE_QUEUE and REWAKE_DEAD_LETTERS")]
    return [well("messages", "the queues are there that carry them")]


def _host(app: App, config: ServerConfig) -> list[Finding]:
    """What the host cannot carry, for which no server starts there."""
    if config.platform not in HOSTS:
        return []  # it is told among the settings
    found = refusals(config.runs_on, app, dispatcher=config.dispatcher, db=config.db)
    return [failure("host", each, "see docs/how-to/hosts.md") for each in found]


def _secret(config: ServerConfig) -> tuple[Secret | None, list[Finding]]:
    """The secret, also that of a development server."""
    if config.secret is not None or not SECRET.is_file():
        return config.secret, []
    told = f"REWAKE_SECRET is not set: `rewake dev` uses {SECRET}, `rewake serve` does not start"
    do = "set REWAKE_SECRET before you serve in production"
    return dev_secret(SECRET.parent).with_codec(config.codec), [warning("secret", told, do)]


def _engine(
    app: App, config: ServerConfig, secret: Secret | None
) -> tuple[Engine | None, Path | None, list[Finding]]:
    """An engine that is never opened: it takes no messages and carries nothing out."""
    address, folder = Address(config.db, config.blobs), None
    try:
        if (file := file_of(address)) is not None:
            check_place(file)
            folder = file.parent if file.parent.is_dir() else Path()
            if not file.is_file():
                told = f"there is no {file} yet: it is made when a server starts"
                do = "see REWAKE_DB, if there should be"
                return None, folder, [warning("database", told, do)]
        if secret is None:
            return None, folder, []
        return build_engine(app, config, secret, SystemClock()), folder, []
    except StoreUnsuitable as error:
        do = "do what it says, or name another with REWAKE_DB"
        return None, None, [failure("database", str(error), do)]
    except RewakeError as error:
        return None, None, [failure("database", str(error), "see REWAKE_DB, and who may write")]


def _door(config: ServerConfig, secret: Secret) -> Door:
    token = config.tokens[0] if config.tokens else app_token(secret)
    header = _identity(config).proxy
    return Door(config.url, secret, token, "" if header is None else header.header)


def _identity(config: ServerConfig) -> IdentitySettings:
    try:
        return config.identity
    except ConfigError:  # it is told among the settings
        return IdentitySettings()
