"""What `rewake.values` promises: exact round trips, authentic pickles, stable digests."""

from __future__ import annotations

import base64
import dataclasses
import datetime as dt
import enum
import json
import math
import os
import pickle
import re
import subprocess
import sys
import threading
import types
import uuid
from collections import Counter, OrderedDict
from decimal import Decimal
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, NotRequired, TypedDict
from zoneinfo import ZoneInfo

import cloudpickle
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewake import digests, values
from rewake.errors import CheckpointUnreadable, ConfigError, NonRetryable, TaskError, UsageError
from rewake.records import Failure, Value
from rewake.secret import Secret
from rewake.values import decode, digest, encode, failure_of, task_error

SECRET = Secret("a secret of some length")
PLACE: dict[str, Any] = {"secret": SECRET, "run": "r1", "key": "fetch.2", "purpose": "result"}


def round_trip(value: Any, hint: Any = None) -> tuple[str, Any]:
    """Return the codec that was chosen and the restored value, after a trip through the store."""
    stored = msgspec.json.encode(encode(value, hint=hint, **PLACE))
    loaded = msgspec.json.decode(stored, type=Value)
    return loaded.codec, decode(loaded, hint=hint, **PLACE)


def assert_faithful(value: Any, codec: str, hint: Any = None) -> None:
    """Check that `value` comes back equal, of the same types, by `codec`."""
    used, restored = round_trip(value, hint)
    assert codec == used
    assert fingerprint(value) == fingerprint(restored)


def fingerprint(value: Any) -> Any:
    """Return a value's types and content, written apart from what is tested."""
    kind = type(value)
    if isinstance(value, dict):
        return kind, [(fingerprint(key), fingerprint(item)) for key, item in value.items()]
    if isinstance(value, list | tuple):
        return kind, [fingerprint(item) for item in value]
    if isinstance(value, set | frozenset):
        return kind, sorted((fingerprint(item) for item in value), key=repr)
    if isinstance(value, Item):
        return kind, [fingerprint(getattr(value, name)) for name in Item.__struct_fields__]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return kind, [fingerprint(getattr(value, f.name)) for f in dataclasses.fields(value)]
    return kind, repr(value)


# --- what is sent through ----------------------------------------------------------------------


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Size(enum.IntEnum):
    SMALL = 1
    LARGE = 2


class Permission(enum.Flag):
    READ = 1
    WRITE = 2


class Point(NamedTuple):
    x: int
    y: float


class Row(TypedDict):
    id: uuid.UUID
    note: NotRequired[str]


class Item(msgspec.Struct):
    name: str
    price: Decimal
    tags: frozenset[str] = frozenset()


@dataclasses.dataclass
class Order:
    id: uuid.UUID
    placed: dt.datetime
    items: list[Item]
    colour: Colour
    where: Point | None = None
    sizes: dict[Size, int] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class SpecialOrder(Order):
    discount: float = 0.5


@dataclasses.dataclass(frozen=True, slots=True)
class Pair:
    left: Any
    right: Any


@dataclasses.dataclass
class Hidden:
    seen: int

    def __post_init__(self) -> None:
        self.calls = 0


class Text(str):
    __slots__ = ()


def nested(depth: int) -> list[Any]:
    """Return lists within lists."""
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


plain_scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)
plain = st.recursive(
    plain_scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20
)
hashable = st.recursive(
    plain_scalars | st.binary() | st.sampled_from(Colour) | st.sampled_from(Size),
    lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3),
    max_leaves=6,
)
anything = st.recursive(
    hashable | st.integers() | st.decimals(allow_nan=False) | st.complex_numbers(allow_nan=False),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(hashable, inner, max_size=4)
        | st.tuples(inner)
        | st.builds(Pair, inner, inner)
    ),
    max_leaves=12,
)
moments = st.datetimes(timezones=st.none() | st.timezones() | st.just(dt.UTC))
items = st.builds(
    Item,
    name=st.text(),
    price=st.decimals(allow_nan=False, allow_infinity=False),
    tags=st.frozensets(st.text(max_size=5)),
)
orders = st.builds(
    Order,
    id=st.uuids(),
    placed=moments,
    items=st.lists(items, max_size=3),
    colour=st.sampled_from(Colour),
    where=st.none() | st.builds(Point, x=st.integers(), y=st.floats(allow_nan=False)),
    sizes=st.dictionaries(st.sampled_from(Size), st.integers()),
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

UUID = uuid.UUID("12345678-1234-5678-1234-567812345678")
MOMENT = dt.datetime(2026, 3, 1, 12, 30, tzinfo=dt.UTC)
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


@pytest.mark.parametrize("hint", [None, Item, int, "Order"])
def test_hint_that_no_longer_fits(hint: Any) -> None:
    """A typed value under another hint, or none, is unreadable."""
    stored = encode(Pair(1, "a"), hint=Pair, **PLACE)
    assert stored.codec == "typed"
    with pytest.raises(CheckpointUnreadable, match="type hint"):
        decode(stored, hint=hint, **PLACE)


# --- pickles -----------------------------------------------------------------------------------

unpickled: list[str] = []


class Canary:
    """Tells when it is unpickled."""

    def __init__(self, name: str = "canary") -> None:
        self.name = name

    def __setstate__(self, state: dict[str, str]) -> None:
        unpickled.append(state["name"])
        self.__dict__.update(state)


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


def test_forged_bytes_are_never_unpickled() -> None:
    """No change of any byte of a stored pickle is accepted, and nothing is unpickled."""
    stored = encode(Canary(), **PLACE)
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
    sealed = base64.b64decode(json.loads(bytes(encode(Canary(), **PLACE).body)))
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
        {"secret": Secret("another secret of some length")},
    ],
    ids=str,
)
def test_a_pickle_is_bound_to_its_place(elsewhere: dict[str, Any]) -> None:
    """A pickle that was copied to another run, key or purpose is never unpickled."""
    stored = encode(Canary(), **PLACE)
    with pytest.raises(CheckpointUnreadable, match="signature"):
        decode(stored, **(PLACE | elsewhere))
    assert unpickled == []


