"""The serving half of `rewake dev`: one version of the app, for as long as it is the newest.

It loads the app and says so. It serves only once the supervisor tells it to, on the supervisor's
socket, so that connections made in between wait instead of failing. It ends with the supervisor.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
from dataclasses import replace
from typing import NoReturn

import msgspec

from rewake.app import App, load_app
from rewake.cli.dev.banner import banner
from rewake.cli.exits import complain, exit_for, warn_in_lines
from rewake.cli.home import HOME
from rewake.errors import DeterminismWarning, RewakeError
from rewake.hosts.config import ServerConfig, dev_secret
from rewake.hosts.server import end_process, serve


class Orders(msgspec.Struct, frozen=True):
    """A child's orders: the app, file descriptors, and whether it is the first child."""

    source: str
    url: str
    log_format: str
    listener: int
    ready: int
    go: int
    first: bool


def main() -> NoReturn:
    """Carry out the orders in the first argument."""
    # Ctrl-C reaches the whole process group; until there is a server, nothing is to be released.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    # Two saves within one second would have the same time stamp in a cached module.
    sys.dont_write_bytecode = True
    warn_in_lines()
    orders = msgspec.json.decode(sys.argv[1], type=Orders)
    try:
        app, _ = load_app(orders.source)
        os.write(orders.ready, b".")
        os.close(orders.ready)
        if not os.read(orders.go, 1):
            end_process(0)
        threading.Thread(target=_end_with, args=(orders.go,), daemon=True).start()
        _serve(app, orders)
    except (RewakeError, DeterminismWarning) as error:
        complain(error)
        end_process(exit_for(error))
    end_process(0)


def _serve(app: App, orders: Orders) -> None:
    given = ServerConfig.from_env(app=orders.source, log_format=orders.log_format)
    config = given.with_secret(dev_secret(HOME))
    config = replace(config, url=config.url or orders.url)
    if orders.first:
        print(banner(app, config, orders.url), flush=True)
    else:
        print(f"reloaded {orders.source}: {', '.join(sorted(app.workflows))}", flush=True)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    serve(config, app, listener=socket.socket(fileno=orders.listener), development=True)


def _end_with(supervisor: int) -> None:
    """End when the supervisor does: then its end of this pipe closes."""
    os.read(supervisor, 1)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
