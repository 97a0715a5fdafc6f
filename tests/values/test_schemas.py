"""Forms: what is one, and whether an answer fits; both are bounded, and nothing is fetched."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewake.errors import UsageError
from rewake.values.schemas import MOST_TOLD, checked_schema, misfits, schema_of


def deep(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for _ in range(levels):
        schema = {"properties": {"a": schema}, "type": "object"}
    return schema


@pytest.mark.parametrize(
    ("form", "told"),
    [
        ({"type": "objct"}, "no JSON Schema"),
        ({"properties": 3}, "no JSON Schema"),
        ({"amount": {"type": "numbr"}}, "no JSON Schema"),
        ({"pattern": "("}, "no JSON Schema"),
        ({"type": "string", "enum": 3}, "no JSON Schema"),
        ({"$ref": "http://127.0.0.1:1/schema"}, "only to itself"),
        ({"properties": {"a": {"$ref": "file:///etc/passwd"}}}, "only to itself"),
        ({"$ref": "other.json"}, "only to itself"),
        ({"$dynamicRef": "https://example.com/x"}, "only to itself"),
        ({"$ref": "#/$defs/none"}, "does not have"),
        ({"$ref": "#"}, "without an end"),
        (
            {"$defs": {"A": {"$ref": "#/$defs/A"}}, "properties": {"a": {"$ref": "#/$defs/A"}}},
            "end",
        ),
        (deep(20), "too large"),
        ({"description": "x" * 70_000}, "too large"),
        ({"default": int.bit_count}, "not JSON"),
        ({1: {"type": "string"}, "b": 1j}, "not JSON"),
    ],
    ids=lambda each: str(each)[:40],
)
def test_what_is_no_form(form: Any, told: str) -> None:
    """It is refused when it is asked with, and the error says why; nothing is fetched for it."""
    with pytest.raises(UsageError, match=told):
        checked_schema(form)


TREE = {
    "$defs": {"T": {"type": "object", "properties": {"t": {"$ref": "#/$defs/T"}}}},
    "$ref": "#/$defs/T",
}


@pytest.mark.parametrize(
    ("form", "fits", "other"),
    [
        ({}, 3, None),
        ({"amount": {"type": "integer"}}, {"amount": 3}, {"amount": "3"}),
        ({"type": {"type": "string"}}, {"type": "a"}, {"type": 3}),
        ({"type": "string"}, "a", 3),
        (TREE, {"t": {"t": {}}}, {"t": {"t": 3}}),
        ({"format": "date-time", "type": "string"}, "2026-01-31T12:00:00Z", "soon"),
        ({"format": "date", "type": "string"}, "2026-01-31", "2026-02-31"),
        ({"format": "uuid", "type": "string"}, "0" * 32, "0"),
        ({"format": "email", "type": "string"}, "a@b", "a"),
        ({"enum": ["a", "b"], "$comment": ""}, "a", "c"),
        ({"$schema": "http://json-schema.org/draft-07/schema#", "type": "null"}, None, 0),
        ({"type": "number", "multipleOf": 0.01}, 3.5, 10**400),
    ],
    ids=lambda each: str(each)[:30],
)
def test_what_fits(form: Any, fits: Any, other: Any) -> None:
    """A form is a schema, or the properties of an object; an answer fits it or does not."""
    schema = schema_of(checked_schema(form))
    assert misfits(schema, fits) == []
    if form:
        assert misfits(schema, other)


def test_misfits_name_their_place_and_repeat_nothing() -> None:
    """The path is that of the field, also of one that is missing; no secret comes back."""
    schema = {
        "type": "object",
        "required": ["a", "z"],
        "additionalProperties": False,
        "properties": {
            "a": {"type": "integer"},
            "l": {"type": "array", "items": {"type": "object", "required": ["x", "y"]}},
            "n": {"anyOf": [{"type": "string", "maxLength": 2}, {"type": "null"}]},
            "odd key": {"const": 1},
        },
    }
    value = {"a": "secret", "l": [{}, {"x": 1}], "n": "secret", "odd key": "secret", "s": "secret"}
    found = misfits(schema, value)
    assert sorted(each.path for each in found) == [
        "value",
        "value.a",
        "value.l[0].x",
        "value.l[0].y",
        "value.l[1].y",
        "value.n",
        "value.z",
        'value["odd key"]',
    ]
    assert "secret" not in str(found)


def test_an_answer_is_bounded() -> None:
    """What is wider or deeper than a person fills in is looked at no further; few are told."""
    nested: Any = 0
    for _ in range(10_000):
        nested = [nested]
    slow = {"type": "array", "uniqueItems": True}
    for value in (nested, [0] * 5_000, {"a": [[0] * 50] * 50}, [{"a": i} for i in range(50_000)]):
        [told] = misfits(slow, value)
        assert "at most" in told.message
    many = misfits({"type": "array", "items": {"type": "integer"}}, ["a"] * 1_000)
    assert len(many) == MOST_TOLD


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=12,
)


@given(
    st.dictionaries(st.sampled_from(["type", "properties", "$ref", "items", "a"]), values), values
)
def test_no_form_and_no_answer_is_an_unforeseen_error(form: dict[str, Any], value: Any) -> None:
    """Any dictionary is a form or a `UsageError`; any answer to a form fits it or does not."""
    try:
        schema = schema_of(checked_schema(form))
    except UsageError:
        return
    assert all(each.message for each in misfits(schema, value))