def test_pickles_of_another_python_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pickle of another Python minor is refused by a message that names both."""
    with monkeypatch.context() as patch:
        patch.setattr(values, "PYTHON", "3.7")
        stored = encode(Canary(), **PLACE)
    with pytest.raises(
        CheckpointUnreadable, match=rf"Python 3\.7 pickled it, .*{re.escape(values.PYTHON)}"
    ):
        decode(stored, **PLACE)
    assert unpickled == []


def test_the_python_minor_cannot_be_forged(monkeypatch: pytest.MonkeyPatch) -> None:
    """The minor in the header is signed too."""
    monkeypatch.setattr(values, "PYTHON", "3.7")
    sealed = base64.b64decode(json.loads(bytes(encode(Canary(), **PLACE).body)))
    monkeypatch.undo()
    forged = sealed.replace(b"pickle 3.7", f"pickle {values.PYTHON}".encode(), 1)
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


def test_unpickling_that_raises_is_unreadable() -> None:
    """An error of the value's own while it is unpickled is named, and kept as the cause."""
    with pytest.raises(CheckpointUnreadable, match="RuntimeError: sour") as caught:
        decode(encode(Sour(), **PLACE), **PLACE)
    assert isinstance(caught.value.__cause__, RuntimeError)


# --- the secret --------------------------------------------------------------------------------


def test_rotation() -> None:
    """What a previous secret signed is accepted; new signatures are the current one's."""
    old, new = "o" * 16, b"n" * 16
    stored = encode(Canary(), **(PLACE | {"secret": Secret(old)}))
    rotated = Secret(new, old)
    decode(stored, **(PLACE | {"secret": rotated}))
    assert rotated.sign("p", b"x") == Secret(new).sign("p", b"x")
    with pytest.raises(CheckpointUnreadable):
        decode(stored, **(PLACE | {"secret": Secret(new)}))


@pytest.mark.parametrize("bad", ["", b"", "short", b"x" * 15])
def test_short_secrets_are_refused(bad: str | bytes) -> None:
    """A secret of under 16 bytes is refused, current or previous, and is not shown."""
    with pytest.raises(ConfigError, match="REWAKE_SECRET") as caught:
        Secret(bad)
    with pytest.raises(ConfigError):
        Secret("x" * 16, bad)
    assert "short" not in str(caught.value).replace("short of", "")


def test_secrets_are_not_shown() -> None:
    """Neither `repr` nor `vars` nor pickling gives the secret away."""
    assert "secret of some length" not in repr(SECRET)
    assert not hasattr(SECRET, "__dict__")
    with pytest.raises(TypeError):
        pickle.dumps(SECRET)


@given(st.lists(st.binary(max_size=4), max_size=4), st.lists(st.binary(max_size=4), max_size=4))
def test_signatures_tell_parts_apart(one: list[bytes], other: list[bytes]) -> None:
    """Signatures agree exactly if purpose and parts do, however the parts are divided."""
    signature = SECRET.sign("a", *one)
    assert len(signature) == 32
    assert SECRET.verify(signature, "a", *other) is (one == other)
    assert not SECRET.verify(signature, "b", *one)
    assert not SECRET.verify(b"", "a", *one)


# --- digests -----------------------------------------------------------------------------------

