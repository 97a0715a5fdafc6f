"""Values are faithful: what a task returned is what the workflow sees, live and on replay.

A value is stored in the first of three codecs that restores it exactly, of the same types deep
down. Nothing is guessed: a value that a codec would change (a tuple into a list, an `IntEnum` into
an `int`, a named zone into an offset) goes to the next one.

    json     plain data: None, bool, int, float, str, list, dict with str keys (`plain`)
    typed    JSON that a type hint restores; proved at once by restoring and comparing
    pickle   cloudpickle, for the rest (`pickles`)

The first two can be read by eye and by any Python. Where the app has a payload codec, what comes of
any of them is sealed (`sealing`).

Aliasing between plain values is not kept: one list that occurs twice comes back as two equal ones.
That is the same live and on replay, since a workflow only ever sees the decoded value.
"""

from __future__ import annotations

import datetime as dt
import enum
import types
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from decimal import Decimal
from functools import lru_cache
from typing import Any, Union, get_args, get_origin

import msgspec

from rewake.errors import CheckpointForged, ReadableElsewhere
from rewake.records import Value
from rewake.signing.payloads import Context
from rewake.signing.secret import Secret
from rewake.values import sealing
from rewake.values.drawn import drawn_in
from rewake.values.fields import field_names
from rewake.values.pickles import Place, opened, pickled, seal, unpickled, unreadable
from rewake.values.plain import plain_types

# --- encode and decode -------------------------------------------------------------------------

_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder()
_NULL = b"null"


def encode(
    value: Any, *, hint: Any = None, secret: Secret, run: str, key: str, purpose: str
) -> Value:
    """Encode `value` so that `decode` restores it exactly.

    `hint` is the declared type, resolved (no strings), or `None` for none. `run`, `key` and
    `purpose` (a word such as `result`) say where the value belongs: `decode` must be given the
    same. Raises `UsageError` if no codec restores the value.
    """
    place = Place(run, key, purpose)
    return sealed_at(_encoded(value, hint, secret, place), secret, place)


def _encoded(value: Any, hint: Any, secret: Secret, place: Place) -> Value:
    body = _plain_json(value)
    if body is not None:
        return Value("json", msgspec.Raw(body))
    body = _typed_json(value, hint)
    if body is not None:
        return Value("typed", msgspec.Raw(body))
    return Value("pickle", msgspec.Raw(seal(pickled(value, place), secret, place)))


def decode(
    value: Value, *, hint: Any = None, secret: Secret, run: str, key: str, purpose: str
) -> Any:
    """Restore what `encode` was given, under the same `hint`, `run`, `key` and `purpose`.

    Raises `CheckpointUnreadable` for a body that is damaged, not authentic, kept apart and not
    yet fetched, of another Python minor, or of a type that no longer exists or fits.
    """
    place = Place(run, key, purpose)
    if value.codec == sealing.SEALED:
        value = opened_at(value, secret, place)
    _check_fetched(value, place)
    match value.codec:
        case "json":
            return _from_json(value.body, place)
        case "typed":
            return _from_typed(value.body, hint, place)
        case "pickle":
            return unpickled(opened(value.body, secret, place), place)
        case codec:
            raise unreadable(place, f"its codec {codec!r} is not known to this version")


def moved(value: Value, secret: Secret, source: Place, target: Place) -> Value:
    """The value as it would have been encoded for another place; nothing of it is loaded.

    Raises `CheckpointUnreadable`.
    """
    plain = opened_at(value, secret, source)
    if plain.codec == "pickle":
        made = opened(plain.body, secret, source)
        plain = msgspec.structs.replace(plain, body=msgspec.Raw(seal(made, secret, target)))
    plain = msgspec.structs.replace(plain, blob="")
    if secret.codec is None:
        return plain
    sealed = sealing.sealed(plain, secret.codec, Context(*target))
    return msgspec.structs.replace(sealed, hidden=value.hidden)


def sealed_at(value: Value, secret: Secret, place: Place) -> Value:
    """The value, sealed where there is a payload codec."""
    return value if secret.codec is None else sealing.sealed(value, secret.codec, Context(*place))


def opened_at(value: Value, secret: Secret, place: Place) -> Value:
    """The value, opened if it is sealed. Raises `CheckpointUnreadable`."""
    _check_fetched(value, place)
    try:
        return sealing.opened(value, secret.codec, Context(*place))
    except ReadableElsewhere as error:
        told = f"cannot read {place}: {error.reason}"
        raise ReadableElsewhere(told, reason=error.reason) from error
    except CheckpointForged as error:
        raise CheckpointForged(f"cannot read {place}: {error}") from error


def _check_fetched(value: Value, place: Place) -> None:
    if value.blob and bytes(value.body) == _NULL:
        raise unreadable(place, f"its body is kept apart in {value.blob} and was not fetched")


def _from_json(body: msgspec.Raw, place: Place) -> Any:
    try:
        return _DECODER.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise unreadable(place, f"its JSON is damaged ({error})") from error


