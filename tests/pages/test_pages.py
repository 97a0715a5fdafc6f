"""What a page shows of a question and its form, and where errors stand."""

from __future__ import annotations

import enum
import subprocess
import sys
from dataclasses import dataclass
from datetime import date
from typing import Any

import html5lib
import msgspec
import pydantic
import pytest

from rewake.pages import done, gone, page, parse, refused
from rewake.pages.fields import Field
from rewake.pages.schemas import DEEPEST, MOST_CHOICES, MOST_FIELDS, root_field
from rewake.values.schemas import path_of
from tests.support.deciding import EVERY_KIND, asked


def tree(html: str) -> Any:
    """The page as elements."""
    return html5lib.parse(html, namespaceHTMLElements=False)


def words(element: Any) -> str:
    """The text of an element, on one line."""
    return " ".join("".join(element.itertext()).split())


def shown(schema: dict[str, Any], **more: Any) -> Any:
    """The page of a form, as elements."""
    return tree(page(asked(schema), post_to="/", nonce="n", **more))


def control(schema: dict[str, Any], *, required: bool = False, **more: Any) -> Any:
    """The control of a form with one field."""
    form = {"type": "object", "properties": {"x": schema}, "required": ["x"] if required else []}
    return next(each for each in shown(form, **more).iter() if each.get("name") == "value.x")


# --- from a schema to controls -----------------------------------------------------------------

CONTROLS: list[tuple[dict[str, Any], str, dict[str, str]]] = [
    ({"type": "string", "default": "EUR"}, "input", {"type": "text", "value": "EUR"}),
    (
        {"type": "string", "minLength": 2, "maxLength": 9, "pattern": "^a"},
        "input",
        {"minlength": "2", "maxlength": "9", "pattern": ".*(?:^a).*"},
    ),
    ({"type": "string", "maxLength": 201}, "textarea", {"maxlength": "201"}),
    ({"type": "string", "x-multiline": True}, "textarea", {}),
    ({"type": "string", "format": "email"}, "input", {"type": "email"}),
    ({"type": "string", "format": "password", "default": "x"}, "input", {"type": "password"}),
    ({"type": "string", "writeOnly": True}, "input", {"type": "password"}),
    ({"type": "string", "format": "uri"}, "input", {"type": "url"}),
    ({"type": "string", "format": "date"}, "input", {"type": "date"}),
    ({"type": "string", "format": "time"}, "input", {"type": "time", "step": "any"}),
    (
        {"type": "string", "format": "date-time", "default": "2026-03-27T14:30:00+02:00"},
        "input",
        {"type": "datetime-local", "value": "2026-03-27T12:30"},
    ),
    (
        {"type": "number", "minimum": 0, "maximum": 1.5, "multipleOf": 0.01},
        "input",
        {"type": "number", "min": "0", "max": "1.5", "step": "0.01", "inputmode": "decimal"},
    ),
    ({"type": "number", "minimum": 1, "multipleOf": 5}, "input", {"min": "1", "step": "any"}),
    (
        {"type": "integer", "exclusiveMinimum": 0, "exclusiveMaximum": 9.5},
        "input",
        {"min": "1", "max": "9", "step": "1", "inputmode": "numeric"},
    ),
    ({"type": "integer", "minimum": 0.5}, "input", {"min": "1"}),
    ({"type": "boolean", "default": True}, "input", {"type": "checkbox", "checked": ""}),
    ({"enum": ["a", "b"]}, "input", {"type": "radio"}),
    ({"enum": [*"abcdef"]}, "select", {}),
    ({"type": "array", "items": {"enum": ["a", "b"]}}, "input", {"type": "checkbox"}),
    ({"type": "array", "items": {"enum": ["a"]}}, "input", {"type": "checkbox"}),
    ({"type": "array", "items": {"type": "string"}}, "textarea", {"rows": "4"}),
    ({"type": "object"}, "textarea", {"class": "code", "spellcheck": "false"}),
    ({"$ref": "#/properties/x"}, "textarea", {"class": "code"}),
    ({"$ref": "https://a.example/schema"}, "textarea", {"class": "code"}),
    ({"anyOf": [{"type": "string"}, {"type": "integer"}]}, "textarea", {"class": "code"}),
    ({"type": "array", "items": {"type": "object"}}, "textarea", {"class": "code"}),
]


