"""What was posted becomes the data that the schema asks for, or is told by its field."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markupsafe import escape

from rewake.pages import page, parse
from rewake.pages.schemas import root_field
from tests.pages.posting import FORMS, SCHEMAS, any_json
from tests.support.deciding import EVERY_KIND, asked


def of(schema: dict[str, Any], *, required: bool = True) -> dict[str, Any]:
    """A form with one field."""
    return {
        "type": "object",
        "properties": {"x": schema},
        "required": ["x"] if required else [],
    }


def answer(schema: dict[str, Any], *posted: str, required: bool = True) -> Any:
    """What one field is read as: its value, or the error as text, or nothing."""
    form = {"value.x": list(posted)} if posted else {}
    value, errors = parse(of(schema, required=required), form)
    assert set(errors) <= {"value.x"}
    return errors["value.x"] if errors else value.get("x", ...)


READ: list[tuple[dict[str, Any], str, Any]] = [
    ({"type": "string"}, "one", "one"),
    ({"type": "string"}, " as it is ", " as it is "),
    ({"type": "string"}, "<b>&amp;</b>", "<b>&amp;</b>"),
    ({"type": "string", "x-multiline": True}, "a\r\nb\rc", "a\nb\nc"),
    ({"type": "string", "format": "email"}, " a@b.example ", "a@b.example"),
    ({"type": "string", "format": "uri"}, "https://a.example/b?c", "https://a.example/b?c"),
    ({"type": "string", "format": "date"}, "2024-02-29", "2024-02-29"),
    ({"type": "string", "format": "date-time"}, "2026-03-27T14:30", "2026-03-27T14:30:00Z"),
    (
        {"type": "string", "format": "date-time"},
        "2026-03-27 14:30:05+02:00",
        "2026-03-27T14:30:05+02:00",
    ),
    ({"type": "string", "format": "time"}, "14:30", "14:30:00"),
    ({"type": "number"}, "12.50", 12.5),
    ({"type": "number"}, " -7 ", -7),
    ({"type": "number"}, "1e3", 1000.0),
    ({"type": "number", "multipleOf": 0.01}, "19.99", 19.99),
    ({"type": "integer"}, "12", 12),
    ({"type": "integer"}, "12.0", 12),
    ({"type": "integer"}, "1" + "0" * 40, 10**40),
    ({"type": "boolean"}, "true", True),
    ({"enum": ["a", "b"]}, "b", "b"),
    ({"enum": [1, 2, "two"]}, "2", 2),
    ({"enum": [1, "1", True]}, "2", "1"),
    ({"anyOf": [{"type": "boolean"}, {"type": "null"}]}, "false", False),
    ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "3", 3),
    ({"type": ["string", "null"]}, "x", "x"),
    ({"type": "array", "items": {"type": "integer"}}, "1\r\n\r\n 2 \r\n", [1, 2]),
    ({"type": "object"}, '{"a": [1, null]}', {"a": [1, None]}),
    ({}, '"any"', "any"),
    ({"allOf": [{"type": "integer"}], "title": "N"}, "4", 4),
]


@pytest.mark.parametrize(("schema", "posted", "value"), READ)
def test_what_is_typed_becomes_what_the_schema_says(
    schema: dict[str, Any], posted: str, value: Any
) -> None:
    """Each kind of field gives a value of its JSON type, exactly."""
    found = answer(schema, posted)
    assert found == value
    assert type(found) is type(value)


WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"type": "string", "minLength": 3}, "ab", "at least 3"),
    ({"type": "string", "maxLength": 3}, "abcd", "at most 3"),
    ({"type": "string", "pattern": "^[a-z]+$"}, "A", "not in the form"),
    ({"type": "string", "format": "email"}, "no address", "e-mail"),
    ({"type": "string", "format": "uri"}, "no address", "whole address"),
    ({"type": "string", "format": "uri"}, "http://[1", "whole address"),
    ({"type": "string", "format": "date"}, "2026-02-30", "date"),
    ({"type": "string", "format": "date"}, "20260227", "date"),
    ({"type": "string", "format": "date-time"}, "2026-03-27", "date and a time"),
    ({"type": "string", "format": "date-time"}, "2026-03-27T25:00", "date and a time"),
    ({"type": "string", "format": "time"}, "24:61", "time"),
    ({"type": "number"}, "12,5", "a number"),
    ({"type": "number"}, "NaN", "a number"),
    ({"type": "number"}, "1e999", "a number"),
    ({"type": "number"}, "٣", "a number"),
    ({"type": "integer"}, "12.5", "whole number"),
    ({"type": "integer"}, "1" * 5000, "whole number"),
    ({"type": "integer", "minimum": 3}, "2", "3 or more"),
    ({"type": "integer", "maximum": 3}, "4", "3 or less"),
    ({"type": "number", "exclusiveMinimum": 0}, "0", "more than 0"),
    ({"type": "number", "exclusiveMaximum": 1}, "1", "less than 1"),
    ({"type": "number", "multipleOf": 0.01}, "1.005", "multiple of 0.01"),
    ({"enum": ["a", "b"]}, "c", "from what there is"),
    ({"const": True}, "", "Tick"),
    ({"type": "array", "items": {"type": "integer"}}, "1\nx", "Line 2"),
    ({"type": "array", "items": {"type": "string"}, "maxItems": 1}, "a\nb", "at most 1"),
    ({"type": "array", "items": {"type": "string"}, "uniqueItems": True}, "a\na", "once"),
    ({"type": "object"}, "[]", "an object"),
    ({"type": "object"}, "{", "no JSON"),
    ({"type": "object", "required": ["k"]}, "{}", "'k' is missing"),
    ({}, "[" * 65 + "]" * 65, "nested too deep"),
    ({}, "[" * 90_000, "no JSON"),
    ({"type": "string"}, "x" * 100_001, "too long"),
    ({"type": "string"}, "\ud800", "cannot be kept"),
]


@pytest.mark.parametrize(("schema", "posted", "told"), WRONG)
def test_what_does_not_fit_is_told(schema: dict[str, Any], posted: str, told: str) -> None:
    """An error is a sentence that says what would fit."""
    assert told in answer(schema, posted)


BLANK: list[tuple[dict[str, Any], bool, Any]] = [
    ({"type": "string"}, True, "Fill this in."),
    ({"type": "string"}, False, ...),
    ({"type": "string", "minLength": 0}, True, ""),
    ({"type": "string", "default": ""}, True, ""),
    ({"type": "string", "default": "EUR"}, False, ""),
    ({"type": "string", "default": "EUR", "minLength": 3}, False, "Enter at least 3"),
    ({"type": "integer"}, False, ...),
    ({"type": "integer", "default": 3}, False, "Fill this in."),
    ({"type": ["integer", "null"], "default": 3}, False, None),
    ({"anyOf": [{"type": "string"}, {"type": "null"}]}, True, None),
    ({"type": "boolean"}, True, False),
    ({"type": "boolean", "default": True}, False, False),
    ({"enum": ["a", "b"]}, True, "Choose one."),
    ({"enum": ["a", "b"]}, False, ...),
    ({"enum": ["a", None]}, True, None),
    ({"const": "fixed"}, True, "fixed"),
    ({"const": True}, False, False),
    ({"type": "array", "items": {"enum": ["a", "b"]}}, True, []),
    ({"type": "array", "items": {"enum": ["a", "b"]}}, False, ...),
    ({"type": "array", "items": {"enum": ["a", "b"]}, "default": ["a"]}, False, []),
    ({"type": "array", "items": {"enum": ["a", "b"]}, "minItems": 1}, True, "Choose at least"),
    ({"type": "array", "items": {"type": "string"}}, True, []),
    ({"type": "array", "items": {"type": "string"}, "minItems": 2}, True, "Give at least 2"),
    ({"type": "null"}, True, None),
    ({"type": "object"}, False, ...),
]


@pytest.mark.parametrize("posted", [(), ("",)])
@pytest.mark.parametrize(("schema", "required", "value"), BLANK)
def test_what_is_left_blank(
    schema: dict[str, Any], required: bool, value: Any, posted: tuple[str, ...]
) -> None:
    """A blank field is null, left out, false or empty, whichever the schema knows; or an error."""
    found = answer(schema, *posted, required=required)
    if isinstance(value, str) and value:
        assert found.startswith(value)
    else:
        assert found is value or found == value


def test_a_whole_form() -> None:
    """What every kind of field posts is one object, without what was left blank."""
    value, errors = parse(
        EVERY_KIND,
        {
            "nonce": ["n"],
            "value.amount": ["412.80"],
            "value.count": ["2"],
            "value.cost_centre": ["FI-100"],
            "value.carry": ["sum"],
            "value.account": ["1400"],
            "value.read": ["true"],
            "value.seen": [""],
            "value.day": ["2026-11-30"],
            "value.ledgers": ["receivable", "general", "receivable"],
            "value.contact.name": ["Eve"],
            "value.contact.phone": [""],
            "value.unknown": ["ignored"],
        },
    )
    assert errors == {}
    assert value == {
        "amount": 412.8,
        "count": 2,
        "cost_centre": "FI-100",
        "carry": "sum",
        "account": "1400",
        "urgent": False,
        "read": True,
        "seen": None,
        "day": "2026-11-30",
        "ledgers": ["general", "receivable"],
        "contact": {"name": "Eve", "phone": None},
    }


def test_a_group_that_need_not_be_there() -> None:
    """It is left out as a whole if nothing in it was answered, and needs all of it otherwise."""
    inside = {
        "type": "object",
        "properties": {"a": {"type": "string"}, "b": {"type": "boolean"}},
        "required": ["a"],
    }
    form: dict[str, Any] = {"type": "object", "properties": {"g": inside}}
    assert parse(form, {"value.g.a": [""]}) == ({}, {})
    assert parse(form, {"value.g.b": ["true"]})[1] == {"value.g.a": "Fill this in."}
    form["properties"]["g"] = {"anyOf": [inside, {"type": "null"}]}
    assert parse(form, {}) == ({"g": None}, {})


def test_keys_that_are_no_words_are_told_apart() -> None:
    """No two fields have one path, whatever their keys are."""
    text = {"type": "string"}
    form = {
        "type": "object",
        "properties": {"a.b": text, "a": {"type": "object", "properties": {"b": text}}, '"': text},
    }
    posted = {'value["a.b"]': ["1"], "value.a.b": ["2"], r'value["\""]': ["3"]}
    assert parse(form, posted) == ({"a.b": "1", "a": {"b": "2"}, '"': "3"}, {})


def test_an_answer_that_is_no_object() -> None:
    """A form may ask for one value alone."""
    assert parse({"type": "integer"}, {"value": ["3"]}) == (3, {})
    assert parse({"type": "integer"}, {}) == (None, {"value": "Fill this in."})
    assert parse(None, {"value": ["3"]}) == (None, {})


@settings(deadline=None)
@given(schema=any_json | SCHEMAS, form=FORMS)
def test_whatever_the_schema_and_whatever_is_posted_nothing_raises(
    schema: Any, form: dict[str, list[str]]
) -> None:
    """`parse` gives JSON data and errors; the page shows them, as UTF-8 can hold it."""
    schema = schema if isinstance(schema, dict) else {"properties": {"x": schema}}
    value, errors = parse(schema, form)
    json.dumps(value).encode()
    page(asked(schema), post_to="/", nonce="n", values=form, errors=errors).encode()


@settings(max_examples=60, deadline=None)
@given(schema=SCHEMAS, data=st.data())
def test_fields_that_are_posted_under_their_names_never_raise(
    schema: dict[str, Any], data: st.DataObject
) -> None:
    """The same of what arrives in the fields that there are, and each error is of one of them."""
    names = [each.path for each in root_field(schema).leaves()]
    texts = st.lists(st.text() | st.sampled_from(["1", "true", "{}", "2026-01-01"]), max_size=3)
    form = {name: data.draw(texts) for name in names}
    value, errors = parse(schema, form)
    json.dumps(value)
    assert set(errors) <= set(names)
    html = page(asked(schema), post_to="/", nonce="n")
    shown = {each.path for each in root_field(schema).leaves() if each.kind != "constant"}
    assert all(f'name="{escape(name)}"' in html for name in shown)
