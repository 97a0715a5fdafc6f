"""The methods of an event loop that a workflow's has not: each is refused, and says what to do."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any

from rewake.errors import ForbiddenInWorkflow
from rewake.replay import guard

_REFUSED = {
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


def _refusal(method: str, what: str) -> Callable[..., Any]:
    message = guard.refusal(what, f"loop.{method}")

    def refuse(loop: Any, *_: Any, **__: Any) -> Any:
        frames = guard.frames_of_the_workflow(sys._getframe(1))
        guard.note_refusal(loop, f"loop.{method}", frames)
        raise ForbiddenInWorkflow(message)

    return refuse


Refusing: Any = type(
    "Refusing",
    (asyncio.AbstractEventLoop,),
    {method: _refusal(method, what) for what, methods in _REFUSED.items() for method in methods},
)
"""An event loop that refuses every method with an effect outside."""
