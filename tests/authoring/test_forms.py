"""The texts of a form, as the input of a run."""

from __future__ import annotations

from typing import Any

import pytest

from rewake.authoring.inputs import Inputs
from rewake.values.nested import DEPTH

Deep = "[" * (DEPTH + 1) + "]" * (DEPTH + 1)


async def taken(
    text: str = "",
    number: int = 0,
    maybe: int | None = None,
    flag: bool = False,
    texts: list[str] | None = None,
    numbers: list[int] | None = None,
    either: int | str = 0,
    named: dict[str, Any] | None = None,
    anything: Any = None,
) -> None:
    pass


@pytest.mark.parametrize(
    ("name", "texts", "value"),
    [
        ("text", ["12"], "12"),
        ("text", [""], ""),
        ("number", ["12"], 12),
        ("maybe", [""], None),
        ("flag", ["true"], True),
        ("texts", ["1"], ["1"]),
        ("texts", ["1", "b"], ["1", "b"]),
        ("texts", ['["a", "b"]'], ["a", "b"]),
        ("numbers", ["1"], [1]),
        ("numbers", ["1", "2"], [1, 2]),
        ("numbers", ["[1, 2]"], [1, 2]),
        ("either", ["12"], "12"),
        ("named", ['{"a": [1]}'], {"a": [1]}),
        ("anything", ["12"], "12"),
        ("anything", ["1", "2"], ["1", "2"]),
        ("unknown", ["1"], "1"),
    ],
)
def test_a_text_becomes_what_is_declared(name: str, texts: list[str], value: object) -> None:
    """A text stays one where it may; else it is what it says in JSON, nothing, or the one item."""
    made = Inputs("taken", taken).of_texts({name: texts})[name]
    assert (made, type(made)) == (value, type(value))


@pytest.mark.parametrize(
    ("name", "texts"),
    [("number", ["x"]), ("number", ["1", "2"]), ("named", [Deep]), ("named", ['{"a":' + Deep])],
)
def test_a_text_that_fits_in_no_way(name: str, texts: list[str]) -> None:
    """It is left as it is, to be refused; JSON that is nested too deep is no JSON."""
    found = Inputs("taken", taken).of_texts({name: texts})
    assert found[name] == (texts[0] if len(texts) == 1 else texts)