@pytest.mark.parametrize(("schema", "tag", "attributes"), CONTROLS)
def test_a_schema_becomes_a_control(
    schema: dict[str, Any], tag: str, attributes: dict[str, str]
) -> None:
    """Each kind of field is the control that browsers have for it, with its bounds."""
    found = control(schema)
    assert found.tag == tag
    assert {name: found.get(name) for name in attributes} == attributes


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "format": "password", "default": "4711"},
        {"type": "integer", "writeOnly": True, "default": 4711},
    ],
)
def test_a_secret_is_on_no_page(schema: dict[str, Any]) -> None:
    """Neither a default nor what was typed stands on a page, also where it was wrong."""
    assert not control(schema).get("value")
    again: dict[str, Any] = {"values": {"value.x": "4711"}, "errors": {"value.x": "wrong"}}
    assert not control(schema, **again).get("value")


class Way(enum.Enum):
    """How it is paid."""

    CASH = "cash"
    CARD = "card"


@dataclass
class Person:
    """Who is paid."""

    name: str
    mail: str | None = None


@dataclass
class Refund:
    """What is asked for."""

    amount: float
    way: Way
    payee: Person
    day: date | None = None
    currency: str = "EUR"
    urgent: bool = False


@pytest.mark.parametrize(
    "schema",
    [msgspec.json.schema(Refund), pydantic.TypeAdapter(Refund).json_schema()],
    ids=["msgspec", "pydantic"],
)
def test_what_type_hints_make_is_understood(schema: dict[str, Any]) -> None:
    """The schema of a class: references, what may be null, enumerations, classes in classes."""
    fields = [(each.path, each.kind, each.nullable) for each in root_field(schema).leaves()]
    assert fields == [
        ("value.amount", "number", False),
        ("value.way", "choice", False),
        ("value.payee.name", "text", False),
        ("value.payee.mail", "text", True),
        ("value.day", "date", True),
        ("value.currency", "text", False),
        ("value.urgent", "boolean", False),
    ]
    assert [words(each) for each in shown(schema).iter("legend")] == ["Way", "Payee"]
    posted = {"value.amount": ["2"], "value.way": ["card"], "value.payee.name": ["Eve"]}
    value, errors = parse(schema, posted | {"value.currency": ["EUR"]})
    assert errors == {}
    assert msgspec.convert(value, Refund) == Refund(2.0, Way.CARD, Person("Eve"))


def test_what_contains_itself_is_asked_as_json() -> None:
    """A list of nodes shows the fields of its first, and asks for the next as JSON."""
    node = {
        "type": "object",
        "properties": {
            "size": {"type": "integer"},
            "next": {"anyOf": [{"$ref": "#/$defs/Node"}, {"type": "null"}]},
        },
    }
    for schema in (
        {"$ref": "#/$defs/Node", "$defs": {"Node": node}},
        node | {"$defs": {"Node": node}},
    ):
        found = [(each.path, each.kind) for each in root_field(schema).leaves()]
        assert found[0] == ("value.size", "integer")
        assert found[-1][1] == "json"
        assert len(found) <= 3


def test_a_form_is_bounded() -> None:
    """Too many fields, choices or levels are asked as JSON, also if references multiply them."""

    def depth(field: Field) -> int:
        return 1 + max((depth(each) for _, each in field.members), default=0)

    nested: dict[str, Any] = {"type": "string"}
    for _ in range(100):
        nested = {"type": "object", "properties": {"x": nested}}
    assert depth(root_field(nested)) == DEEPEST + 1

    names = {f"a{number}": {"type": "string"} for number in range(MOST_FIELDS + 1)}
    assert root_field({"type": "object", "properties": names}).kind == "json"

    doubling: dict[str, Any] = {
        f"d{number}": {
            "type": "object",
            "properties": {
                each: {"$ref": f"#/$defs/d{number + 1}"} for each in [*"abcdefghijklmnop"]
            },
        }
        for number in range(50)
    }
    assert root_field({"$ref": "#/$defs/d0", "$defs": doubling}).kind == "json"
    assert root_field({"enum": [*range(MOST_CHOICES + 1)]}).kind == "json"
    arrays: dict[str, Any] = {}
    for _ in range(500):
        arrays = {"type": "array", "items": arrays}
    assert root_field(arrays).kind == "json"