# --- plain JSON --------------------------------------------------------------------------------


def _plain_json(value: Any) -> bytes | None:
    """Return `value` as JSON if plain JSON restores it exactly."""
    if plain_types(value) is None:
        return None
    try:
        return _ENCODER.encode(value)
    except UnicodeEncodeError:
        return None


# --- JSON that a type hint restores ------------------------------------------------------------

_EQUAL: frozenset[type] = frozenset({types.NoneType, bool, int, str, bytes, bytearray})
# Equality alone would take 0.0 for -0.0, 1.0 for 1.00, and one zone for another.
_IDENTITY: Mapping[type, Callable[[Any], object]] = {
    float: float.hex,
    Decimal: repr,
    dt.date: repr,
    dt.datetime: repr,
    dt.time: repr,
    dt.timedelta: repr,
    uuid.UUID: lambda value: (value.int, value.is_safe),
}


def _typed_json(value: Any, hint: Any) -> bytes | None:
    """Return `value` as JSON if decoding it under `hint` restores it exactly."""
    if hint is None or hint is Any:
        return None
    try:
        body = _ENCODER.encode(value)
        return body if _same(value, _typed_decoder(hint).decode(body)) else None
    except Exception:
        return None


def _from_typed(body: msgspec.Raw, hint: Any, place: Place) -> Any:
    if hint is None or hint is Any or hint is object:  # these would give its JSON for the value
        raise unreadable(place, "it was written under a type hint, and there is none now")
    try:
        made = _typed_decoder(hint).decode(body)
    except Exception as error:
        found = list(_of_members(body, hint))
        if len(found) != 1:
            told = f"it does not fit its type hint {hint!r} ({error})"
            raise unreadable(place, told) from error
        made = found[0]
    if path := next(_drawn(made, body), ""):
        field = path.rpartition(".")[2]
        told = f"its class has got a field {field!r} since, of which a default is made each time"
        raise unreadable(place, told)
    return made


def _of_members(body: msgspec.Raw, hint: Any) -> Iterator[Any]:
    """What the value can be, of the members of a union: a deploy may have added some to its hint.

    None is what plain JSON restores, for then it would have been stored as that.
    """
    if get_origin(hint) not in (Union, types.UnionType):
        return
    stored = _DECODER.decode(body)
    for member in get_args(hint):
        with suppress(Exception):
            made = _typed_decoder(member).decode(body)
            if plain_types(made) is None and _is_in(stored, _DECODER.decode(_ENCODER.encode(made))):
                yield made


def _drawn(made: Any, body: msgspec.Raw) -> Iterator[str]:
    """The fields that were not stored, and whose default may be another one on each replay."""
    with suppress(Exception):
        if _ENCODER.encode(made) == bytes(body):
            return  # all of it was stored
    yield from drawn_in(made, _DECODER.decode(body))


def _is_in(stored: Any, made: Any) -> bool:
    """Tell whether all that was stored is in this; fields with defaults may have come since."""
    if type(stored) is dict and type(made) is dict:
        return all(name in made and _is_in(each, made[name]) for name, each in stored.items())
    if type(stored) is list and type(made) is list:
        return len(stored) == len(made) and all(map(_is_in, stored, made))
    return type(stored) is type(made) and bool(stored == made)


@lru_cache(maxsize=512)
def _typed_decoder(hint: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(hint)


def _same(one: Any, other: Any) -> bool:
    """Tell whether two values are equal and of the same types, deep down."""
    kind = type(one)
    if kind is not type(other):
        return False
    if kind in _EQUAL:
        return bool(one == other)
    if kind in _IDENTITY:
        return bool(_IDENTITY[kind](one) == _IDENTITY[kind](other))
    if issubclass(kind, enum.Enum):
        return one is other
    if kind is dict:
        return _same_items(one.items(), other.items())
    if kind is list or kind is tuple:
        return _same_items(one, other)
    if kind is set or kind is frozenset:
        return _same_members(one, other)
    return _same_objects(kind, one, other)


def _same_items(one: Collection[Any], other: Collection[Any]) -> bool:
    return len(one) == len(other) and all(map(_same, one, other))


def _same_members(one: Collection[Any], other: Collection[Any]) -> bool:
    members = {member: member for member in other}
    return len(one) == len(other) and all(
        member in members and _same(member, members[member]) for member in one
    )


# Objects of these types have content that `__getstate__` does not return.
_BUILT_IN = (BaseException, dict, list, set, frozenset, str, int, float, bytes)


def _same_objects(kind: type, one: Any, other: Any) -> bool:
    # The whole state, for an object may carry more than its declared fields.
    if not _same(object.__getstate__(one), object.__getstate__(other)):
        return False
    if issubclass(kind, tuple):
        return _same_items(one, other)
    return field_names(kind) is not None and not issubclass(kind, _BUILT_IN)
