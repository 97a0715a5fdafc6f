"""What can be imported is pickled by a name that every Python minor reads; code is not."""

from __future__ import annotations

import base64
import dataclasses
import enum
import json
import pathlib
import pickle
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from rewake.errors import CheckpointUnreadable, ReadableElsewhere
from rewake.values import pickles, references
from rewake.values.codecs import decode, encode
from tests.support.values import PLACE
from tests.values.portable import RECORDED, VALUES, told

recorded = json.loads(RECORDED.read_text())


@pytest.mark.parametrize("minor", sorted(recorded))
@pytest.mark.parametrize("name", VALUES)
def test_what_another_minor_wrote_is_read(minor: str, name: str) -> None:
    """Objects, classes and functions that can be imported come back as they were on any minor."""
    assert told(pickle.loads(base64.b64decode(recorded[minor][name]))) == told(VALUES[name])


@pytest.mark.parametrize("name", VALUES)
def test_what_can_be_imported_holds_no_code(name: str) -> None:
    """Such a pickle is read by any minor: it names what it is made of."""
    payload, holds_code = references.dumped(VALUES[name])
    assert not holds_code
    assert told(pickle.loads(payload)) == told(VALUES[name])


def test_known_moves_are_written_in_the_oldest_form() -> None:
    """Paths are written as `pathlib`'s, where every minor finds them."""
    payload, _ = references.dumped([pathlib.Path("a"), pathlib.PurePath])
    assert b"_local" not in payload


def made_here() -> list[Any]:
    captured = 5

    @dataclasses.dataclass
    class Local:
        n: int

    return [lambda: captured, Local, Local(1), made_here.__code__, [{"deep": lambda: 1}]]


@pytest.mark.parametrize("index", range(5))
def test_code_stays_with_its_minor(index: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A closure, or an object of a class in a function, waits for the minor that made it."""
    stored = with_python(monkeypatch, "3.7", lambda: encode(made_here()[index], **PLACE))
    with pytest.raises(ReadableElsewhere, match=r"the result of .*holds code of Python 3\.7"):
        decode(stored, **PLACE)


def test_a_class_that_msgspec_knows_is_carried_like_others() -> None:
    """It notes in a class what no pickle can hold, also of one that is carried by value."""

    @dataclasses.dataclass
    class Local:
        n: int

    class Color(enum.Enum):
        RED = "red"

    for made in (msgspec.convert({"n": 1}, Local), msgspec.convert("red", Color)):
        assert vars(type(made))["__msgspec_cache__"] is not None
        payload, holds_code = references.dumped([made, type(made)])
        assert holds_code
        assert pickle.loads(payload) == [made, type(made)]


def test_what_only_its_minor_finds_waits_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name of the standard library that is not here is another minor's; a user's own is gone."""

    def reading(name: str) -> None:
        made = pickles.Pickle(f"c{name}\n.".encode(), holds_code=False, python="3.7")
        pickles.unpickled(made, pickles.Place("r1", "fetch", "result"))

    for name in ("pathlib._nowhere\nPath", "re\nNothing", "asyncio.nowhere\nx"):
        with pytest.raises(ReadableElsewhere, match=r"Python 3\.7 wrote it"):
            reading(name)
    for name in ("rewake_test_gone\nx", "tests.values.portable\nGone"):
        with pytest.raises(CheckpointUnreadable, match="moved or renamed") as caught:
            reading(name)
        assert not isinstance(caught.value, ReadableElsewhere)


def test_whether_it_holds_code_cannot_be_forged(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mark in the header is signed too: bytecode of another minor is never run."""
    stored = with_python(monkeypatch, "3.7", lambda: encode(lambda: 1, **PLACE))
    sealed = base64.b64decode(json.loads(bytes(stored.body)))
    for forged in (b"pickle 3.7", f"code {pickles.PYTHON}".encode()):
        body = base64.b64encode(sealed.replace(b"code 3.7", forged, 1)).decode()
        with pytest.raises(CheckpointUnreadable, match="signature"):
            decode(type(stored)("pickle", msgspec.Raw(json.dumps(body).encode())), **PLACE)


def with_python(patch: pytest.MonkeyPatch, python: str, write: Callable[[], Any]) -> Any:
    """What a process of that Python would write."""
    with patch.context() as inner:
        inner.setattr(pickles, "PYTHON", python)
        return write()
