"""The table of kinds: nothing is missing from a row, and what is stored never changes."""

from __future__ import annotations

import dataclasses

import msgspec
import pytest

from rewake.kinds import DueMeans, Kind, OutcomeKind, Purpose, Traits
from rewake.records import Scheduled


def test_what_is_stored_of_kinds_and_purposes_never_changes() -> None:
    """Histories and signatures hold these texts: a change would strand every run."""
    assert [kind.value for kind in Kind] == [
        "task",
        "step",
        "timer",
        "approval",
        "callback",
        "event",
        "response",
        "emit",
        "signal",
        "answer",
        "block",
        "child",
        "child_start",
        "child_result",
        "child_cancel",
    ]
    assert {purpose.value for purpose in Purpose} == {
        "input",
        "output",
        "call",
        "result",
        "approval",
        "callback",
        "event",
        "response",
        "emitted",
        "signal",
        "state",
        "status",
        "progress",
    }
    assert [kind.value for kind in OutcomeKind] == ["ok", "error", "timeout", "cancelled"]


@pytest.mark.parametrize("kind", Kind)
def test_a_row_does_not_contradict_itself(kind: Kind) -> None:
    """What an invocation carries out is awaited; what the turn carries out is not."""
    traits = kind.traits
    assert not (traits.inline and traits.awaited)
    assert not traits.dispatched or traits.awaited
    assert traits.suspends == (not (traits.dispatched or traits.inline or traits.encloses))
    assert not traits.encloses or not (traits.awaited or traits.inline or traits.due)
    assert traits.due is not DueMeans.DEADLINE or traits.awaited
    assert not traits.fires or not traits.awaited
    assert not traits.heard or traits.suspends
    assert traits.waiting
    assert not traits.at_once or not (traits.inline or traits.awaited or traits.due)


@pytest.mark.parametrize("kind", Kind)
def test_a_kind_can_be_stored(kind: Kind) -> None:
    """A kind in an entry is its text, and is the same member when it is read again."""
    entry = Scheduled("key", kind, "name", "digest")
    body = msgspec.json.encode(entry)
    assert f'"{kind.value}"'.encode() in body
    assert msgspec.json.decode(body, type=Scheduled).kind is kind


def test_a_kind_without_traits_cannot_be_made() -> None:
    """A row that lacks a trait fails when the module is loaded, not when the kind is met."""
    assert {field.name for field in dataclasses.fields(Traits)} == set(Traits.__annotations__)
    with pytest.raises(TypeError, match="due"):
        Traits(  # type: ignore[call-arg]
            awaited=True,
            dispatched=False,
            inline=False,
            asked_with=None,
            ends_with=None,
            waiting="",
        )
