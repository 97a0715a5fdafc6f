"""Fields that were not given, and whose default is drawn: an id, a moment.

What a run was sent is kept as it was sent, and becomes an object of its type on each replay. So a
field that its class fills in by a factory would be another one each time, and a run that hands it
on would ask for something else than it has recorded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import msgspec

from rewake.errors import InvalidInput
from rewake.values.fields import all_field_names, drawn_fields

T = TypeVar("T")
_BARE = frozenset({str, int, float, bool, type(None), bytes})
"""What has no fields, of which there may be many."""


def given_in_full(made: T, given: Any, path: str = "") -> T:
    """What was made of JSON data. Raises `InvalidInput` if something of it is drawn."""
    if made is given:
        return made
    if (field := next(drawn_in(made, given, path), "")) != "":
        told = "it must be given, for its default would be another one on each replay"
        raise InvalidInput(f"{field}: {told}", field=field)
    return made


def drawn_in(made: Any, given: Any, path: str = "") -> Iterator[str]:
    """The paths of the fields of what was `made` that JSON data does not give, and that are drawn.

    Of pydantic's models each knows itself what it was given.
    """
    for each, its, name in _parts(made, given):
        if type(each) not in _BARE:
            yield from drawn_in(each, its, path + name)
    if not isinstance(made, dict | list | tuple):
        kind: Any = type(made)
        names, lacks = names_in_json(kind), drawn_fields(kind) - _known(made, given)
        yield from (f"{path}.{names[name]}" for name in sorted(lacks))


def _parts(made: Any, given: Any) -> Iterator[tuple[Any, Any, str]]:
    """The parts that were made of parts, with these, and the path to them."""
    if isinstance(made, list | tuple):
        items = given if type(given) is list else []
        yield from ((*pair, f"[{i}]") for i, pair in enumerate(zip(made, items, strict=False)))
    elif isinstance(made, dict):
        found = given if type(given) is dict else {}
        keys = {key: key if key in found else str(key) for key in made}
        yield from ((made[key], found[its], f".{its}") for key, its in keys.items() if its in found)
    else:
        found = _by_name(type(made), given)
        for name, its in names_in_json(type(made)).items():
            if its in found:
                yield getattr(made, name), found[its], f".{its}"


def _known(made: Any, given: Any) -> frozenset[str]:
    """The fields that were given, or may have been."""
    known = getattr(made, "__pydantic_fields_set__", None)
    if known is not None:
        return frozenset(known)
    names = names_in_json(type(made))
    if not isinstance(given, dict | list):
        return frozenset(names)
    found = _by_name(type(made), given)
    return frozenset(name for name, its in names.items() if its in found)


def _by_name(kind: type, given: Any) -> dict[str, Any]:
    """What an object of a class was made of, by its names in JSON."""
    if type(given) is list:  # a struct like an array
        return dict(zip(names_in_json(kind).values(), given, strict=False))
    return given if type(given) is dict else {}


def names_in_json(kind: type) -> Mapping[str, str]:
    """What the fields of a class are called in JSON."""
    if issubclass(kind, msgspec.Struct):
        return {each.name: each.encode_name for each in msgspec.structs.fields(kind)}
    fields = getattr(kind, "__pydantic_fields__", {})
    return {n: getattr(fields.get(n), "alias", None) or n for n in all_field_names(kind) or ()}
