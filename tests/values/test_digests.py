"""What `signing.secret` and `values.digests` promise: signatures and stable digests."""

from __future__ import annotations

import dataclasses
import datetime as dt
import math
import os
import pickle
import re
import subprocess
import sys
import types
from collections import Counter, OrderedDict
from decimal import Decimal
from pathlib import Path, PurePosixPath
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewake.errors import ConfigError, ReadableElsewhere
from rewake.signing.secret import Secret
from rewake.values import digests
from rewake.values.codecs import decode, encode
from rewake.values.digests import digest
from tests.support.values import (
    MOMENT,
    PLACE,
    SECRET,
    UUID,
    Canary,
    Colour,
    Item,
    Order,
    Pair,
    Permission,
    Point,
    Size,
    SpecialOrder,
    Text,
    anything,
    double,
    fingerprint,
    nested,
    plain,
)

# --- the secret --------------------------------------------------------------------------------


def test_rotation() -> None:
    """What a previous secret signed is accepted; new signatures are the current one's."""
    old, new = "o" * 16, b"n" * 16
    stored = encode(Canary(), **(PLACE | {"secret": Secret(old)}))
    rotated = Secret(new, old)
    decode(stored, **(PLACE | {"secret": rotated}))
    assert rotated.sign("p", b"x") == Secret(new).sign("p", b"x")
    with pytest.raises(ReadableElsewhere):
        decode(stored, **(PLACE | {"secret": Secret(new)}))


def test_key_ids_tell_nothing_but_which_key_it_is() -> None:
    """The id is the same for the same secret, another for another, and no part of any signature."""
    old, new = Secret("o" * 16), Secret(b"n" * 16)
    assert old.id == Secret(b"o" * 16).id != new.id
    both = Secret("n" * 16, "o" * 16)
    assert both.id == new.id
    assert both.knows(old.id)
    assert not new.knows(old.id)
    assert not new.knows("")
    assert all(old.id not in old.sign(each).hex() for each in ("", "pickle"))


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
from rewake.values.digests import digest

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
    "a182314cd269bb0e": {"t": (1, {2}), "when": MOMENT, "id": UUID, "p": Point(1, 2.5)},
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