SAMPLE = """
import dataclasses, datetime as dt, decimal, enum, functools, pathlib, sys, types, uuid, zoneinfo
import msgspec
from rewake.values import digest

class Colour(enum.Enum):
    RED = "red"
class Mode(enum.Flag):
    A = 1
    B = 2
class Name(str):
    pass
class Item(msgspec.Struct):
    tags: set
@dataclasses.dataclass(frozen=True)
class Pair:
    left: object
    right: object
class Opaque:
    pass
class Rude:
    __class__ = property(lambda self: 1 / 0)
    __hash__ = None
    def __getattribute__(self, name):
        raise RuntimeError(name)

words = {"alpha", "beta", "gamma", "delta", Name("x"), ("t", 1), Pair("a", frozenset("xyz"))}
cycle = [1]
cycle.append(cycle)
print(digest({
    "words": words,
    "by": {word: [word] for word in words},
    "item": Item({"a", "b", "c"}),
    "enum": [Colour.RED, Mode.A | Mode.B],
    "time": [
        dt.datetime(2026, 1, 1, fold=1), dt.timedelta(1), dt.date(2026, 1, 1), dt.time(1, 2),
        dt.datetime(2026, 1, 1, tzinfo=zoneinfo.ZoneInfo("Asia/Tokyo")),
    ],
    "misc": [uuid.UUID(int=5), decimal.Decimal("1.0"), pathlib.PurePosixPath("/a"), b"a", 1j, 0.1],
    "code": [len, print, Pair, lambda: words, functools.partial(print, 1), types],
    "opaque": [Opaque(), Rude(), object(), cycle, iter([1]), sys.stdin],
}))
"""


