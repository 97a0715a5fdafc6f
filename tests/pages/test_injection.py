"""Titles, names, keys, choices and what was typed are text: none becomes markup."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import html5lib
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewake.pages import CSP, done, gone, handed_on, page, refused
from rewake.pages.rendering import TEMPLATES
from tests.pages.posting import FORMS, NASTY, SCHEMAS, texts
from tests.support.deciding import EVERY_KIND, asked

STYLE = (TEMPLATES / "page.css").read_text()

CONTROL = {
    *("id", "name", "value", "type", "required", "min", "max", "step", "inputmode", "minlength"),
    *("maxlength", "pattern", "checked", "autocomplete", "aria-describedby", "aria-invalid"),
}
OURS: dict[str, set[str]] = {
    "html": {"lang"},
    **{tag: set() for tag in ("head", "title", "style", "body", "main", "br", "ul", "li")},
    "meta": {"charset", "name", "content"},
    "header": {"class"},
    "h1": {"dir"},
    "h2": {"id"},
    "p": {"class", "dir", "id"},
    "div": {"class", "id", "role", "aria-labelledby", "tabindex", "autofocus"},
    "span": {"class"},
    "bdi": {"class"},
    "details": {"class", "open"},
    "summary": set(),
    "dl": {"class"},
    "dt": set(),
    "dd": set(),
    "time": {"datetime"},
    "a": {"href", "rel"},
    "form": {"method", "action"},
    "label": {"for"},
    "legend": set(),
    "fieldset": {"class", "id", "aria-describedby", "tabindex"},
    "input": CONTROL,
    "textarea": CONTROL - {"value"} | {"rows", "class", "spellcheck"},
    "select": CONTROL,
    "option": {"value", "selected"},
    "button": {"class", "type", "name", "value", "formnovalidate", "disabled", "hidden"},
    "svg": {"class", "viewBox", "width", "height", "aria-hidden"},
    "path": {"class", "d"},
    "circle": {"class", "cx", "cy", "r"},
}
"""Every element of the pages, with the attributes that it may have."""

FREE = {"value", "name", "pattern", "content", "datetime", "d", "action", "href"}
"""The attributes whose values come from outside; the rest are of these words."""
WORDS = re.compile(r"[a-z0-9 .,=-]*|f\d+(-[0-9aeh]+)?( f\d+-[aeh])*|utf-8|[+-]?[\d.]+(e[+-]?\d+)?")
NAME = re.compile(r'value(\.\w+|\["([^"\\\x00-\x1f]|\\.)*"\])*')
NAMES = {
    "nonce",
    "comment",
    "delegate",
    "decision",
    "viewport",
    "color-scheme",
    "robots",
    "referrer",
}


def elements(html: str) -> Iterator[tuple[str, dict[str, str], Any]]:
    """The elements of a page, as a browser would parse it; a comment is none of ours."""
    for each in html5lib.parse(html, namespaceHTMLElements=False).iter():
        assert isinstance(each.tag, str), "a comment"
        yield each.tag.rpartition("}")[2], dict(each.attrib), each


def check(html: str) -> None:
    """Exactly our elements and attributes, and nothing in a place where it could act."""
    found = list(elements(html))
    for tag, attributes, _ in found:
        assert tag in OURS, tag
        assert set(attributes) <= OURS[tag], (tag, attributes)
        for name, value in attributes.items():
            assert name in FREE or WORDS.fullmatch(value), (tag, name, value)
        if tag != "meta" and "name" in attributes:
            assert attributes["name"] in NAMES or NAME.fullmatch(attributes["name"])
        if "href" in attributes:
            assert re.match(
                r"https?://|#(f\d+(-\d+)?|comment|delegate)$", attributes["href"], re.IGNORECASE
            )
        assert attributes.get("action", "/approve/t") == "/approve/t"
    counts = {tag: sum(each == tag for each, *_ in found) for tag in ("html", "title", "style")}
    assert counts == {"html": 1, "title": 1, "style": 1}
    assert [each.text for tag, _, each in found if tag == "style"] == [STYLE.removesuffix("\n")]
    forms = sum(tag == "form" for tag, *_ in found)
    assert forms <= 1
    html.encode()


@settings(max_examples=60, deadline=None)
@given(
    schema=SCHEMAS,
    form=FORMS,
    told=st.lists(texts, min_size=9, max_size=9),
    errors=st.dictionaries(texts | st.sampled_from(["value", "value.x", "comment"]), texts),
)
def test_nothing_that_is_told_or_typed_is_markup(
    schema: dict[str, Any], form: dict[str, list[str]], told: list[str], errors: dict[str, str]
) -> None:
    """A page of hostile text parses to the elements and attributes that are ours, and no other."""
    title, description, run, workflow, approver, who, what, nonce, call = told
    question = asked(
        schema,
        title=title,
        description=description,
        run=run,
        workflow=workflow,
        approver=approver,
        others=[(who, what)],
        call=call,
    )
    check(page(question, post_to="/approve/t", nonce=nonce, values=form, errors=errors))


@settings(max_examples=60, deadline=None)
@given(told=st.lists(texts, min_size=4, max_size=4))
def test_nor_is_it_on_the_other_pages(told: list[str]) -> None:
    """The same of what was decided, voted, handed on, of a link that is gone, and of a refusal."""
    question = asked(None, title=told[0], approver=told[1], progress=told[2], can_delegate=True)
    check(handed_on(question, to=told[2], link=told[3]))
    check(done(question, decision=told[2], by=told[1], at=0, comment=told[3], is_open=True))
    again = {"delegate": told[2]}
    check(page(question, post_to="/approve/t", nonce="n", values=again, errors=again))
    check(done(question, decision=told[2], by=told[1], at=0, comment=told[3]))
    check(gone(told[0]))
    check(refused(told[0], told[1]))


@pytest.mark.parametrize("text", NASTY)
def test_each_place_alone(text: str) -> None:
    """Every place of a schema that takes text, with each hostile text in it."""
    field = {"title": text, "description": text, "default": text, "pattern": text}
    choice = {"oneOf": [{"const": text, "title": text}, {"const": "b", "title": text}]}
    schema = {
        "type": "object",
        "description": text,
        "properties": {
            text: {"type": "string", **field},
            "long": {"type": "string", "x-multiline": True, **field},
            "json": {"default": {text: text}},
            "one": {**choice, "default": text},
            "all": {"type": "array", "items": choice, "default": [text]},
            "many": {"enum": [text, *"abcdefg"]},
            "lines": {"type": "array", "items": {"type": "string"}, "default": [text]},
            "group": {"type": "object", **field, "properties": {text: choice}},
        },
    }
    check(page(asked(schema, description=text), post_to="/approve/t", nonce=text))


@pytest.mark.parametrize(
    "html",
    [
        page(asked(EVERY_KIND), post_to="/approve/t", nonce="n"),
        page(asked(EVERY_KIND), post_to="/approve/t", nonce="n", errors={"value.amount": "No."}),
        done(asked(), decision="approved", by="ann", at=0, comment="Fine."),
        gone("It is over."),
        refused("No", "It is not."),
    ],
    ids=["open", "error", "done", "gone", "refused"],
)
def test_the_pages_are_well_formed(html: str) -> None:
    """A strict parser finds no error, and no id twice."""
    html5lib.HTMLParser(strict=True).parse(html)
    check(html)
    ids = [attributes["id"] for _, attributes, _ in elements(html) if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes, _ in elements(html):
        for reference in (attributes.get("aria-describedby") or "").split():
            assert reference in ids
        assert attributes.get("for", ids[0] if ids else None) in [*ids, None]


def test_an_address_is_a_link_only_as_http() -> None:
    """Only http and https, without what ends the sentence; it leads where one reads it does."""
    told = (
        "See (https://a.example/x_(y)), HTTP://B.example. javascript:alert(1) //c.example "
        "data:text/html,x ftp://d.example http:// https://e.example/\u202egnp"
    )
    html = page(asked(description=told), post_to="/approve/t", nonce="n")
    links = [each for tag, _, each in elements(html) if tag == "a"]
    assert [each.text for each in links] == [
        "https://a.example/x_(y)",
        "HTTP://B.example",
        "https://e.example/\\u202egnp"[:18],
    ]
    for each in links:
        assert each.get("href") == each.text
        assert each.get("rel") == "noreferrer noopener nofollow"
    assert "<a " not in page(asked(description="https://" + "x" * 2001), post_to="/", nonce="n")


def test_what_cannot_be_seen_is_shown() -> None:
    """What hides or turns text around is an escape: nobody decides on what reads otherwise."""
    html = page(asked(title="Pay \u202e0001\u202c\u200b\x00 EUR"), post_to="/", nonce="n")
    assert "Pay \\u202e0001\\u202c\\u200b\\x00 EUR" in html


def test_too_long_a_text_says_what_is_missing() -> None:
    """Nothing is cut silently."""
    html = page(asked(title="x" * 1000, description="y" * 30_000), post_to="/", nonce="n")
    assert "… (700 characters more)" in html
    assert "… (10,000 characters more)" in html


def test_the_policy_allows_the_stylesheet_and_nothing_else() -> None:
    """No script, no inline style, no other origin, no frame."""
    assert re.fullmatch(
        r"default-src 'none'; style-src 'sha256-[\w+/]{43}='; form-action 'self'; "
        r"base-uri 'none'; frame-ancestors 'none'",
        CSP,
    )
    assert not re.search(r"url\(|@import|expression", STYLE)
