"""The fields of a form: what a person can be asked in one.

A field has a path, as errors name it (`values/schemas.py`), and its control is called by it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any, Final

import msgspec

_VAST: Final = 10**300
_MANY: Final = 2**31


class Kind(StrEnum):
    """What sort of field it is."""

    TEXT = "text"
    MULTILINE = "multiline"
    EMAIL = "email"
    PASSWORD = "password"  # noqa: S105 - it is none
    URL = "url"
    NUMBER = "number"
    INTEGER = "integer"
    DATE = "date"
    DATETIME = "datetime"
    TIME = "time"
    BOOLEAN = "boolean"
    CHOICE = "choice"
    CHOICES = "choices"
    LINES = "lines"
    JSON = "json"
    GROUP = "group"
    CONSTANT = "constant"


TEXTS: Final = frozenset({Kind.TEXT, Kind.MULTILINE, Kind.EMAIL, Kind.PASSWORD, Kind.URL})
"""The kinds whose value is text as it was typed."""

LEAVES: Final = TEXTS | {Kind.NUMBER, Kind.INTEGER, Kind.DATE, Kind.DATETIME, Kind.TIME}
"""The kinds whose value is typed as text."""


class Choice(msgspec.Struct, frozen=True):
    """One of several values: as it is posted, as it is called, what it means."""

    token: str
    label: str
    value: Any


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """A field; `schema` is what the form says of it, with references followed."""

    path: str
    kind: Kind
    label: str
    schema: Mapping[str, Any]
    required: bool = False
    nullable: bool = False
    choices: tuple[Choice, ...] = ()
    item: Field | None = None
    """Of lines: what each line is."""
    members: tuple[tuple[str, Field], ...] = ()
    """Of a group: its fields by their keys."""
    constant: Any = None

    @property
    def default(self) -> Any:
        """What stands in it before anything was typed; None if nothing does."""
        return self.schema.get("default")

    @property
    def is_secret(self) -> bool:
        """Whether nobody is to see what is typed."""
        return self.kind is Kind.PASSWORD or self.schema.get("writeOnly") is True

    @property
    def help(self) -> str:
        """What the form says of it."""
        told = self.schema.get("description")
        return told if isinstance(told, str) else ""

    @property
    def needed(self) -> bool:
        """Whether it cannot be left blank.

        One with a default neither, for left out it would become the default again. Text and lists
        can say that they are blank: by being so.
        """
        if self.nullable:
            return False
        if self.kind in {Kind.LINES, Kind.CHOICES} and not self.count("minItems"):
            return False
        if self.kind in TEXTS:
            blank_is_fine = self.default == "" or self.schema.get("minLength") == 0
            return self.required and not blank_is_fine
        return self.required or self.default is not None

    def limit(self, name: str) -> float | int | None:
        """A number that the schema bounds the value with, if it says one."""
        found = self.schema.get(name)
        if isinstance(found, (int, float)) and type(found) is not bool and abs(found) < _VAST:
            return found
        return None

    def count(self, name: str) -> int | None:
        """The same of a length or a number of things."""
        found = self.limit(name)
        return int(found) if found is not None and 0 <= found < _MANY else None

    def leaves(self) -> Iterator[Field]:
        """It, or what is in it, without groups."""
        if self.kind is not Kind.GROUP:
            yield self
        for _, member in self.members:
            yield from member.leaves()
