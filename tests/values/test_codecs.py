"""What `rewake.values` promises: exact round trips and authentic pickles."""

from __future__ import annotations

import base64
import dataclasses
import datetime as dt
import json
import math
import sys
import threading
import types
import uuid
from collections import Counter, OrderedDict
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewake.errors import CheckpointUnreadable, ReadableElsewhere, UsageError
from rewake.kinds import Purpose
from rewake.records import Value
from rewake.signing.secret import Secret
from rewake.values import pickles
from rewake.values.codecs import decode, encode
from rewake.values.pickles import Place
from tests.support.values import (
    MOMENT,
    PLACE,
    SECRET,
    UUID,
    Canary,
    Colour,
    Hidden,
    Item,
    Order,
    Pair,
    Permission,
    Point,
    Row,
    Size,
    SpecialOrder,
    Text,
    anything,
    assert_faithful,
    fingerprint,
    nested,
    orders,
    plain,
    round_trip,
    unpickled,
)

# --- plain JSON --------------------------------------------------------------------------------


@given(plain)
def test_plain_data_is_json(value: Any) -> None:
    """Plain data is stored as JSON that restores it exactly, key order and -0.0 included."""
    assert_faithful(value, "json")


@given(plain)
def test_plain_data_needs_no_hint(value: Any) -> None:
    """A hint does not change plain data, not even one that would convert it."""
    assert_faithful(value, "json", hint=list[float] | dict[str, Colour])


@pytest.mark.parametrize("value", [0.0, -0.0, 5e-324, 1e16, 1e22, 1.7976931348623157e308, 0.1])
def test_floats_are_exact(value: float) -> None:
    """A float comes back as the same float, to the bit."""
    codec, restored = round_trip([value])
    assert codec == "json"
    assert value.hex() == restored[0].hex()


def test_json_can_be_read_by_eye() -> None:
    """The stored body of plain data is its JSON."""
    assert bytes(encode({"a": [1, None]}, **PLACE).body) == b'{"a":[1,null]}'


