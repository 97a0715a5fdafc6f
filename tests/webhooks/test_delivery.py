"""What a delivery says, and the bounds of it."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as some

from rewake.errors import InvalidInput
from rewake.values.nested import DEPTH
from rewake.webhooks import Delivery, File
from rewake.webhooks.bodies import PARTS

FORM = "application/x-www-form-urlencoded"
BOUNDARY = "multipart/form-data; boundary=xyz"


def of(content_type: str, body: bytes) -> Delivery:
    """A delivery with this body."""
    return Delivery("a", body=body, headers=[("content-type", content_type)])


def multipart(*parts: str, end: str = "--xyz--\r\n") -> bytes:
    """A multipart body."""
    return (
        "".join(f"--xyz\r\nContent-Disposition: form-data; {each}" for each in parts) + end
    ).encode()


def test_what_a_delivery_is() -> None:
    """Headers have no case, a name given twice has two texts, and the time is in UTC."""
    delivery = Delivery(
        "a/b",
        body=b'{"x": [1]}',
        headers=[("X-Event", "paid"), ("x-event", "again")],
        query=[("q", "1"), ("q", "2")],
        received=1_700_000_000_500,
    )
    assert (delivery.headers["x-EVENT"], delivery.headers.all("X-EVENT")) == (
        "paid",
        ["paid", "again"],
    )
    assert (delivery.query["q"], delivery.query.all("q"), "Q" in delivery.query) == (
        "1",
        ["1", "2"],
        False,
    )
    assert (delivery.json, delivery.method, delivery.id) == ({"x": [1]}, "POST", None)
    assert delivery.received == datetime(2023, 11, 14, 22, 13, 20, 500_000, UTC)
    assert "paid" not in repr(delivery) + repr(delivery.headers)


def test_json_has_a_depth() -> None:
    """What is nested deeper than the bound is refused, and what is not is read."""
    for depth in (1, DEPTH):
        assert Delivery("a", body=b"[" * depth + b"]" * depth).json is not None
    for depth in (DEPTH + 1, 500, 100_000):
        with pytest.raises(InvalidInput):
            _ = Delivery("a", body=b"[" * depth + b"]" * depth).json


def test_a_form_where_json_is_asked_for() -> None:
    """It is told as such, for a provider has a switch for it; what says nothing of its type is
    read as JSON.
    """
    with pytest.raises(InvalidInput, match=r"is a form.*application/json"):
        _ = of(FORM, b"payload=%7B%7D").json
    assert of("", b"{}").json == of("text/plain", b"{}").json == {}


def test_a_form_of_texts() -> None:
    """Names and texts are decoded; a body of another type is no form."""
    form = of(FORM, b"a=1&b=%C3%A4+x&a=2&empty=").form
    assert (form["a"], form.all("a"), form["b"], form["empty"]) == ("1", ["1", "2"], "ä x", "")
    assert len(of("application/json", b"a=1").form) == 0
    assert len(of("", b"a=1").form) == 0


def test_a_form_with_files() -> None:
    """Files are bytes with the name and type that the sender gives them."""
    body = multipart(
        'name="title"\r\n\r\nT\r\n',
        'name="page"; filename="../a.bin"\r\nContent-Type: x/y\r\n\r\n--xy\r\n\r\n',
    )
    delivery = of(BOUNDARY, body)
    page = delivery.files["page"]
    assert delivery.form["title"] == "T"
    assert (page, page.name, page.media_type) == (b"--xy\r\n", "../a.bin", "x/y")
    assert isinstance(page, File)


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (FORM, b"a=%ff"),
        (FORM, b"\xff"),
        (FORM, b"a&" * (PARTS + 1)),
        (BOUNDARY, b""),
        (BOUNDARY, b"x"),
        (BOUNDARY, multipart('name="a"\r\n\r\n1\r\n', end="")),
        (BOUNDARY, multipart('name="a"\r\n\r\n1\r\n', end="--xyz")),
        (BOUNDARY, multipart("x=1\r\n\r\n1\r\n")),
        (BOUNDARY, multipart(*['name="a"\r\n\r\n1\r\n'] * (PARTS + 1))),
        ("multipart/form-data", multipart('name="a"\r\n\r\n1\r\n')),
        ("multipart/form-data; boundary=", multipart('name="a"\r\n\r\n1\r\n')),
    ],
)
def test_a_form_that_is_none(content_type: str, body: bytes) -> None:
    """What cannot be decoded, ends too soon or has too many parts is refused as a whole."""
    with pytest.raises(InvalidInput):
        _ = of(content_type, body).form


@given(content_type=some.sampled_from([FORM, BOUNDARY, "application/json"]), body=some.binary())
def test_whatever_is_sent_is_read_or_refused(content_type: str, body: bytes) -> None:
    """No body makes it fail in another way."""
    for each in (
        body,
        multipart("name=a\r\n\r\n", end="") + body,
        b"--xyz\r\n" + body + b"--xyz--",
    ):
        delivery = of(content_type, each)
        with suppress(InvalidInput):
            _ = delivery.json
        with suppress(InvalidInput):
            _ = delivery.form
        with suppress(InvalidInput):
            _ = delivery.files
