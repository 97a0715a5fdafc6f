"""Items as attributes of DynamoDB, and back.

    pk      the partition, behind the name of an app that shares the table
    sk      the sort key
    part    the part of the due index that it is in, by its tag; only of items that can be due
    form    what is needed to read it; no item of this Rewake has one
    others  the fields of the item, by their names

A field is an attribute, so that a condition can be about it: a text, a number, a flag or bytes as
such, anything else as JSON in a text, which people can read. A field that has its default is no
attribute. An attribute that this Rewake does not know is left as it is.

A due time has a fraction that is made of the item's key, for DynamoDB gives no order to entries of
an index that are of one number: 1700000000000.0482131337. So each has a place of its own, behind
which the next page begins. As one item's due times all have one fraction, a condition compares them
as they are; what is read is the whole number.

The bytes in between are the JSON of `rewake.stores.items`: so an item is the same here as in any
other table, and what cannot be read is refused by the same code.
"""

from __future__ import annotations

import functools
import math
import zlib
from collections.abc import Mapping
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from types import UnionType
from typing import Any, NamedTuple, Union, get_args, get_origin

import msgspec

from rewake.errors import CheckpointUnreadable, ReadableElsewhere, StoreError
from rewake.records import Item, Millis
from rewake.stores.items import decode, type_of
from rewake.stores.table import Key

PARTITION, SORT, PART, FORM = "pk", "sk", "part", "form"
"""The attributes that are no fields."""
DUE, TAG = "due", "tag"
"""The fields by which the due index is sorted, and divided."""
SHARDS = 8
"""The parts of the due index: one takes about 1,000 writes a second. It may grow, and not shrink:
what is in a part that nobody asks for is found by nobody."""
DIGITS = 38
"""The most digits of a number."""
FRACTION = 10
"""The digits of the fraction of a due time: all that a crc32 has."""
PLACES: int = 10**FRACTION
"""The places of one millisecond in the due index."""
MAX_PARTITION, MAX_SORT = 2048, 1024
"""The longest keys, in UTF-8 bytes."""

Attribute = Mapping[str, Any]
"""A value with the letter of its type, as DynamoDB's JSON has it."""
Raws = Mapping[str, Mapping[str, msgspec.Raw]]
"""The attributes of an item as they come: nothing of them is decoded yet."""

_encode = msgspec.json.Encoder().encode
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_text = msgspec.json.Decoder(str).decode


class Field(NamedTuple):
    """A field of an item: its type in DynamoDB, how it is checked, and what it is where absent."""

    letter: str
    nested: bool
    check: msgspec.json.Decoder[Any]
    default: Any
    required: bool

    def attribute(self, raw: bytes) -> Attribute:
        """The attribute for a value, given as JSON. Raises `StoreError` for too long a number."""
        if self.nested:
            return {"S": raw.decode()}
        if self.letter == "N":
            if len(raw.lstrip(b"-")) > DIGITS:
                raise StoreError(f"a number of more than {DIGITS} digits cannot be stored")
            return {"N": raw.decode()}
        return {self.letter: msgspec.Raw(raw)}

    def raw(self, attribute: Mapping[str, msgspec.Raw]) -> msgspec.Raw | None:
        """The JSON of an attribute; None if it is of another type than this field has."""
        found = attribute.get(self.letter)
        if found is None:
            return None
        if self.nested:
            return msgspec.Raw(_text(found).encode())
        return msgspec.Raw(_plain(bytes(found))) if self.letter == "N" else found


def _plain(number: bytes) -> bytes:
    """A number without its quotes and its fraction, written out: DynamoDB may answer 1E+20."""
    inner = number.strip(b'"')
    whole, _, fraction = inner.partition(b".")
    if whole.isdigit() and (not fraction or fraction.isdigit()):
        return whole
    return str(math.floor(Decimal(inner.decode()))).encode()


def due_of(raws: Raws) -> Millis:
    """The due time of an entry of the index."""
    return int(_plain(bytes(raws[DUE]["N"])))


def place_of(due: Millis, key: Key) -> int:
    """Where an entry of the index stands: its due time with the fraction, as a whole number.

    An empty key is that of no item: it stands before all entries of its moment.
    """
    fraction = _hash(key) + 1 if key.partition else 0
    return due * PLACES + fraction


def place_in(number: str) -> int:
    """The place that a due time is, as it is stored."""
    return int(Fraction(number) * PLACES)


def due_at(place: int) -> Attribute:
    """The due time that stands in this place. Raises `StoreError` for too long a number."""
    if abs(place) >= 10**DIGITS:
        raise StoreError(f"a due time of more than {DIGITS - FRACTION} digits cannot be stored")
    whole, fraction = divmod(abs(place), PLACES)
    return {"N": f"{'-' if place < 0 else ''}{whole}.{fraction:0{FRACTION}}"}


def _hash(key: Key) -> int:
    return zlib.crc32(f"{key.partition}\0{key.sort}".encode())


def _letter(kind: Any) -> str:
    """The type of a field in DynamoDB; empty if it is JSON."""
    union = get_origin(kind) in (Union, UnionType)
    kinds = [each for each in get_args(kind) if each is not type(None)] if union else [kind]
    only = kinds[0]
    if len(kinds) > 1 or not isinstance(only, type):
        return ""
    if issubclass(only, bool):
        return "BOOL"
    return "S" if issubclass(only, str | Enum) else _LETTERS.get(only, "")


