"""The pages that people who hold a link are shown. Pure functions, without I/O.

A plain page without styles: a form has one line for each field of its object, as JSON or as text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from typing import Any

import msgspec

CSP = "default-src 'none'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
"""The Content-Security-Policy of these pages."""


class Asked(msgspec.Struct):
    """What a person is asked."""

    title: str
    description: str
    schema: dict[str, Any] | None
    run: str
    workflow: str
    approver: str
    asked_at: int
    expires: int | None
    action: str
    others: list[tuple[str, str]]


def page(
    asked: Asked,
    *,
    post_to: str,
    nonce: str,
    values: Mapping[str, Any] = {},
    errors: Mapping[str, str] = {},
) -> str:
    """The open page."""
    wrong = "".join(f"<p>{escape(path)}: {escape(told)}</p>" for path, told in errors.items())
    comment, field = escape(str(values.get("comment", ""))), ""
    for name in _names(asked.schema):
        typed = escape(str(values.get(name, "")))
        field += f'<p>{escape(name)} <input name="{escape(name)}" value="{typed}"></p>'
    buttons = "".join(
        f'<button name="decision" value="{each}">{each.capitalize()}</button>'
        for each in ("approve", "reject")
        if asked.action in ("", each)
    )
    return _html(
        asked.title,
        f"<p>{escape(asked.description)}</p>{wrong}"
        f'<form method="post" action="{escape(post_to)}">{field}'
        f'<input type="hidden" name="nonce" value="{escape(nonce)}">'
        f'<textarea name="comment">{comment}</textarea>{buttons}</form>',
    )


def done(asked: Asked, *, decision: str, by: str, at: int, comment: str) -> str:  # noqa: ARG001
    """The page once it is decided."""
    who = f" by {by}" if by else ""
    return _html(asked.title, f"<p>{escape(f'{decision}{who}')}</p><p>{escape(comment)}</p>")


def gone(reason: str) -> str:
    """The page of a link that is of no more use."""
    return refused("This link is of no more use", reason)


def refused(title: str, detail: str) -> str:
    """The page of what is not done."""
    return _html(title, f"<p>{escape(detail)}</p>")


def parse(
    schema: dict[str, Any] | None, form: Mapping[str, list[str]]
) -> tuple[Any, dict[str, str]]:
    """The posted fields as JSON data, and what is wrong with them by the paths of fields."""
    found: dict[str, Any] = {}
    for name in _names(schema):
        text = "".join(form.get(name, ())[:1])
        try:
            found[name.removeprefix("value.")] = json.loads(text)
        except (ValueError, RecursionError):
            found |= {name.removeprefix("value."): text} if text else {}
    return (None if schema is None else found), {}


def _names(schema: Mapping[str, Any] | None) -> list[str]:
    return [f"value.{name}" for name in (schema or {}).get("properties", {})]


def _html(title: str, body: str) -> str:
    head = f'<meta charset="utf-8"><title>{escape(title)}</title>'
    return (
        f'<!doctype html><html lang="en">{head}<main><h1>{escape(title)}</h1>{body}</main></html>'
    )
