"""What `rewake.values` promises of errors as data."""

from __future__ import annotations

import asyncio
import pickle
import re
import threading
import types
from pathlib import Path
from typing import Any

import cloudpickle
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import rewake
from rewake.errors import TaskError, UsageError
from rewake.kinds import Purpose
from rewake.records import Failure
from rewake.values.failures import failure_of, task_error
from rewake.values.pickles import Place, pickled

# --- failures ----------------------------------------------------------------------------------
from tests.support.values import Canary, double


class Mute(Exception):
    def __str__(self) -> str:
        raise ValueError("no words")


def raised(exc: Exception) -> Exception:
    """Return `exc` with a traceback."""
    try:
        raise exc
    except Exception as caught:
        return caught


def test_failures_are_data() -> None:
    """A failure names the type, message, traceback and attempts, and becomes the same error."""
    failure = failure_of(raised(ValueError("boom")), 3)
    assert (failure.type, failure.message, failure.attempts) == ("ValueError", "boom", 3)
    assert failure.traceback.startswith("Traceback (most recent call last):\n")
    assert failure.traceback.endswith("ValueError: boom\n")
    error = task_error(failure)
    assert str(error) == "ValueError: boom"
    copy = pickle.loads(pickle.dumps(error))
    for each in (error, copy):
        assert type(each) is TaskError
        assert (each.type, each.message, each.attempts) == ("ValueError", "boom", 3)
        assert each.traceback == failure.traceback


def test_a_group_says_what_is_in_it() -> None:
    """The message of a group names its members, those of groups in it too, and not endless ones."""
    task = TaskError("no ghost", type="NonRetryable")
    inner = ExceptionGroup("unhandled errors in a TaskGroup", [task])
    told = failure_of(ExceptionGroup("two", [inner, ValueError("boom")]), 1).message
    members = "unhandled errors in a TaskGroup (1 sub-exception): TaskError: NonRetryable: no ghost"
    assert told == f"two (2 sub-exceptions): ExceptionGroup: {members}; ValueError: boom"
    many = failure_of(ExceptionGroup("many", [ValueError(f"{n}") for n in range(9)]), 1).message
    assert many == "many (9 sub-exceptions): ValueError: 0; ValueError: 1; ValueError: 2; …"
    mute = failure_of(ExceptionGroup("one", [Mute()]), 1).message
    assert mute == "one (1 sub-exception): Mute: <no message: its text raised ValueError>"


def test_failures_never_fail() -> None:
    """An exception whose text raises still becomes a failure, without hiding what happened."""
    failure = failure_of(raised(Mute()), 1)
    assert failure.type == "Mute"
    assert failure.message == "<no message: its text raised ValueError>"
    assert "in raised" in failure.traceback


@given(st.text(st.characters(exclude_categories=[]), max_size=40), st.integers(1, 1500))
def test_failures_can_be_stored(text: str, times: int) -> None:
    """Messages are bounded, and any text in them can be stored."""
    failure = failure_of(raised(ValueError(text * times)), 1)
    stored = msgspec.json.encode(failure)
    assert msgspec.json.decode(stored, type=Failure) == failure
    assert len(failure.message.encode()) <= 4096
    assert len(failure.traceback.encode()) <= 8192


def test_long_texts_keep_the_useful_end() -> None:
    """Of a long message the head is kept, of a long traceback the tail, in whole lines."""
    source = "\n".join(f"def f{n}(): f{n + 1}()" for n in range(400)) + "\ndef f400(): 1 / 0\n"
    scope: dict[str, Any] = {}
    exec(source, scope)
    with pytest.raises(ZeroDivisionError) as caught:
        scope["f0"]()
    failure = failure_of(caught.value, 1)
    assert len(failure.traceback.encode()) <= 8192
    assert re.match(r"…\n  File ", failure.traceback)
    assert failure.traceback.endswith("ZeroDivisionError: division by zero\n")
    long = failure_of(ValueError("ü" * 5000), 1).message
    assert (long[:3], long[-1], len(long.encode())) == ("üüü", "…", 4095)


def test_the_runtimes_own_frames_are_left_out() -> None:
    """A traceback begins with the user's code; one wholly of the runtime's is kept."""
    runtime: dict[str, Any] = {}
    file = str(Path(rewake.__file__).parent / "engine" / "task.py")
    exec(compile("def run(f):\n    f()\ndef fail():\n    1 / 0\n", file, "exec"), runtime)
    with pytest.raises(TypeError) as users:
        runtime["run"](lambda: double(None))  # type: ignore[arg-type]
    trimmed = failure_of(users.value.with_traceback(below(users.value)), 1).traceback
    assert "task.py" not in trimmed
    assert "in double" in trimmed
    with pytest.raises(ZeroDivisionError) as own:
        runtime["run"](runtime["fail"])
    assert "in fail" in failure_of(own.value.with_traceback(below(own.value)), 1).traceback


def below(exc: BaseException) -> types.TracebackType | None:
    """Return the traceback without this test's own frame."""
    assert exc.__traceback__ is not None
    return exc.__traceback__.tb_next


def test_cloudpickle_is_what_is_assumed() -> None:
    """A class of an importable module is pickled by reference (or else moving it goes unseen)."""
    assert Canary.__module__.encode() in cloudpickle.dumps(Canary)
    assert b"__setstate__" not in cloudpickle.dumps(Canary)


def test_what_the_runtime_tells_the_user_has_no_frames_of_the_runtime() -> None:
    """Its sentence names the user's line; what nobody foresaw keeps the frames that there are."""
    told, unforeseen = (failure_of(_of_the_runtime(e), 1) for e in (UsageError("no"), OSError()))
    assert told.traceback == "rewake.errors.UsageError: no\n"
    assert "asyncio" in unforeseen.traceback


def _of_the_runtime(error: Exception) -> BaseException:
    """The error, with a traceback through no code but the machinery's."""
    code = compile("raise error", asyncio.__file__, "exec")
    own = None
    try:
        exec(code, {"error": error})
    except Exception as caught:
        own = caught.__traceback__
    return error.with_traceback(own and own.tb_next)


def test_a_value_that_cannot_be_stored_has_no_frames_of_what_pickles() -> None:
    """The error says why and names the part; an error of the user's own code under it stays."""
    lock = threading.Lock()
    for value, frames in ((lambda: lock, False), (_Refuses(), True)):
        with pytest.raises(UsageError) as caught:
            pickled(value, Place("run", "key", Purpose.RESULT))
        told = failure_of(caught.value, 1).traceback
        assert "cloudpickle.py" not in told
        assert ("in __reduce__" in told) is frames


class _Refuses:
    def __reduce__(self) -> Any:
        raise ValueError("not me")
