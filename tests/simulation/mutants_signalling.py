"""Mutants of signals: they are lost, doubled, out of order, or wake nobody."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import msgspec

from rewake.engine.instances.inbox import Inbox
from rewake.engine.turns import commits
from rewake.records import Entry, Signal
from rewake.replay.execution import Execution
from rewake.stores.signals import Sent, Signals
from tests.simulation.mutants import Mutant


@contextmanager
def a_parked_run_hears_nothing() -> Iterator[None]:
    """A run that waits for a signal does not say so in its header."""

    def nothing(_: Execution) -> str:
        return ""

    with patch.object(commits, "_hears", nothing):
        yield


@contextmanager
def the_same_signal_twice() -> Iterator[None]:
    """An id tells nothing: each sending is a signal of its own."""
    send, count = Signals.send, itertools.count()

    async def anew(self: Signals, signal: Signal, claim: Any = None) -> Sent:
        other = msgspec.structs.replace(signal, id=f"{signal.id}.{next(count)}", value=signal.value)
        return await send(self, other, claim)

    with patch.object(Signals, "send", anew):
        yield


@contextmanager
def the_last_comes_first() -> Iterator[None]:
    """Of those that wait, the newest is delivered first."""
    put = Inbox._put

    def behind(self: Inbox, signal: Signal) -> None:
        put(self, msgspec.structs.replace(signal, number=-signal.number))

    with patch.object(Inbox, "_put", behind):
        yield


@contextmanager
def a_replay_forgets_what_was_consumed() -> Iterator[None]:
    """Who goes on from a history takes signals again that it has consumed."""

    def blind(self: Inbox, _: Iterable[Entry]) -> None:
        self._blind = True

    with patch.object(Inbox, "passed", blind):
        yield


@contextmanager
def an_answer_is_never_found() -> Iterator[None]:
    """What a workflow answers to an update stays in its history, and nobody looks there."""

    async def no(self: Signals, *_: Any) -> None:
        pass

    class Unseen:
        """No entry is one."""

    with (
        patch.object(Signals, "answer", no),
        patch("rewake.engine.outside.signals.Scheduled", Unseen),
    ):
        yield


SIGNALLING: Sequence[Mutant] = (
    a_parked_run_hears_nothing,
    the_same_signal_twice,
    the_last_comes_first,
    a_replay_forgets_what_was_consumed,
    an_answer_is_never_found,
)
