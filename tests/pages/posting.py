"""Schemas and posted forms of every shape, also of none."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

NASTY = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' autofocus onfocus='alert(1)",
    "</textarea><script>alert(1)</script>",
    "</style><style>*{display:none}",
    "</title><h1>x",
    "javascript:alert(1)",
    "https://a.example/\"onclick='x",
    "https://a.example/<b>",
    "{{ 7 * 7 }}{% raw %}",
    "\x00\x1b[31m",
    "\u202egnp.exe",
    "\ud800",
    "\ufffe",
    "&lt;b&gt;&#0;",
    "a\nb\rc\r\nd",
    "-->",
    "<!--",
    "]]>",
    " ",
    "",
]

texts = st.sampled_from(NASTY) | st.text(max_size=20)

any_json: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=4,
)

_KEYWORDS: dict[str, st.SearchStrategy[Any]] = {
    "type": st.sampled_from(["string", "number", "integer", "boolean", "array", "object", "null"]),
    "title": texts,
    "description": texts,
    "default": any_json,
    "format": st.sampled_from(["date", "date-time", "time", "email", "uri"]),
    "enum": st.lists(texts | any_json, max_size=7),
    "const": any_json,
    "pattern": texts | st.sampled_from(["^[a-z]+$", "[", "(a|b)*", "^\\w+@\\d{2,}"]),
    "minLength": st.integers(-1, 300) | any_json,
    "maxLength": st.integers(-1, 300) | any_json,
    "minimum": st.integers() | st.floats(allow_nan=False) | any_json,
    "exclusiveMaximum": st.integers() | st.floats() | any_json,
    "multipleOf": st.floats(allow_nan=False) | st.integers(),
    "minItems": st.integers(-1, 3),
    "uniqueItems": st.booleans(),
    "x-multiline": st.booleans(),
    "$ref": st.sampled_from(["#", "#/$defs/a", "#/$defs/b", "#/no", "http://x.example", "/etc"]),
}


def _schemas(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {},
        optional={
            **_KEYWORDS,
            "properties": st.dictionaries(texts, inner, max_size=3),
            "required": st.lists(texts, max_size=3),
            "items": inner,
            "anyOf": st.lists(inner | st.just({"type": "null"}), max_size=3),
            "oneOf": st.lists(st.fixed_dictionaries({"const": texts, "title": texts}), max_size=3),
            "allOf": st.lists(inner, max_size=2),
        },
    )


_INNER = st.recursive(st.fixed_dictionaries({}, optional=_KEYWORDS), _schemas, max_leaves=5)

SCHEMAS: st.SearchStrategy[dict[str, Any]] = st.builds(
    lambda properties, needed, defs: {
        "type": "object",
        "properties": properties,
        "required": needed,
        "$defs": defs,
    },
    st.dictionaries(texts, _INNER, min_size=1, max_size=4),
    st.lists(texts, max_size=2),
    st.fixed_dictionaries({"a": _INNER, "b": _INNER}),
)

FORMS: st.SearchStrategy[dict[str, list[str]]] = st.dictionaries(
    texts | st.sampled_from(["value", "value.x", "comment"]), st.lists(texts, max_size=3)
)
