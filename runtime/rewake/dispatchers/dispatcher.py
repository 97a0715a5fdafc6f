"""The contract of a dispatcher: to carry messages that are only hints.

A message may be lost, repeated, late or early; nothing depends on it but speed. A dispatcher is
given a `Handler` to call with messages, and promises to try.

Some keep what they carry, so that it outlives the process that sent it: a queue. Such a one takes
messages long before their time (`reach`), and is told what became of each, for it would bring again
what was never done (`Handler`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar
from typing import NamedTuple, Protocol

from rewake.records import Invocation, Millis

Handler = Callable[[Invocation], Awaitable[Millis | None]]
"""Acts on a message. None: nothing of it is left to do. Else the moment from which on it is of use
again, since another process has the work, which may die. Raises `Closing`.
"""
needs_no_slot: ContextVar[Callable[[], object]] = ContextVar(
    "rewake_needs_no_slot", default=lambda: None
)
"""What a handler calls once its message needs no slot any more, though it is not done with it: the
run goes on, perhaps with a step of an hour, or the task waits to be begun apart. For who takes no
more messages than there is room for.
"""


class Closing(Exception):
    """This process takes nothing more: the message is for another one, at once."""


class Parked(NamedTuple):
    """A message that could not be handled, and was put where a person sees it."""

    id: str
    """Its name in the queue."""
    at: Millis
    """When it was parked."""
    reason: str
    run: str
    """The run that it says it is about; empty: it cannot be read."""
    key: str
    size: int
    """How many bytes it has."""
    body: str
    """The message in it, without its signature; whole, if it is none."""


class DeadLetters(Protocol):
    """The messages that were parked. Its methods raise `TransportUnavailable`."""

    async def page(self, most: int) -> tuple[Sequence[Parked], bool]:
        """Some of the messages, in no order, and whether there may be more."""
        ...

    async def find(self, id: str) -> Parked | None:
        """One of them, if it is among those that can be looked at."""
        ...

    async def redrive(self, id: str | None) -> int:
        """Send one, or all of them, again. Returns how many."""
        ...


class Dispatcher(Protocol):
    """Carries invocations to the processes that handle them."""

    @property
    def local(self) -> bool:
        """Whether this process handles what it dispatches."""
        ...

    @property
    def reach(self) -> Millis:
        """How far ahead it takes messages that it keeps until then, whoever lives; 0: it does not.

        What is sent for so far ahead is not looked at again before `Settings.grace` after its time.
        """
        ...

    @property
    def dead_letters(self) -> DeadLetters | None:
        """The messages that could not be handled; None: it keeps none."""
        ...

    def open(self, handler: Handler) -> None:
        """Begin; `handler` takes the messages that are for this process."""
        ...

    async def dispatch(self, invocations: Sequence[Invocation]) -> None:
        """Send messages off, each not before its `not_before`; does not wait for their work."""
        ...

    async def is_behind(self) -> bool:
        """Whether messages wait until somebody takes them, so that one that is late is not lost."""
        ...

    async def flush(self) -> None:
        """Wait until what is to be sent now has been sent: the process may stand still then."""
        ...

    async def close(self) -> None:
        """Stop sending. Delayed messages that nobody keeps are not sent: the due index covers."""
        ...
