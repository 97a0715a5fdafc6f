"""Items as bytes, and the effect of an update on one.

Any table that evaluates updates itself shares this module.

Two versions of Rewake may share a database. What is well-formed and of no known form was written
by a newer one: a process of that can read it (`ReadableElsewhere`). Attributes that only a newer
one knows are passed over by reading, and stay where they are when the item is changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

import msgspec

from rewake.errors import CheckpointUnreadable, ReadableElsewhere
from rewake.records import Header, Item
from rewake.stores.keys import TYPES, is_view, letter_of, view_of
from rewake.stores.table import Key, When, holds

_encoder = msgspec.json.Encoder()
_decoders: Mapping[str, msgspec.json.Decoder[Any]] = {
    letter: msgspec.json.Decoder(kind) for letter, kind in TYPES.items()
}
_raw = msgspec.json.Decoder(dict[str, msgspec.Raw])
_DEFAULTS: Mapping[type[Item], Mapping[str, msgspec.structs.FieldInfo]] = {
    kind: {field.name: field for field in msgspec.structs.fields(kind) if field.default is not None}
    for kind in get_args(Item)
}
"""The attributes that are not None by default."""
_NEWER = "a newer Rewake wrote what this one cannot read"


def encode(item: Item) -> bytes:
    """The item as it is stored."""
    return _encoder.encode(item)


def type_of(key: Key) -> type[Item]:
    """The type of the item under a key. `ReadableElsewhere`: only a newer Rewake has it."""
    kind = TYPES.get(letter_of(key))
    if kind is None:
        raise _of_no_type(key)
    return kind


def decode(key: Key, body: bytes) -> Any:
    """The item that was stored under `key`, which tells its type.

    Raises `ReadableElsewhere` if a newer Rewake has written it, and `CheckpointUnreadable` if it is
    damaged. Not for a view, which would keep all others from being listed: its key says enough.
    """
    decoder = _decoders.get(letter_of(key))
    if decoder is None:
        raise _of_no_type(key)
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        if is_view(key):
            return view_of(key)
        raise _unreadable(key, body, error) from error
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        if is_view(key):
            return view_of(key)
        raise CheckpointUnreadable(_unknown(key, error)) from error


def proved(key: Key, body: bytes) -> Any:
    """The item that will be stored, as it is read back. Raises `CheckpointUnreadable` otherwise."""
    try:
        return decode(key, body)
    except ReadableElsewhere as error:  # no: it is ours, and wrong
        raise CheckpointUnreadable(str(error)) from error


def changed(before: bytes | None, found: Item | None, item: Item) -> bytes:
    """The item as it is stored where `before` was, if anything: `found` was read from that."""
    body = encode(item)
    if before is None or found is None or encode(found) == before:
        return body
    # Somebody else has written it: perhaps with attributes that are not known here.
    known = type(item).__struct_fields__
    unknown = {name: value for name, value in _raw.decode(before).items() if name not in known}
    return _encoder.encode(_raw.decode(body) | unknown) if unknown else body


def _of_no_type(key: Key) -> ReadableElsewhere:
    told = f"the item {key.sort} of {key.partition} is of no type that this Rewake knows"
    return ReadableElsewhere(told, reason=_NEWER)


def _unreadable(key: Key, body: bytes, error: Exception) -> CheckpointUnreadable:
    """The error for what is of no known form."""
    told = _unknown(key, error)
    try:
        msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return CheckpointUnreadable(told)
    return ReadableElsewhere(told, reason=_NEWER, outline=_outline(key, body))


def _unknown(key: Key, error: Exception) -> str:
    told = f"the item {key.sort} of {key.partition} is of no form that this Rewake knows"
    return f"{told} ({error})"


def _outline(key: Key, body: bytes) -> Header | None:
    """A header without its newest entries, if it is those that are unknown."""
    if type_of(key) is not Header:
        return None
    try:
        kept = {name: value for name, value in _raw.decode(body).items() if name != "tail"}
        return msgspec.json.decode(_encoder.encode(kept), type=Header)
    except msgspec.MsgspecError:
        return None


def change(
    found: Item | None,
    *,
    when: When,
    set: Mapping[str, Any] | None,
    add: Mapping[str, int] | None,
    create: Item | None,
) -> Item | None:
    """The item after an update of `found` as in `Table.update`, or None if it must not be written.

    A removed attribute takes its default, which is what a stored item without it decodes to.
    Adding to an absent number counts from zero.
    """
    base = create if found is None else found
    if base is None or not holds(when, found):
        return None
    changes = dict(set) if set else {}
    if None in changes.values():
        defaults = _DEFAULTS[type(base)]
        for name in [name for name, value in changes.items() if value is None]:
            if name in defaults:
                changes[name] = _default(defaults[name])
    for name, increment in add.items() if add else ():
        if name in changes:
            raise ValueError(f"{name} cannot be set and added to at once")
        if name == "due":
            raise ValueError("due can be set, and not added to")
        changes[name] = (getattr(base, name) or 0) + increment
    return msgspec.structs.replace(base, **changes)


def _default(field: msgspec.structs.FieldInfo) -> Any:
    if field.required:
        raise ValueError(f"{field.name} cannot be removed")
    factory = field.default_factory
    return field.default if factory is msgspec.NODEFAULT else factory()