# --- what is told and asked --------------------------------------------------------------------


def test_every_control_has_a_name_and_what_describes_it() -> None:
    """Labels and legends say what each is, and which may be left blank; help belongs to it."""
    found = shown(EVERY_KIND)
    labels = {each.get("for"): words(each) for each in found.iter("label")}
    for each in found.iter():
        if each.tag in {"input", "select", "textarea"} and each.get("type") != "hidden":
            assert labels[each.get("id")]
    assert labels["f2"] == "Largest amount, EUR"
    assert [words(each) for each in found.iter("legend")] == [
        "Carry over as",
        "Seen by audit (optional)",
        "Ledgers",
        "Contact",
    ]
    by_id = {each.get("id"): words(each) for each in found.iter() if each.get("id")}
    amount = next(each for each in found.iter() if each.get("name") == "value.amount")
    assert by_id[amount.get("aria-describedby")] == "The larger of the two is 412.80 EUR."


def test_an_error_stands_beside_its_field_and_above_all() -> None:
    """One inside of a field is at the field; one of no field in the summary: nothing is lost."""
    errors = {
        "value.amount": "value.amount: Too much.",
        "value.tags[2]": "No such tag.",
        "value.contact.phone": "No number.",
        "value": "Something is missing.",
        "": "The page is too old.",
        "comment": "Say why.",
    }
    found = shown(EVERY_KIND, errors=errors)
    summary = next(each for each in found.iter() if each.get("role") == "alert")
    assert [words(each) for each in summary.iter("li")] == [
        "Something is missing.",
        "The page is too old.",
        "Largest amount, EUR: Too much.",
        "Tags: No such tag.",
        "Telephone: No number.",
        "Comment: Say why.",
    ]
    by_id = {each.get("id"): each for each in found.iter() if each.get("id")}
    names = [by_id[each.get("href")[1:]].get("name") for each in summary.iter("a")]
    assert names == ["value.amount", "value.tags", "value.contact.phone", "comment"]
    invalid = [each.get("name") for each in found.iter() if each.get("aria-invalid") == "true"]
    assert invalid == names


def test_what_no_control_can_hold_is_kept_in_a_plain_one() -> None:
    """A browser drops a date that is none; what was typed comes back nevertheless."""
    for schema, text in (
        ({"type": "integer"}, "a few"),
        ({"type": "string", "format": "date"}, "next Monday"),
        ({"type": "string", "format": "date-time"}, "2026-03-27T14:30Z"),
    ):
        found = control(schema, values={"value.x": text})
        assert (found.get("type"), found.get("value")) == ("text", text)


def test_what_was_posted_stands_instead_of_defaults() -> None:
    """A box that was not ticked stays so, and an emptied field empty, whatever the defaults."""
    assert (
        control({"type": "boolean", "default": True}, values={"comment": "x"}).get("checked")
        is None
    )
    assert (
        control({"type": "string", "default": "EUR"}, values={"value.x": [""]}).get("value") == ""
    )


def test_what_the_browser_asks_for() -> None:
    """It asks for what the server would: an empty list or text may be just what is meant."""
    lines = {"type": "array", "items": {"type": "string"}}
    for schema, needed in (
        (lines, False),
        (lines | {"minItems": 1}, True),
        ({"type": "string"}, True),
        ({"type": "string", "minLength": 0}, False),
        ({"type": ["string", "null"]}, False),
        ({"type": "boolean"}, False),
        ({"const": True}, True),
        ({"enum": ["a", "b"]}, True),
    ):
        found = control(schema, required=True)
        assert (found.get("required") is not None) is needed, schema
        errors = parse(
            {"type": "object", "properties": {"x": schema}, "required": ["x"]}, {"value.x": [""]}
        )[1]
        assert bool(errors) is needed, schema


