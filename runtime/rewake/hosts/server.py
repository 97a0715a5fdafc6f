"""A server as one process: an app, a database, and uvicorn.

When it is told to end, it stops accepting, lets requests that wait return, gives work under way a
grace period, releases the rest and exits with 0.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn

import uvicorn
from starlette.applications import Starlette

from rewake import forks
from rewake.app import App
from rewake.engine.handover.watchdog import bounded
from rewake.engine.process.threads import NAMES as SYNC_THREADS
from rewake.errors import ConfigError, UsageError
from rewake.hosts.building import build_app, check_dispatcher
from rewake.hosts.config import ServerConfig
from rewake.hosts.databases import Address, refuse_unfit
from rewake.hosts.garbage import settle
from rewake.hosts.log_formats import configure_logging
from rewake.hosts.protocol import BoundedProtocol
from rewake.hosts.request_logs import bound_request_logs
from rewake.http.app import begin_closing, told_to_end

log = logging.getLogger("rewake.server")

KEEP_ALIVE = 130
"""Seconds for which an idle connection is kept: longer than the HTTP dispatcher keeps one, and than
proxies do (Caddy two minutes), whose next request would meet a closed one, and be a 502.
"""
_LAST_WORDS = 1.0  # Seconds for what is left in the event loop, once everything is released.
_LONGEST_END = 2.0  # Seconds that Python may still wait for threads, children and exit handlers.
_LONGEST_ANSWER = 5  # Seconds that a request may still take when the server ends.


class _Server(uvicorn.Server):
    """Ends with status 0 on a signal, and lets long polls return at once."""

    grace = 0.0
    bound: Sequence[socket.socket] = ()

    def after_fork(self) -> list[int]:
        """The sockets of the server and of its clients. See `rewake.forks`."""
        clients = [getattr(each, "transport", None) for each in self.server_state.connections]
        sockets = [each.get_extra_info("socket") for each in clients if each is not None]
        return [each.fileno() for each in (*self.bound, *sockets) if each is not None]

    def handle_exit(self, sig: int, frame: object) -> None:  # noqa: ARG002
        app = self.config.app
        assert isinstance(app, Starlette)
        told_to_end(app, 0.0 if self.should_exit else self.grace)
        self.force_exit = self.should_exit  # the second signal does not wait
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for each in sockets or ():
            host, port = each.getsockname()[:2]
            log.info("serving on http://%s:%s", f"[{host}]" if ":" in host else host, port)

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        await super().serve(sockets)
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        if left and (await asyncio.wait(left, timeout=_LAST_WORDS))[1]:
            log.warning("tasks that do not end are cut off")
            end_process(0, cut_off=True)  # the event loop would wait for them
        if self.started:
            threading.Thread(target=_bound_the_end, name="rewake-end", daemon=True).start()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        app = self.config.app
        assert isinstance(app, Starlette)
        begin_closing(app)
        await super().shutdown(sockets)


def serve(
    config: ServerConfig,
    source: str | App | None = None,
    listener: socket.socket | None = None,
    *,
    development: bool = False,
) -> None:
    """Serve until SIGTERM or SIGINT, on `listener` if it is given.

    `development`: for a developer alone, so that what is not set up yet is warned of, and shut.
    Sync tasks that did not end in time still run in their threads: call `end_process` next. Raises
    as `build_app` does, and `ConfigError` if it cannot listen.
    """
    configure_logging(config.log_level, config.log_format)
    bound_request_logs()
    with listener or listen(config.host, config.port) as bound:
        refuse_unfit(Address(config.db, config.blobs))
        app = build_app(config.app if source is None else source, config, development=development)
        check_dispatcher(app.state.parts.engine.services.dispatcher)
        workflows = ", ".join(sorted(app.state.parts.engine.app.workflows)) or "none"
        log.info("app %s, database %s, workflows: %s", config.app, Address(config.db), workflows)
        if config.served is not None:
            log.info("only work of these tags is taken: %s", config.served)
        if not config.url:
            log.warning("REWAKE_URL is not set: a run that reads a link waits until it is")
        settings = uvicorn.Config(
            app,
            log_config=None,
            access_log=config.log_level == "debug",
            lifespan="on",
            http=BoundedProtocol,
            ws="none",
            server_header=False,
            proxy_headers=bool(config.proxies),
            forwarded_allow_ips=",".join(config.proxies),
            timeout_keep_alive=KEEP_ALIVE,
            timeout_graceful_shutdown=_LONGEST_ANSWER,
        )
        server = _Server(settings)
        settle()
        server.grace, server.bound = config.grace, [bound]
        forks.withhold(server)
        forks.withhold_signals(signal.SIGTERM, signal.SIGINT)
        server.run(sockets=[bound])


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises `ConfigError`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        reason = error.strerror or str(error)
        raise ConfigError(f"cannot listen on {host} port {port}: {reason}") from error


def end_process(status: int, *, cut_off: bool = False) -> NoReturn:
    """End the process, also when sync tasks that were abandoned still run in their threads.

    `cut_off`: also when asyncio tasks still run.
    """
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, OSError, ValueError):  # an app may have put anything there
            stream.flush()
    if cut_off or any(each.name.startswith(SYNC_THREADS) for each in threading.enumerate()):
        forks.end_children()
        os._exit(status)  # what they do to an interpreter that ends is anybody's guess
    sys.exit(status)


def _bound_the_end() -> None:
    """End the process if Python does not: it waits for `asyncio.to_thread`, and for others."""
    time.sleep(_LONGEST_END)
    bounded(_tell_what_is_left, _LAST_WORDS)  # what is left may hold the log's lock
    os._exit(0)


def _tell_what_is_left() -> None:
    waits = [each for each in threading.enumerate() if not each.daemon]
    names = [each.name for each in waits if each is not threading.main_thread()]
    log.warning("what does not end is cut off; threads: %s", ", ".join(names) or "none")
    forks.end_children()


def main() -> NoReturn:
    """`python -m rewake.hosts.server`: serve what the environment describes."""
    try:
        serve(ServerConfig.from_env())
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 - it is for the terminal
        end_process(2)
    end_process(0)


if __name__ == "__main__":
    main()