@pytest.mark.parametrize(
    "value",
    [
        Size.SMALL,
        Text("x"),
        (1, 2),
        {1: "a"},
        {Text("k"): 1},
        {1, 2},
        b"bytes",
        2**63,
        -(2**63) - 1,
        10**5000,
        math.inf,
        "\ud800",
        {"\udfff": 1},
        OrderedDict(a=1),
        Counter("aab"),
        nested(150),
        [[[(1,)]]],
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_json_would_change_is_pickled(value: Any) -> None:
    """Subclasses, tuples, other keys, huge integers and broken text keep type and content."""
    codec, restored = round_trip(value)
    assert codec == "pickle"
    assert type(value) is type(restored)
    assert value == restored


def test_nan_is_kept() -> None:
    """NaN, which JSON lacks, comes back as NaN."""
    codec, restored = round_trip(math.nan)
    assert (codec, math.isnan(restored)) == ("pickle", True)


def test_cycles_and_lattices_end() -> None:
    """A list that contains itself comes back so; one of exponentially many aliases is no trap."""
    cycle: list[Any] = []
    cycle += [cycle, cycle]
    _, restored = round_trip(cycle)
    assert restored[0] is restored
    assert restored[1] is restored
    lattice: list[Any] = []
    for _ in range(60):
        lattice = [lattice, lattice]
    assert encode(lattice, **PLACE).codec == "pickle"


def test_aliases_of_plain_data_become_copies() -> None:
    """One list that occurs twice comes back as two equal lists, as JSON has it."""
    row = [1]
    codec, restored = round_trip([row, row])
    assert (codec, restored) == ("json", [[1], [1]])
    assert restored[0] is not restored[1]


def test_later_changes_are_not_seen() -> None:
    """A value is encoded as it was at the call."""
    rows = [1]
    stored = encode(rows, **PLACE)
    rows.append(2)
    assert decode(stored, **PLACE) == [1]


@pytest.mark.parametrize("body", [b"", b"{", b"nope", b'"\xff"', b"[1,]", b"[" * 100_000])
def test_damaged_json_is_unreadable(body: bytes) -> None:
    """Damaged JSON is an error that names the place, never a value."""
    with pytest.raises(CheckpointUnreadable, match=r"the result of fetch\.2 in run r1"):
        decode(Value("json", msgspec.Raw(body)), **PLACE)


def test_a_place_is_named_by_a_noun() -> None:
    """What an error says of a value that a run emitted can be read."""
    place = Place("r1", "emit", Purpose.EMITTED)
    assert str(place) == "the emitted item of emit in run r1"


def test_unfetched_body_is_unreadable() -> None:
    """A body that is kept apart and was not fetched is not read as None."""
    with pytest.raises(CheckpointUnreadable, match="kept apart in b/7"):
        decode(Value("json", msgspec.Raw(b"null"), blob="b/7"), **PLACE)
    assert decode(Value("json", msgspec.Raw(b"[1]"), blob="b/7"), **PLACE) == [1]
    assert decode(encode(None, **PLACE), **PLACE) is None


def test_unknown_codec_is_unreadable() -> None:
    """A codec of a newer version is refused by name."""
    with pytest.raises(CheckpointUnreadable, match="'zstd'"):
        decode(Value("zstd", msgspec.Raw(b"1")), **PLACE)


# --- typed JSON --------------------------------------------------------------------------------

typed_cases: list[tuple[Any, Any]] = [
    (Colour.RED, Colour),
    (Size.LARGE, Size),
    (Permission.READ | Permission.WRITE, Permission),
    ([Size.LARGE], list[Size]),
    (Point(1, -0.0), Point),
    ((1, "a"), tuple[int, str]),
    ({1, 2}, set[int]),
    (frozenset({"a"}), frozenset[str]),
    ({1: "a"}, dict[int, str]),
    ({"id": UUID}, Row),
    (MOMENT, dt.datetime),
    (MOMENT.replace(tzinfo=None), dt.datetime | None),
    (MOMENT.replace(tzinfo=dt.timezone(dt.timedelta(hours=2))), dt.datetime),
    (dt.date(2026, 3, 1), dt.date),
    (dt.time(1, 2, 3), dt.time),
    (dt.timedelta(days=2, microseconds=5), dt.timedelta),
    (Decimal("1.00"), Decimal),
    (UUID, uuid.UUID),
    (b"\x00\xff", bytes),
    (2**70, int),
    (Item("a", Decimal("1.10"), frozenset({"x"})), Item),
    ([Pair(1, "a")], list[Pair]),
    (Order(UUID, MOMENT, [], Colour.BLUE, Point(1, 2.0), {Size.SMALL: 3}), Order),
]


@pytest.mark.parametrize(("value", "hint"), typed_cases, ids=lambda case: str(case)[:40])
def test_hints_restore_types(value: Any, hint: Any) -> None:
    """What a type hint restores exactly is stored as JSON."""
    assert_faithful(value, "typed", hint)


@given(orders)
def test_typed_values_are_exact(value: Order) -> None:
    """A nested dataclass comes back exactly, whichever codec that takes."""
    codec, restored = round_trip(value, Order)
    assert codec in {"typed", "pickle"}
    assert fingerprint(value) == fingerprint(restored)


with_extra = Pair(1, 2)
hidden = Hidden(1)
hidden.calls = 5
untrue_cases: list[tuple[Any, Any]] = [
    (SpecialOrder(UUID, MOMENT, [], Colour.RED), Order),
    (MOMENT.replace(tzinfo=ZoneInfo("Europe/Paris")), dt.datetime),
    (MOMENT.replace(tzinfo=dt.timezone(dt.timedelta(0), "Z2")), dt.datetime),
    (MOMENT.replace(fold=1), dt.datetime),
    (Pair((1, 2), None), Pair),
    (Pair(1, {True}), Pair),
    (hidden, Hidden),
    ({1.0}, set[int]),
    ((1, 2), list[int]),
    ((1, 2), Any),
    ((1, 2), "tuple[int, int]"),
    ((1, 2), tuple[int]),
    ((1, 2), threading.Thread),
    (uuid.UUID(int=5, is_safe=uuid.SafeUUID.safe), uuid.UUID),
]


@pytest.mark.parametrize(("value", "hint"), untrue_cases, ids=lambda case: str(case)[:40])
def test_hints_that_would_change_a_value_are_not_used(value: Any, hint: Any) -> None:
    """Subclasses, named zones, hidden state and hints that do not fit go to pickle, intact."""
    assert_faithful(value, "pickle", hint)


def test_hidden_state_survives() -> None:
    """State beyond a dataclass's fields is not lost to its type hint."""
    assert round_trip(hidden, Hidden)[1].calls == 5


@dataclasses.dataclass
class Fault(Exception):
    code: int


def test_content_of_a_base_class_survives() -> None:
    """A dataclass that is an exception too keeps its `args`, which are no field."""
    codec, restored = round_trip(Fault(7), Fault)
    assert (codec, restored.code, restored.args) == ("pickle", 7, (7,))


@pytest.mark.parametrize("hint", [None, Any, object, Item, int, "Order", Item | int])
def test_hint_that_no_longer_fits(hint: Any) -> None:
    """A typed value under another hint, or none, is unreadable."""
    stored = encode(Pair(1, "a"), hint=Pair, **PLACE)
    assert stored.codec == "typed"
    with pytest.raises(CheckpointUnreadable, match="type hint"):
        decode(stored, hint=hint, **PLACE)


@dataclasses.dataclass
class Refused:
    reason: str
    fee: int = 0


@dataclasses.dataclass
class RefusedLater(Refused):
    until: int = 0


@pytest.mark.parametrize(
    ("value", "hint", "now"),
    [
        (Refused("r", 5), Refused, Refused | Item),
        (Refused("r", 5), Refused, Item | Refused | None),
        (MOMENT, dt.datetime, dt.datetime | str),
        (Decimal("1.10"), Decimal, float | Decimal | str),
    ],
)
def test_a_hint_that_got_a_member_since(value: Any, hint: Any, now: Any) -> None:
    """A hint that a deploy made a union with what it was before restores what was stored."""
    stored = encode(value, hint=hint, **PLACE)
    assert stored.codec == "typed"
    assert fingerprint(decode(stored, hint=now, **PLACE)) == fingerprint(value)


def test_a_hint_of_which_two_members_fit() -> None:
    """Nobody guesses which of two it was; one that would lose a field does not fit."""
    stored = encode(Refused("r", 5), hint=Refused, **PLACE)
    with pytest.raises(CheckpointUnreadable, match="type hint"):
        decode(stored, hint=Refused | RefusedLater, **PLACE)
    stored = encode(RefusedLater("r", 5), hint=RefusedLater, **PLACE)
    assert type(decode(stored, hint=Refused | RefusedLater, **PLACE)) is RefusedLater


@dataclasses.dataclass
class Plain:
    id: int


class Fee(msgspec.Struct, rename="upper"):
    cents: int = 5


@dataclasses.dataclass
class Settled(Plain):
    tags: list[str] = dataclasses.field(default_factory=list)
    fee: Fee = dataclasses.field(default_factory=Fee)


@dataclasses.dataclass
class Drawn(Plain):
    mark: str = dataclasses.field(default_factory=lambda: uuid.uuid4().hex)


class DrawnToo(msgspec.Struct, array_like=True):
    id: int
    mark: str = msgspec.field(default_factory=lambda: uuid.uuid4().hex)


def test_a_default_that_is_drawn_is_given_to_nothing_that_was_stored_before() -> None:
    """A field that its class got since has its default on each replay, or is told to be missing."""
    stored = encode([Plain(1)], hint=list[Plain], **PLACE)
    assert stored.codec == "typed"
    (read,) = decode(stored, hint=list[Settled], **PLACE)
    assert (read.tags, read.fee.cents) == ([], 5)
    with pytest.raises(CheckpointUnreadable, match="a field 'mark' since"):
        decode(stored, hint=list[Drawn], **PLACE)
    stored = encode({1: (1,)}, hint=dict[int, tuple[int]], **PLACE)
    with pytest.raises(CheckpointUnreadable, match="a field 'mark' since"):
        decode(stored, hint=dict[int, DrawnToo], **PLACE)
    for kind in (Drawn, DrawnToo):
        assert_faithful(kind(1), "typed", kind)


# --- pickles -----------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _no_canary() -> None:
    unpickled.clear()


@given(anything)
def test_anything_is_faithful(value: Any) -> None:
    """Whatever can be pickled comes back equal and of the same types."""
    _, restored = round_trip(value)
    assert fingerprint(value) == fingerprint(restored)


def test_closures_are_kept() -> None:
    """A closure comes back with what it captured."""
    captured = {"n": 2}
    codec, restored = round_trip(lambda x: x * captured["n"])
    assert (codec, restored(21)) == ("pickle", 42)


def test_what_cannot_be_pickled_is_refused() -> None:
    """A value that no codec can keep is a usage error that names its place and type."""
    with pytest.raises(UsageError, match=r"the result of fetch\.2 in run r1: a _thread\.lock"):
        encode(threading.Lock(), **PLACE)


def test_hopeless_depth_is_refused() -> None:
    """Nesting that no codec can restore is a usage error, not a crash."""
    value = nested(100_000)
    with pytest.raises(UsageError, match="cannot be pickled"):
        encode(value, **PLACE)


def test_a_secret_is_never_stored() -> None:
    """A closure that captured the secret is refused."""
    with pytest.raises(UsageError, match="Secret cannot be pickled"):
        encode(lambda: SECRET, **PLACE)


def stored_canary() -> Value:
    """A canary as it is stored; that it was read once, to prove that it can be, is not told."""
    stored = encode(Canary(), **PLACE)
    unpickled.clear()
    return stored


def test_forged_bytes_are_never_unpickled() -> None:
    """No change of any byte of a stored pickle is accepted, and nothing is unpickled."""
    stored = stored_canary()
    body = bytes(stored.body)
    for position, byte in enumerate(body):
        for other in {byte ^ 1, byte ^ 0x20, ord("A"), ord("="), ord("\\")} - {byte}:
            forged = body[:position] + bytes([other]) + body[position + 1 :]
            with pytest.raises(CheckpointUnreadable):
                decode(Value("pickle", msgspec.Raw(forged)), **PLACE)
    assert unpickled == []
    decode(stored, **PLACE)
    assert unpickled == ["canary"]


@given(st.binary(max_size=200))
def test_random_bodies_are_unreadable(data: bytes) -> None:
    """Bytes that Rewake did not write are refused, in base64 or not."""
    for body in (data, b'"%b"' % base64.b64encode(data)):
        with pytest.raises(CheckpointUnreadable):
            decode(Value("pickle", msgspec.Raw(body)), **PLACE)


@pytest.mark.parametrize("length", [0, 1, 10, 11, 40, 43, 80])
def test_truncated_pickles_are_unreadable(length: int) -> None:
    """A pickle that was cut off, at any layer, is refused."""
    sealed = base64.b64decode(json.loads(bytes(stored_canary().body)))
    body = json.dumps(base64.b64encode(sealed[:length]).decode()).encode()
    with pytest.raises(CheckpointUnreadable):
        decode(Value("pickle", msgspec.Raw(body)), **PLACE)
    assert unpickled == []


@pytest.mark.parametrize(
    "elsewhere",
    [
        {"run": "r2"},
        {"key": "fetch"},
        {"purpose": "args"},
        {"run": "r1fetch.2", "key": ""},
        {"key": "fetch.2result", "purpose": ""},
    ],
    ids=str,
)
def test_a_pickle_is_bound_to_its_place(elsewhere: dict[str, Any]) -> None:
    """A pickle that was copied to another run, key or purpose is never unpickled."""
    stored = stored_canary()
    with pytest.raises(CheckpointUnreadable, match="signature"):
        decode(stored, **(PLACE | elsewhere))
    assert unpickled == []


def test_an_unknown_key_is_told_from_a_forgery() -> None:
    """What a key signed that is not known here is for another process; neither is unpickled."""
    stored = stored_canary()
    other = Secret("another secret of some length")
    with pytest.raises(ReadableElsewhere, match=f"signed by key {SECRET.id}"):
        decode(stored, **(PLACE | {"secret": other}))
    sealed = base64.b64decode(json.loads(bytes(stored.body)))
    renamed = sealed.replace(SECRET.id.encode(), other.id.encode(), 1)
    for forged, secret in ((renamed, other), (sealed[:-1] + b"x", SECRET)):
        body = json.dumps(base64.b64encode(forged).decode()).encode()
        with pytest.raises(CheckpointUnreadable, match="its signature is wrong") as caught:
            decode(Value("pickle", msgspec.Raw(body)), **(PLACE | {"secret": secret}))
        assert not isinstance(caught.value, ReadableElsewhere)
    assert unpickled == []


def test_the_key_id_is_signed() -> None:
    """It cannot be made that of another key, although that key is accepted too."""
    first, second = "a secret of some length", "another secret of some length"
    both = Secret(first, second)
    sealed = base64.b64decode(json.loads(bytes(stored_canary().body)))
    forged = sealed.replace(Secret(first).id.encode(), Secret(second).id.encode(), 1)
    body = json.dumps(base64.b64encode(forged).decode()).encode()
    with pytest.raises(CheckpointUnreadable, match="its signature is wrong"):
        decode(Value("pickle", msgspec.Raw(body)), **(PLACE | {"secret": both}))
    assert unpickled == []


@pytest.mark.parametrize("id", ["", "0", "g" * 16, "0" * 15, "0" * 17, "0" * 16 + " 1"])
def test_a_malformed_key_id_is_damage(id: str) -> None:
    """It is nobody's key, so nothing waits for it."""
    sealed = base64.b64decode(json.loads(bytes(stored_canary().body)))
    forged = sealed.replace(SECRET.id.encode(), id.encode(), 1)
    body = json.dumps(base64.b64encode(forged).decode()).encode()
    with pytest.raises(CheckpointUnreadable, match="no header") as caught:
        decode(Value("pickle", msgspec.Raw(body)), **PLACE)
    assert not isinstance(caught.value, ReadableElsewhere)


def test_the_python_minor_cannot_be_forged(monkeypatch: pytest.MonkeyPatch) -> None:
    """The minor in the header is signed too."""
    monkeypatch.setattr(pickles, "PYTHON", "3.7")
    sealed = base64.b64decode(json.loads(bytes(stored_canary().body)))
    monkeypatch.undo()
    forged = sealed.replace(b"pickle 3.7", f"pickle {pickles.PYTHON}".encode(), 1)
    body = json.dumps(base64.b64encode(forged).decode()).encode()
    with pytest.raises(CheckpointUnreadable, match="signature"):
        decode(Value("pickle", msgspec.Raw(body)), **PLACE)
    assert unpickled == []


def test_a_class_that_moved_is_unreadable(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pickle whose class or module is gone says so, and can be read once it is back."""
    module = types.ModuleType("rewake_test_shop")
    exec("class Basket: pass", module.__dict__)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    stored = encode(module.Basket(), **PLACE)
    monkeypatch.delitem(sys.modules, module.__name__)
    with pytest.raises(CheckpointUnreadable, match=r"moved or renamed.*rewake_test_shop"):
        decode(stored, **PLACE)
    monkeypatch.setitem(sys.modules, module.__name__, types.ModuleType(module.__name__))
    with pytest.raises(CheckpointUnreadable, match=r"moved or renamed.*Basket"):
        decode(stored, **PLACE)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    assert type(decode(stored, **PLACE)) is module.Basket


class Sour:
    """Cannot be unpickled."""

    def __setstate__(self, state: object) -> None:
        raise RuntimeError("sour")

    def __getstate__(self) -> object:
        return 1


def test_unpickling_that_raises_is_unreadable(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the value's own while it is unpickled is named, and kept as the cause."""
    with monkeypatch.context() as patch:
        patch.setattr(Sour, "__setstate__", lambda self, state: None)
        stored = encode(Sour(), **PLACE)
    with pytest.raises(CheckpointUnreadable, match="RuntimeError: sour") as caught:
        decode(stored, **PLACE)
    assert isinstance(caught.value.__cause__, RuntimeError)


class ApiError(Exception):
    """An exception of the everyday kind: it can be pickled, and not read again."""

    def __init__(self, status: int, url: str) -> None:
        super().__init__(f"{status} {url}")


@pytest.mark.parametrize("value", [Sour(), ApiError(404, "/x")])
def test_what_could_not_be_read_again_is_not_stored(value: object) -> None:
    """It is refused when it is written, where the task can still fail with it."""
    name = type(value).__name__
    with pytest.raises(UsageError, match=rf"{name} can be pickled, and not read again"):
        encode(value, **PLACE)
