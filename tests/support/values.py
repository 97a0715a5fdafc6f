"""Values of all sorts, and strategies that make them."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import uuid
from decimal import Decimal
from typing import Any, NamedTuple, NotRequired, TypedDict

import msgspec
from hypothesis import strategies as st

from rewake.records import Value
from rewake.signing.secret import Secret
from rewake.values.codecs import decode, encode

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

UUID = uuid.UUID("12345678-1234-5678-1234-567812345678")
MOMENT = dt.datetime(2026, 3, 1, 12, 30, tzinfo=dt.UTC)


unpickled: list[str] = []


class Canary:
    """Tells when it is unpickled."""

    def __init__(self, name: str = "canary") -> None:
        self.name = name

    def __setstate__(self, state: dict[str, str]) -> None:
        unpickled.append(state["name"])
        self.__dict__.update(state)


def double(x: int) -> int:
    """Return twice `x`."""
    return 2 * x
