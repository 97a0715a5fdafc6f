"""The methods of an event loop that a workflow's has not: each is refused, and says what to do."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any

from rewake.errors import ForbiddenInWorkflow
from rewake.replay import guard, sync_hooks

REFUSED = {
    "threads": ("run_in_executor", "call_soon_threadsafe", "set_default_executor"),
    "the network": (
        "create_connection",
        "create_server",
        "create_unix_connection",
        "create_unix_server",
        "create_datagram_endpoint",
        "connect_accepted_socket",
        "sendfile",
        "start_tls",
        "getaddrinfo",
        "getnameinfo",
        "sock_recv",
        "sock_recv_into",
        "sock_recvfrom",
        "sock_recvfrom_into",
        "sock_sendall",
        "sock_sendto",
        "sock_connect",
        "sock_accept",
        "sock_sendfile",
    ),
    "pipes and files": (
        "connect_read_pipe",
        "connect_write_pipe",
        "add_reader",
        "remove_reader",
        "add_writer",
        "remove_writer",
    ),
    "subprocesses": ("subprocess_shell", "subprocess_exec"),
    "signals": ("add_signal_handler", "remove_signal_handler"),
    "control of the event loop": (
        "run_forever",
        "run_until_complete",
        "stop",
        "close",
        "shutdown_asyncgens",
        "shutdown_default_executor",
        "set_exception_handler",
        "set_task_factory",
    ),
}

"""Methods, by what they are for."""

_UNLESS: dict[str, Callable[..., Any]] = {"run_in_executor": sync_hooks.in_place}
"""What is done in place of some, unless it gives None."""


def _refusal(method: str, what: str) -> Callable[..., Any]:
    message = guard.refusal(what, f"loop.{method}")

    instead = _UNLESS.get(method)

    def refuse(loop: Any, *args: Any, **_: Any) -> Any:
        frame = sys._getframe(1)
        if instead is not None and (found := instead(loop, frame, *args)) is not None:
            return found
        guard.note_refusal(loop, f"loop.{method}", guard.frames_of_the_workflow(frame))
        raise ForbiddenInWorkflow(message)

    return refuse


Refusing: Any = type(
    "Refusing",
    (asyncio.AbstractEventLoop,),
    {method: _refusal(method, what) for what, methods in REFUSED.items() for method in methods},
)
"""An event loop that refuses every method with an effect outside."""
