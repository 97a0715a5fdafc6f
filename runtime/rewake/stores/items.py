"""Items as bytes, and the effect of an update on one.

Any table that evaluates updates itself shares this module.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

import msgspec

from rewake.errors import CheckpointUnreadable
from rewake.records import Item
from rewake.stores.keys import TYPES, VIEWS, is_view, view_of
from rewake.stores.table import Key, When, holds

_encoder = msgspec.json.Encoder()
_decoders: Mapping[type[Item], msgspec.json.Decoder[Any]] = {
    kind: msgspec.json.Decoder(kind) for kind in TYPES.values()
}
_DEFAULTS: Mapping[type[Item], Mapping[str, msgspec.structs.FieldInfo]] = {
    kind: {field.name: field for field in msgspec.structs.fields(kind) if field.default is not None}
    for kind in get_args(Item)
}
"""The attributes that are not None by default."""


def encode(item: Item) -> bytes:
    """The item as it is stored."""
    return _encoder.encode(item)


def type_of(key: Key) -> type[Item]:
    """The type of the item under a key."""
    return TYPES[VIEWS if is_view(key) else key.sort[0]]


def decode(key: Key, body: bytes) -> Any:
    """The item that was stored under `key`, which tells its type.

    Raises `CheckpointUnreadable` if `body` is not such an item: a newer Rewake may have written it.
    Not for a view, which would keep all others from being listed: its key says enough.
    """
    try:
        return _decoders[type_of(key)].decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        if is_view(key):
            return view_of(key)
        told = f"the item {key.sort} of {key.partition} is of no form that this Rewake knows"
        raise CheckpointUnreadable(f"{told} ({error})") from error


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
        for name, value in changes.items():
            if value is None and name in defaults:
                changes[name] = _default(defaults[name])
    for name, increment in add.items() if add else ():
        if name in changes:
            raise ValueError(f"{name} cannot be set and added to at once")
        changes[name] = (getattr(base, name) or 0) + increment
    return msgspec.structs.replace(base, **changes)


def _default(field: msgspec.structs.FieldInfo) -> Any:
    if field.required:
        raise ValueError(f"{field.name} cannot be removed")
    factory = field.default_factory
    return field.default if factory is msgspec.NODEFAULT else factory()