def test_required_parts_of_a_group_that_may_be_left_out() -> None:
    """The browser must not ask for what only an answered group needs."""
    group = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
    for needed in (True, False):
        found = shown(
            {"type": "object", "properties": {"g": group}, "required": ["g"] if needed else []}
        )
        each = next(each for each in found.iter() if each.get("name") == "value.g.a")
        assert (each.get("required") is not None) is needed


def test_who_asked_until_when_and_who_else() -> None:
    """A page says what is asked, by which run, until when, and who decided already."""
    text = words(tree(page(asked(), post_to="/", nonce="n")).find("body"))
    for part in (
        "ann@example.com",
        "Close the month with 2 accounts left open?",
        "until Sat 28 Nov 2026, 10:00 UTC",
        "close_month 01a2042b6dae4e0f9d6a33a0c0de0000",
        "bob@example.com: approved",
        "eve@example.com: not decided yet",
    ):
        assert part in text
    for expires, told in ((None, "no time limit"), (10**30, "until the end of time")):
        assert told in words(tree(page(asked(expires=expires), post_to="/", nonce="n")))


def test_the_heading_is_the_question() -> None:
    """Of an approval that has a name only, the first line of what is asked, if it is short."""
    for title, description, heading, named in (
        ("manager", "Refund 120 EUR?\n\nTo Eve.", "Refund 120 EUR?", True),
        ("manager", "Refund 120 EUR?", "Refund 120 EUR?", True),
        ("manager", "x" * 200, "manager", False),
        ("manager", "See https://a.example", "manager", False),
        ("manager", "", "manager", False),
        ("Refund 120 EUR?", "To Eve.", "Refund 120 EUR?", False),
    ):
        question = asked(title=title, description=description)
        for html in (
            page(question, post_to="/", nonce="n"),
            done(question, decision="approved", by="ann", at=0, comment=""),
        ):
            found = tree(html)
            assert words(found.find(".//h1")) == heading
            assert heading in words(found.find(".//title"))
            facts = [
                words(each) for each in found.find(".//dl") if words(each.find("dt")) == "Approval"
            ]
            assert len(facts) == int(named)
        assert html.count("To Eve.") == ("To Eve." in description)


def test_what_was_decided() -> None:
    """Afterwards it says what, when, with which comment, and by whom if that is known."""
    found = tree(done(asked(), decision="rejected", by="bob", at=0, comment="No.\nReally."))
    assert "Rejected" in words(found.find("body"))
    told = {words(each.find("dt")): each.find("dd") for each in found.find(".//dl")}
    assert words(told["Decided by"]) == "bob"
    assert words(told["Decided"]) == "Thu 1 Jan 1970, 00:00 UTC"
    assert list(told["Comment"].itertext()) == ["No.", "Really."]
    assert found.find(".//form") is None
    assert "Nobody decided in time" in done(asked(), decision="timed_out", by="", at=0, comment="")
    assert "Decided by" not in done(asked(), decision="approved", by="", at=0, comment="")


def test_pages_of_links_that_decide_nothing() -> None:
    """They say why, and have nothing to press."""
    assert "The run was cancelled." in gone("The run was cancelled.")
    assert "<h1" in refused("Not found", "Copy it as a whole.")
    assert "<form" not in gone("x") + refused("x", "y")


def test_paths_are_told_apart() -> None:
    """Keys that are no identifiers are quoted, and places are numbers."""
    assert path_of(["a", "b-c", "d.e", 2, '"', "ä"]) == 'value.a["b-c"]["d.e"][2]["\\""].ä'


def test_templates_are_loaded_only_for_a_page() -> None:
    """Importing the pages does not import jinja2, and importing rewake imports neither."""
    code = (
        "import sys, rewake; assert 'rewake.pages' not in sys.modules; "
        "import rewake.pages; assert 'jinja2' not in sys.modules; "
        "rewake.pages.gone('x'); assert 'jinja2' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
