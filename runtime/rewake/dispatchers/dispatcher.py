"""The contract of a dispatcher: to carry messages that are only hints.

A message may be lost, repeated, late or early; nothing depends on it but speed. A dispatcher is
given a `Handler` to call with messages, and promises to try.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from rewake.records import Invocation

Handler = Callable[[Invocation], Awaitable[None]]


class Dispatcher(Protocol):
    """Carries invocations to the processes that handle them."""

    @property
    def local(self) -> bool:
        """Whether this process handles what it dispatches."""
        ...

    def open(self, handler: Handler) -> None:
        """Begin; `handler` takes the messages that are for this process."""
        ...

    async def dispatch(self, invocations: Sequence[Invocation]) -> None:
        """Send messages off, each not before its `not_before`; does not wait for their work."""
        ...

    async def flush(self) -> None:
        """Wait until what is to be sent now has been sent: the process may stand still then."""
        ...

    async def close(self) -> None:
        """Stop sending. Delayed messages are not sent: the due index covers them."""
        ...
