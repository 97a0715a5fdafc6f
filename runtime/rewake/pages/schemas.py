"""From a JSON Schema to the fields of a form.

What a form can show is a field; what it cannot (objects of any keys, lists of objects, schemas that
contain themselves, unions) is asked as JSON. References into the schema itself are followed, never
any other. `anyOf [T, null]` is a `T` that can be left blank.

A schema is data: whatever it is, it has fields, and only so many. One with more than `MOST_FIELDS`,
also by references to references, is asked as one JSON text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from rewake.pages.fields import LEAVES, Choice, Field, Kind
from rewake.values.pointers import pointed
from rewake.values.schemas import ROOT, path_of

MOST_FIELDS: Final = 200
MOST_CHOICES: Final = 500
DEEPEST: Final = 4
"""How many groups stand in each other."""
LONGEST_KEY: Final = 200

_LONG_TEXT: Final = 200
"""Text that may be longer gets several lines."""
_FORMATS: Final = {
    "date": Kind.DATE,
    "date-time": Kind.DATETIME,
    "time": Kind.TIME,
    "email": Kind.EMAIL,
    "idn-email": Kind.EMAIL,
    "password": Kind.PASSWORD,
    "uri": Kind.URL,
}
_SIMPLE: Final = {
    "number": Kind.NUMBER,
    "integer": Kind.INTEGER,
    "boolean": Kind.BOOLEAN,
}
_LINES: Final = LEAVES - {Kind.MULTILINE}
_NULL: Final = {"type": "null"}

Schema = Mapping[str, Any]


class _TooManyError(Exception):
    """More fields than a form has."""


class _Place(msgspec.Struct, frozen=True):
    """Where in the form a schema stands, and what was followed to come there."""

    path: str
    key: str
    required: bool
    depth: int = 0
    followed: frozenset[str] = frozenset()


class _Found(msgspec.Struct, frozen=True):
    """A schema without references: what it says, whether null fits too."""

    schema: Schema
    nullable: bool
    followed: frozenset[str]


def root_field(schema: Mapping[str, Any]) -> Field:
    """The field that the whole answer is, most often a group."""
    place = _Place(ROOT, "", required=True)
    try:
        return _Reader(schema).field(schema, place)
    except _TooManyError:
        return Field(
            path=ROOT, kind=Kind.JSON, label=_label(schema, ""), schema=schema, required=True
        )


class _Reader:
    def __init__(self, whole: Schema) -> None:
        self._whole = whole
        self._left = MOST_FIELDS

    def field(self, schema: Any, place: _Place) -> Field:
        if self._left <= 0:
            raise _TooManyError
        self._left -= 1
        found = self._found(schema, place.followed)
        if found is None:
            return self._json(schema if isinstance(schema, Mapping) else {}, place, False)
        if found.schema.get("type") == "null":
            return self._plain(Kind.CONSTANT, found.schema, place, True)
        choices = _choices(found.schema)
        nullable = found.nullable or any(each.value is None for each in choices or ())
        choices = tuple(each for each in choices or () if each.value is not None)
        if 0 < len(choices) <= MOST_CHOICES:
            return self._choice(found.schema, place, choices, nullable)
        kind = _kind(found.schema)
        if choices or kind is None:
            return self._json(found.schema, place, nullable)
        if kind is Kind.GROUP:
            return self._group(found, place)
        if kind is Kind.LINES:
            return self._array(found, place)
        if kind is Kind.BOOLEAN and nullable:
            choices = _told_apart([(True, None), (False, None)])
            return self._choice(found.schema, place, choices, nullable)
        return self._plain(kind, found.schema, place, nullable)

    # --- of one kind each --------------------------------------------------------------------

    def _plain(
        self, kind: Kind, schema: Schema, place: _Place, nullable: bool, **more: Any
    ) -> Field:
        return Field(
            path=place.path,
            kind=kind,
            label=_label(schema, place.key),
            schema=schema,
            required=place.required,
            nullable=nullable,
            **more,
        )

    def _json(self, schema: Schema, place: _Place, nullable: bool) -> Field:
        return self._plain(Kind.JSON, schema, place, nullable)

    def _choice(
        self, schema: Schema, place: _Place, choices: tuple[Choice, ...], nullable: bool
    ) -> Field:
        if len(choices) == 1 and choices[0].value is True:
            return self._plain(Kind.BOOLEAN, {**schema, "const": True}, place, nullable)
        if len(choices) == 1 and place.required and not nullable:
            return self._plain(Kind.CONSTANT, schema, place, nullable, constant=choices[0].value)
        return self._plain(Kind.CHOICE, schema, place, nullable, choices=choices)

    def _group(self, found: _Found, place: _Place) -> Field:
        members = found.schema["properties"]
        needed, defaults = found.schema.get("required"), found.schema.get("default")
        names = needed if isinstance(needed, list) else []
        keys_are_fine = all(isinstance(key, str) and len(key) <= LONGEST_KEY for key in members)
        if place.depth >= DEEPEST or not keys_are_fine:
            return self._json(found.schema, place, found.nullable)
        made = []
        for key, member in members.items():
            path = path_of([key], place.path)
            inside = _Place(path, key, key in names, place.depth + 1, found.followed)
            if isinstance(defaults, Mapping) and key in defaults:
                made.append(
                    (key, self.field(_over(member, {"default": defaults[key]}, ""), inside))
                )
            else:
                made.append((key, self.field(member, inside)))
        return self._plain(Kind.GROUP, found.schema, place, found.nullable, members=tuple(made))

    def _array(self, found: _Found, place: _Place) -> Field:
        """Choices to tick, or one thing a line; what is neither is JSON."""
        inside = _Place(place.path, place.key, False, DEEPEST, found.followed)
        item = self.field(found.schema.get("items"), inside)
        if item.kind is Kind.CHOICE and not item.nullable:
            return self._plain(
                Kind.CHOICES, found.schema, place, found.nullable, choices=item.choices
            )
        if item.kind in _LINES and not item.nullable and _fits_lines(found.schema):
            return self._plain(Kind.LINES, found.schema, place, found.nullable, item=item)
        return self._json(found.schema, place, found.nullable)

    # --- references --------------------------------------------------------------------------

    def _found(self, schema: Any, followed: frozenset[str]) -> _Found | None:
        """The schema with references followed; None if that comes to no end, or to nothing."""
        nullable = False
        for _ in range(MOST_FIELDS):
            if not isinstance(schema, Mapping):
                return None
            if isinstance(reference := schema.get("$ref"), str):
                if reference in followed:
                    return None
                followed |= {reference}
                schema = _over(self._target(reference), schema, "$ref")
                continue
            name, members, has_null = _union(schema)
            nullable = nullable or has_null
            if name is None:
                return _Found(schema, nullable, followed)
            schema = _over(members[0], schema, name)
        return None

    def _target(self, reference: str) -> Any:
        """What a reference into the schema itself points at: any other is followed nowhere."""
        if not reference.startswith("#"):
            return None
        there = pointed(self._whole, reference)
        # The title of what is pointed at names a type, not this use of it.
        if isinstance(there, Mapping):
            return {name: each for name, each in there.items() if name != "title"}
        return None


def _over(inner: Any, outer: Schema, name: str) -> Any:
    """What an inner schema says, and over it what stands beside it, without the one keyword."""
    if not isinstance(inner, Mapping):
        return None
    return {**inner, **{key: each for key, each in outer.items() if key != name}}


def _union(schema: Schema) -> tuple[str | None, list[Any], bool]:
    """The keyword whose one alternative says everything, the alternatives, whether null is one."""
    for name in ("allOf", "anyOf", "oneOf"):
        members = schema.get(name)
        if not isinstance(members, list):
            continue
        left = [each for each in members if name == "allOf" or each != _NULL]
        if len(left) == 1:
            return name, left, len(left) < len(members)
        if name != "allOf" and len(left) < len(members):
            return None, [], True
    types = schema.get("type")
    return None, [], isinstance(types, list) and "null" in types and len(types) > 1


def _kind(schema: Schema) -> Kind | None:
    """What sort of field shows it; None if none does. An array is one of lines, to begin with."""
    type_ = schema.get("type")
    if isinstance(type_, list):
        others = [each for each in type_ if each != "null"]
        type_ = others[0] if len(others) == 1 else None
    if not isinstance(type_, str | None):
        return None
    if type_ == "string":
        return _kind_of_text(schema)
    if type_ == "object" or (type_ is None and "properties" in schema):
        return Kind.GROUP if isinstance(schema.get("properties"), Mapping) else None
    if type_ == "array":
        return Kind.LINES
    return _SIMPLE.get(type_ or "")


def _kind_of_text(schema: Schema) -> Kind:
    format_, longest = schema.get("format"), schema.get("maxLength")
    if schema.get("writeOnly") is True:
        return Kind.PASSWORD
    if isinstance(format_, str) and format_ in _FORMATS:
        return _FORMATS[format_]
    has_lines = isinstance(longest, (int, float)) and longest > _LONG_TEXT
    return Kind.MULTILINE if has_lines or schema.get("x-multiline") is True else Kind.TEXT


def _choices(schema: Schema) -> tuple[Choice, ...] | None:
    """The values that it can be, if it says which, with what they are called."""
    named: list[tuple[Any, Any]] | None = None
    if "const" in schema:
        named = [(schema["const"], None)]
    elif isinstance(schema.get("enum"), list):
        named = [(each, None) for each in schema["enum"]]
    for name in ("oneOf", "anyOf"):
        members = schema.get(name)
        if named is None and isinstance(members, list) and members:
            constants = [{"const": None} if each == _NULL else each for each in members]
            if all(isinstance(each, Mapping) and "const" in each for each in constants):
                named = [(each["const"], each.get("title")) for each in constants]
    if not named:
        return None
    return _told_apart(named)


def _told_apart(named: list[tuple[Any, Any]]) -> tuple[Choice, ...]:
    """Choices with tokens that differ: the text itself, or JSON, or else their numbers."""
    values = {_json(value): (value, title) for value, title in named}
    tokens = [_token(value) for value, _ in values.values()]
    if len(set(tokens)) < len(tokens) or not all(map(_is_posted_as_it_is, tokens)):
        tokens = [str(number) for number in range(1, len(tokens) + 1)]
    return tuple(
        Choice(token, title if isinstance(title, str) and title.strip() else _name_of(value), value)
        for token, (value, title) in zip(tokens, values.values(), strict=True)
    )


def _token(value: Any) -> str:
    return value if isinstance(value, str) else _json(value)


def _name_of(value: Any) -> str:
    if type(value) is bool:
        return "Yes" if value else "No"
    return _token(value)


def _json(value: Any) -> str:
    try:
        return msgspec.json.encode(value).decode()
    except (TypeError, ValueError, RecursionError):
        return repr(type(value))


def _is_posted_as_it_is(token: str) -> bool:
    """Browsers change the ends of lines and what is no character; a blank one means no answer."""
    return bool(token.strip()) and token.isprintable()


def _fits_lines(schema: Schema) -> bool:
    """Whether the default, if there is one, can be written one thing a line."""
    default = schema.get("default")
    if not isinstance(default, list):
        return default is None
    return all(isinstance(each, (str, int, float)) and "\n" not in str(each) for each in default)


def _label(schema: Schema, key: str) -> str:
    """What a field is called: its title, or else its key as words."""
    title = schema.get("title")
    if isinstance(title, str) and title.strip():
        return title
    words = re.sub(r"[_\s]+", " ", key).strip()
    return words[:1].upper() + words[1:] if words else "Answer"