def digest_in_process(hash_seed: str) -> str:
    """Return the digest that a new process prints for `SAMPLE`."""
    source = os.pathsep.join(path for path in sys.path if path)
    environment = {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": source}
    done = subprocess.run(
        [sys.executable, "-c", SAMPLE], env=environment, capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    return done.stdout.strip()


def test_digests_are_the_same_in_every_process() -> None:
    """A digest does not depend on the process's hash seed or addresses."""
    assert len({digest_in_process(seed) for seed in ("0", "1", "42", "random")}) == 1


golden: dict[str, dict[str, Any]] = {
    "44136fa355b3678a": {},
    "6b2f71baea4c6d2c": {"url": 'https://example.org/\x00\x1f\x7f"\\/é\u2028🎈', "n": -1},
    "0cc953f0291b5097": {"a": [0.1, 1e16, -0.0, 5e-324, math.inf], "b": {"z": None, "a": True}},
    "cd0a99b43845275d": {"t": (1, {2}), "when": MOMENT, "id": UUID, "p": Point(1, 2.5)},
}


@pytest.mark.parametrize("expected", golden, ids=range(len(golden)))
def test_digests_never_change(expected: str) -> None:
    """Digests outlive releases of Rewake, of Python and of msgspec: runs sleep for months."""
    assert digest(golden[expected]) == expected


@given(st.dictionaries(st.text(), plain))
def test_the_quick_digest_is_the_slow_one(arguments: dict[str, Any]) -> None:
    """Plain data has one canonical text, whichever way it is written."""
    quick = digests._quick_text(arguments)
    if quick is not None:
        assert quick.decode() == digests._Writer().text(arguments)


@given(plain, st.randoms())
def test_order_and_aliases_do_not_matter(value: Any, random: Any) -> None:
    """Key order and shared objects are not part of a digest."""
    copy = pickle.loads(pickle.dumps(value))
    pairs = [("a", value), ("b", value), ("c", {"x": 1, "y": value})]
    mixed = [("c", {"y": copy, "x": 1}), ("b", copy), ("a", copy)]
    random.shuffle(mixed)
    assert digest(dict(pairs)) == digest(dict(mixed))
    assert re.fullmatch("[0-9a-f]{16}", digest(dict(pairs)))


@given(anything, anything)
def test_different_values_have_different_digests(one: Any, other: Any) -> None:
    """Values that differ in type or content differ in digest; equal ones do not."""
    same = unordered(one) == unordered(other)
    assert (digest({"v": one}) == digest({"v": other})) is same


def unordered(value: Any) -> Any:
    """Return a fingerprint in which the order of a dict's keys does not count."""
    if isinstance(value, dict):
        return dict, sorted(((unordered(k), unordered(v)) for k, v in value.items()), key=repr)
    if isinstance(value, list | tuple):
        return type(value), [unordered(item) for item in value]
    if isinstance(value, set | frozenset):
        return type(value), sorted((unordered(item) for item in value), key=repr)
    if isinstance(value, Pair):
        return Pair, unordered(value.left), unordered(value.right)
    return type(value), repr(value)


def double(x: int) -> int:
    """Return twice `x`."""
    return 2 * x


different: list[Any] = [
    1, 1.0, True, "1", None, -0.0, 0.0, math.nan, [], (), {}, set(), frozenset(), b"", "",
    [1], (1,), {1}, frozenset({1}), {"1": 1}, {1: 1}, Size.SMALL, Colour.RED, Colour.BLUE, "red",
    Permission.READ, Permission.READ | Permission.WRITE, Point(1, 2.0), (1, 2.0), Text("1"),
    MOMENT, MOMENT.replace(fold=1), MOMENT.replace(tzinfo=None), MOMENT.isoformat(),
    MOMENT.replace(tzinfo=ZoneInfo("UTC")), MOMENT.date(), MOMENT.time(), UUID, str(UUID),
    Decimal(1), Decimal("1.0"), Path("a"), PurePosixPath("a"), "a", b"a", bytearray(b"a"),
    Item("a", Decimal(1)), Item("b", Decimal(1)), Pair(1, 2), Pair(2, 1), Pair(1, (2,)),
    Order(UUID, MOMENT, [], Colour.RED), SpecialOrder(UUID, MOMENT, [], Colour.RED),
    OrderedDict(), Counter(), double, fingerprint, len, int, float, Canary, Canary(), 10**5000,
    10**5000 + 1, "\ud800", "\\ud800", "'\\ud800'", object(), dt.timedelta(1), 1j,
]  # fmt: skip


def test_kinds_of_values_are_told_apart() -> None:
    """No two of many values that are easily confused share a digest."""
    digests = [digest({"v": value}) for value in different]
    assert len(set(digests)) == len(different)


def test_captured_state_is_not_compared() -> None:
    """Closures from one place and objects without fields have the digest of their kind."""
    closures = [lambda n=n: n for n in range(2)]
    assert len({digest({"f": closure}) for closure in closures}) == 1
    assert digest({"c": Canary("a")}) == digest({"c": Canary("b")})


def test_fields_left_out_of_equality_are_left_out() -> None:
    """A dataclass field that does not count for `==` does not count for the digest."""

    @dataclasses.dataclass
    class Cached:
        n: int
        cache: object = dataclasses.field(default=None, compare=False)

    assert digest({"c": Cached(1, 2)}) == digest({"c": Cached(1, 3)})
    assert digest({"c": Cached(1)}) != digest({"c": Cached(2)})


def test_attrs_and_pydantic_fields_count() -> None:
    """Classes that list their fields as attrs or pydantic do are compared by them."""

    class Model:
        __pydantic_fields__ = types.MappingProxyType({"n": None})

        def __init__(self, n: int) -> None:
            self.n = n

    class Attrs:
        __attrs_attrs__ = (
            types.SimpleNamespace(name="n", eq=True),
            types.SimpleNamespace(name="cache", eq=False),
        )

        def __init__(self, n: int) -> None:
            self.n, self.cache = n, object()

    for kind in (Model, Attrs):
        assert digest({"m": kind(1)}) == digest({"m": kind(1)})
        assert digest({"m": kind(1)}) != digest({"m": kind(2)})


class Nameless(type):
    """Refuses to tell the names of its classes."""

    def __getattribute__(cls, name: str) -> Any:
        raise RuntimeError(name)


class Unknown(metaclass=Nameless):
    pass


class Broken(dict[str, int]):
    def items(self) -> Any:
        raise RuntimeError


def test_digests_never_raise() -> None:
    """Cycles, lattices, great depth and hostile objects have a digest too."""
    cycle: dict[str, Any] = {}
    cycle["self"] = [cycle, (cycle,)]
    lattice: Any = (0,)
    for _ in range(60):
        lattice = (lattice, lattice)
    gap = Pair.__new__(Pair)
    hostile = [
        cycle,
        nested(100_000),
        lattice,
        gap,
        Unknown(),
        Unknown,
        Broken(a=1),
        Pair(cycle, nested(80)),
        NotImplemented,
    ]
    assert len({digest({"v": value}) for value in hostile}) > 5
    assert digest({"v": cycle}) == digest({"v": cycle})


# --- failures ----------------------------------------------------------------------------------


class Mute(Exception):
    def __str__(self) -> str:
        raise ValueError("no words")


def raised(exc: Exception) -> Exception:
    """Return `exc` with a traceback."""
    try:
        raise exc
    except Exception as caught:  # noqa: BLE001 - whatever it is
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


@pytest.mark.parametrize(
    ("exc", "retryable"),
    [(ValueError(), True), (NonRetryable("no"), False), (UsageError("no"), False), (Mute(), True)],
)
def test_retryable(exc: Exception, *, retryable: bool) -> None:
    """What says that trying again will not help is not tried again."""
    assert failure_of(exc, 1).retryable is retryable


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
    runtime: dict[str, Any] = {"__name__": "rewake.engine.task"}
    exec(compile("def run(f):\n    f()\ndef fail():\n    1 / 0\n", "task.py", "exec"), runtime)
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