_LETTERS: Mapping[type, str] = {int: "N", bytes: "B"}


def _field(info: msgspec.structs.FieldInfo) -> Field:
    letter = _letter(info.type)
    default = None if info.default is msgspec.NODEFAULT else info.default
    if info.default_factory is not msgspec.NODEFAULT:
        default = info.default_factory()
    checked = msgspec.json.Decoder(info.type)
    return Field(letter or "S", not letter, checked, default, info.required)


@functools.cache
def _fields_of(kind: type[Item]) -> Mapping[str, Field]:
    return {each.encode_name: _field(each) for each in msgspec.structs.fields(kind)}


def item_of(key: Key, raws: Raws) -> Any:
    """The item with these attributes. Raises `CheckpointUnreadable`.

    A newer Rewake that writes what this one cannot read says so by `form`, and no condition of this
    one holds then: it would else change what it cannot read.
    """
    if FORM in raws:
        told = f"the item {key.sort} of {key.partition} is of a newer Rewake than this"
        raise ReadableElsewhere(told, reason="a newer Rewake wrote it")
    fields = _fields_of(type_of(key))
    known = {
        name: fields[name].raw(attribute) for name, attribute in raws.items() if name in fields
    }
    return decode(key, _encode(known))


def changed(key: Key, name: str, value: Any) -> Attribute | None:
    """The attribute for a new value of a field; None if the field has its default with it.

    Raises `AttributeError` if there is no such field, `ValueError` if it cannot be removed, and
    `CheckpointUnreadable` for a value that could not be read back.
    """
    kind = type_of(key)
    field = _known(kind, name)
    if value is None and field.required:
        raise ValueError(f"{name} cannot be removed")
    raw = _encode(value)
    try:
        read = None if value is None else field.check.decode(raw)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise CheckpointUnreadable(f"{name} of a {kind.__name__} cannot be so ({error})") from error
    if value is None or (not field.required and read == field.default):
        return None
    return _stored(key, name, field, raw)


def added(key: Key, name: str, number: int) -> Attribute:
    """The attribute for what is added to a field. Raises as `items.change` does."""
    _known(type_of(key), name)
    if name == DUE:  # a new one would have no fraction
        raise ValueError(f"{name} can be set, and not added to")
    return {"N": str(number)}


def compared(key: Key, name: str, value: Any) -> Attribute:
    """The attribute for what a field is compared with. Raises `AttributeError` if there is none."""
    return _stored(key, name, _known(type_of(key), name), _encode(value))


def _stored(key: Key, name: str, field: Field, raw: bytes) -> Attribute:
    """The attribute for a value of a field of this item, given as JSON."""
    return due_at(place_of(int(raw), key)) if name == DUE else field.attribute(raw)


def default_of(kind: type[Item], name: str) -> Any:
    """What a field is where it is no attribute of an item that is there; None: it is absent."""
    return _known(kind, name).default


def is_always_there(kind: type[Item], name: str) -> bool:
    """Whether every item has the field, or a default of it."""
    field = _known(kind, name)
    return field.required or field.default is not None


def _known(kind: type[Item], name: str) -> Field:
    fields = _fields_of(kind)
    if name not in fields:
        raise AttributeError(f"a {kind.__name__} has no {name}")
    return fields[name]


class Names:
    """The places of items in a table that several apps may share, each behind its own name."""

    def __init__(self, app: str = "") -> None:
        self.prefix = f"{app}/" if app else ""

    def key(self, key: Key) -> dict[str, Attribute]:
        """The attributes of a key. Raises `StoreError` if it is too long."""
        partition, sort = self.partition(key.partition), key.sort
        _check_size("partition", partition, MAX_PARTITION)
        _check_size("sort key", sort, MAX_SORT)
        return {PARTITION: {"S": partition}, SORT: {"S": sort}}

    def partition(self, partition: str) -> str:
        """A partition as it is stored."""
        return self.prefix + partition

    def parts(self, tag: str) -> list[str]:
        """The parts of the due index that have the items of a tag, as they are stored."""
        return [self._part(number, tag) for number in range(SHARDS)]

    def part(self, key: Key, tag: str) -> Attribute:
        """The part of the due index that an item is in."""
        # By its whole key, for many of a run may be due.
        number = _hash(key) % SHARDS
        return {"S": self._part(number, tag)}

    def _part(self, number: int, tag: str) -> str:
        return f"{self.prefix}{number}#{tag}" if tag else f"{self.prefix}{number}"

    def item(self, key: Key, item: Item, body: bytes) -> dict[str, Attribute]:
        """All attributes of an item, whose JSON is `body`. Raises `StoreError`."""
        fields = _fields_of(type(item))
        found = {
            **self.key(key),
            **{
                name: _stored(key, name, fields[name], bytes(raw))
                for name, raw in _fields(body).items()
                if bytes(raw) != b"null"
            },
        }
        if DUE in fields:
            found[PART] = self.part(key, getattr(item, TAG, ""))
        return found

    def key_of(self, raws: Raws) -> Key:
        """The key that is among these attributes."""
        partition, sort = _text(raws[PARTITION]["S"]), _text(raws[SORT]["S"])
        return Key(partition.removeprefix(self.prefix), sort)


def _check_size(what: str, text: str, most: int) -> None:
    size = len(text.encode())
    if not 0 < size <= most:
        raise StoreError(f"a {what} of {size} bytes: must be 1 to {most}")
