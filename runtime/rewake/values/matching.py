"""Which events a wait is for: names, ids, and the fields that must be equal.

A `where` says what fields of an event's data must be: `{"order": 7, "customer.country": "CH"}`. All
of them must be equal to what the data has there, by one rule for both sides: a *canonical text*, in
which a number is the same whether it was written `7` or `7.0`, and a text, a truth value and a
number are never the same. So equality is equality of texts, and can be looked up by a digest: the
events of a name that have the same values at the same fields have one *index* (`index_of`).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from math import isfinite
from typing import Any

import msgspec

from rewake.errors import InvalidInput
from rewake.signing.secret import Secret
from rewake.values.text import storable, stored_size

LONGEST_NAME = 100
"""The most characters of the name of an event."""
LONGEST_ID = 128
"""The most bytes of an event's id, as JSON writes it."""
MOST_FIELDS = 8
"""The most fields that a `where` may have."""
LONGEST_FIELD = 100
"""The most bytes of the path of a field."""
LONGEST_TEXT = 1_000
"""The most bytes of a text that a field must be."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]*", re.ASCII)
_PURPOSE = "index of events"
_encode = msgspec.json.Encoder(order="sorted").encode

Scalar = str | int | float | bool | None


def checked_name(name: object) -> str:
    """The name of an event. Raises `InvalidInput` for what cannot be one."""
    if not isinstance(name, str) or len(name) > LONGEST_NAME or not _NAME.fullmatch(name):
        told = f"1 to {LONGEST_NAME} of a-z, A-Z, 0-9 and '_', '.', ':', '-'"
        raise InvalidInput(
            f"an event's name is {told}, a letter or digit first: {name!r:.60}", field="name"
        )
    return name


def checked_id(id: object) -> str:
    """The id of an event. Raises `InvalidInput` for what cannot be one."""
    if not isinstance(id, str) or not 1 <= stored_size(storable(id)) <= LONGEST_ID:
        raise InvalidInput(f"an event's id is a text of 1 to {LONGEST_ID} bytes", field="id")
    return storable(id)


def checked_where(where: object) -> dict[str, Scalar]:
    """What fields must be. Raises `InvalidInput`, whose `field` names the one that cannot be."""
    if where is None:
        return {}
    if not isinstance(where, Mapping) or len(where) > MOST_FIELDS:
        told = f"where is a dict of at most {MOST_FIELDS} fields and what each must be"
        raise InvalidInput(told, field="where")
    for field, value in where.items():
        if not isinstance(field, str) or not 1 <= stored_size(storable(field)) <= LONGEST_FIELD:
            told = f"a field of an event is a text of 1 to {LONGEST_FIELD} bytes, not {field!r:.60}"
            raise InvalidInput(told, field="where")
        if canonical(value) is None:
            told = f"a text of at most {LONGEST_TEXT} bytes, a number, True, False or None"
            found = type(value).__name__
            raise InvalidInput(
                f"{field} is compared with {told}, and this is of type {found}",
                field=f"where.{field}",
            )
    return dict(where)


def canonical(value: Any) -> str | None:
    """The text by which a value is compared; None for what is never equal to anything."""
    match value:
        case None | True | False:
            return str(value)
        case str() if stored_size(storable(value)) <= LONGEST_TEXT:
            return f"'{storable(value)}"
        case int():
            return str(int(value)) if value.bit_length() < 64 else None
        case float() if isfinite(value):
            whole = value.is_integer() and abs(value) < 2**63
            return str(int(value)) if whole else repr(float(value))
        case _:
            return None


def texts_of(where: Mapping[str, Any]) -> dict[str, str]:
    """The canonical texts of a `where` that was checked."""
    return {field: canonical(value) or "" for field, value in sorted(where.items())}


def texts_at(data: Any, fields: Sequence[str]) -> dict[str, str] | None:
    """The canonical texts that data has at these fields; None if it lacks one of them."""
    found: dict[str, str] = {}
    for field in fields:
        text = next((canonical(each) for each in _at(data, field)), None)
        if text is None:
            return None
        found[field] = text
    return found


def _at(data: Any, field: str) -> Iterator[Any]:
    """What data has at a field, if it has it: a name, or names with dots between them."""
    if isinstance(data, Mapping):
        if field in data:
            yield data[field]
        else:
            first, dot, rest = field.partition(".")
            if dot and first in data:
                yield from _at(data[first], rest)


def index_of(secret: Secret, name: str, texts: Mapping[str, str], key: str = "") -> str:
    """The index of the events of a name whose fields are these; of all of them, without fields.

    Where values are encrypted it is keyed, with the secret's `key` or the current one, or who reads
    the store could try what the values are.
    """
    if not texts:
        return ALL
    told = _encode([name, dict(texts)])
    if secret.codec is None:
        return hashlib.sha256(told).hexdigest()[:_DIGITS]
    return secret.sign(_PURPOSE, told, key=key).hex()[:_DIGITS]


def indexes_of(secret: Secret, name: str, texts: Mapping[str, str]) -> list[str]:
    """The same for each key that the secret accepts: the newest first, without repetitions."""
    return list(dict.fromkeys(index_of(secret, name, texts, key) for key in secret.ids))


def ref_of(name: str, id: str) -> str:
    """What an event is found by."""
    return hashlib.sha256(f"{name}\0{id}".encode()).hexdigest()[:_DIGITS]


def mark_of(name: str, id: str) -> str:
    """By what a run tells an event from the others that it had within some seconds."""
    return ref_of(name, id)[:_MARK]


def mark_at(ref: str) -> str:
    """The same, by what it is found by."""
    return ref[:_MARK]


ALL = "all"
"""The index of all events of a name."""
_DIGITS = 32
_MARK = 12
