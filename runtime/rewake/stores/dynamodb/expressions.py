"""Conditions and changes of a `Table`, compiled to the expressions of DynamoDB.

A field that has its default is no attribute, so that a test which the default meets is also met by
an item without the attribute. A test that no item can meet, or every item meets, is left out:
what remains is about attributes alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rewake.stores.dynamodb.attributes import (
    FORM,
    PART,
    PARTITION,
    Attribute,
    added,
    changed,
    compared,
    default_of,
    is_always_there,
)
from rewake.stores.items import type_of
from rewake.stores.table import Check, Key, Op, When

_THERE = f"attribute_exists({PARTITION}) AND attribute_not_exists({FORM})"
"""The item is there, and is none that only a newer Rewake can read."""
ABSENT = f"attribute_not_exists({PARTITION})"
"""There is no item."""
_FUNCTIONS: Mapping[Op, str] = {
    "absent": "attribute_not_exists",
    "present": "attribute_exists",
}


class Expressions:
    """The expressions of one request about the item of this key, with their names and values."""

    def __init__(self, key: Key) -> None:
        self._key, self._kind = key, type_of(key)
        self._names: dict[str, str] = {}
        self._values: dict[str, Attribute] = {}

    def request(self) -> dict[str, Any]:
        """The names and values, as a request has them."""
        found: dict[str, Any] = {}
        if self._names:
            found["ExpressionAttributeNames"] = self._names
        if self._values:
            found["ExpressionAttributeValues"] = self._values
        return found

    def condition(self, when: When) -> str | None:
        """That the item is there and meets the condition; None: none can."""
        if not when:
            return _THERE
        # Sorted out first: DynamoDB refuses names and values that no expression uses.
        alternatives = [
            [check for check in checks if self._fate(check) is None]
            for checks in when
            if all(self._fate(check) is not False for check in checks)
        ]
        if not alternatives:
            return None
        if [] in alternatives:
            return _THERE
        terms = [[self._term(check) for check in checks] for checks in alternatives]
        if len(terms) == 1:
            return " AND ".join([_THERE, *terms[0]])
        # DynamoDB refuses a parenthesis that changes nothing.
        joined = [each[0] if len(each) == 1 else f"({' AND '.join(each)})" for each in terms]
        return f"{_THERE} AND ({' OR '.join(joined)})"

    def update(
        self,
        set: Mapping[str, Any] | None,
        add: Mapping[str, int] | None,
        part: Attribute | None = None,
    ) -> str:
        """The changes; empty if there are none. Raises as `items.change` does.

        `part`: the part of the due index that the item moves to.
        """
        sets, removes, adds = [], [], []
        if part is not None:
            sets.append(f"{self._name(PART)} = {self._value(part)}")
        for name, value in (set or {}).items():
            attribute = changed(self._key, name, value)
            if attribute is None:
                removes.append(self._name(name))
            else:
                sets.append(f"{self._name(name)} = {self._value(attribute)}")
        for name, number in (add or {}).items():
            if set and name in set:
                raise ValueError(f"{name} cannot be set and added to at once")
            adds.append(f"{self._name(name)} {self._value(added(self._key, name, number))}")
        parts = {"SET": sets, "REMOVE": removes, "ADD": adds}
        return " ".join(f"{word} {', '.join(each)}" for word, each in parts.items() if each)

    def _fate(self, check: Check) -> bool | None:
        """Whether all items that are there meet the test, or none does; None: it depends."""
        if check.op in ("absent", "present"):
            always = is_always_there(self._kind, check.attribute)
            return check.op == "present" if always else None
        return None if _values_of(check) else False

    def _term(self, check: Check) -> str:
        """One test of an item that is there."""
        name = self._name(check.attribute)
        if check.op in _FUNCTIONS:
            return f"{_FUNCTIONS[check.op]}({name})"
        values = [
            self._value(compared(self._key, check.attribute, value)) for value in _values_of(check)
        ]
        test = f"{name} {check.op} {values[0]}"
        if check.op == "in":
            test = f"{name} IN ({', '.join(values)})"
        default = default_of(self._kind, check.attribute)
        if default is not None and check.holds_of(default):
            return f"(attribute_not_exists({name}) OR {test})"
        return test

    def _name(self, attribute: str) -> str:
        # All of them by a placeholder: many are words of DynamoDB's own.
        self._names[f"#{attribute}"] = attribute
        return f"#{attribute}"

    def _value(self, attribute: Attribute) -> str:
        name = f":{len(self._values)}"
        self._values[name] = attribute
        return name


def _values_of(check: Check) -> Sequence[Any]:
    """What an attribute is compared with; nothing is equal to None."""
    values = sorted(check.value, key=str) if check.op == "in" else [check.value]
    return [value for value in values if value is not None]
