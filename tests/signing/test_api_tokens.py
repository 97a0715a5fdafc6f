from __future__ import annotations

import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewake.errors import ConfigError, InvalidInput
from rewake.signing.api_tokens import digest_of, id_in, id_of, make_token, new_token
from rewake.signing.secret import Secret
from rewake.signing.tokens import Keys, bearer_in

OWN = "a-token-of-the-server's-own"
DIGITS = string.digits + string.ascii_letters


def test_a_token_has_the_form_that_scanners_look_for() -> None:
    """The form is fixed: a beginning of our own, the id, 256 random bits, a checksum."""
    text = new_token(id_of("ci"))
    assert re.fullmatch(r"rewake_[0-9a-f]{16}_[0-9A-Za-z]{49}", text)
    assert 62**43 >= 2**256


def test_no_two_tokens_are_the_same() -> None:
    """A token of a name that was used before is another one, of the same id."""
    first, second = new_token(id_of("ci")), new_token(id_of("ci"))
    assert first != second
    assert id_in(first) == id_in(second) == id_of("ci") != id_of("cd")


@given(st.integers(7, 72), st.sampled_from(DIGITS))
def test_a_slip_is_no_token(at: int, digit: str) -> None:
    """A token with a wrong character, or cut short, names no id, so it costs no read."""
    text = new_token(id_of("ci"))
    wrong = text[:at] + digit + text[at + 1 :]
    assert wrong == text or id_in(wrong) == ""
    assert id_in(text[:at]) == id_in(f"{text}0") == id_in(f" {text}") == id_in(f"{text}\n") == ""


@given(st.text())
def test_anything_else_is_no_token(text: str) -> None:
    """Reading a token never fails, whatever is sent."""
    assert id_in(text) == ""


def test_what_is_kept_does_not_give_the_token_away() -> None:
    """Of a token only a digest is kept, of its whole text."""
    text, kept = make_token("ci", ["read"], [], None, by="bootstrap", now=5)
    assert kept.digest == digest_of(text)
    secret = text.rpartition("_")[2]
    assert secret not in repr(kept)
    assert digest_of(text[:-1]) != kept.digest


@pytest.mark.parametrize(
    ("name", "scopes", "workflows", "expires", "field"),
    [
        ("", ["read"], [], None, "name"),
        ("x" * 65, ["read"], [], None, "name"),
        ("a b", ["read"], [], None, "name"),
        ("a\nb", ["read"], [], None, "name"),
        ("-a", ["read"], [], None, "name"),
        ("ä", ["read"], [], None, "name"),
        ("ci", [], [], None, "scopes"),
        ("ci", ["reed"], [], None, "scopes"),
        ("ci", ["READ"], [], None, "scopes"),
        ("ci", ["read"], ["a"] * 51, None, "workflows"),
        ("ci", ["read"], [""], None, "workflows"),
        ("ci", ["read"], ["x" * 65], None, "workflows"),
        ("ci", ["read"], ["a\nb"], None, "workflows"),
        ("ci", ["admin"], ["a"], None, "workflows"),
        ("ci", ["read"], [], 5, "expires"),
        ("ci", ["read"], [], 10**18, "expires"),
    ],
)
def test_what_no_token_can_be(
    name: str, scopes: list[str], workflows: list[str], expires: int | None, field: str
) -> None:
    """A token that could not be told, allows nothing, or could get round its limit is not made."""
    with pytest.raises(InvalidInput) as refused:
        make_token(name, scopes, workflows, expires, by="bootstrap", now=5)
    assert refused.value.field == field


def test_a_server_takes_no_api_token_for_its_own() -> None:
    """An API token in the server's REWAKE_TOKEN would be admin: it is refused, and not repeated."""
    text = new_token(id_of("ci"))
    with pytest.raises(ConfigError, match="REWAKE_TOKEN") as refused:
        Keys(Secret("a secret of sixteen"), [text])
    assert text not in str(refused.value)


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [""],
        ["Bearer"],
        ["Bearer "],
        ["a-token-of-sixteen"],
        ["Basic a-token-of-sixteen"],
        ["Bearer a-token-of-sixteen", "Bearer a-token-of-sixteen"],
        ["Bearer wrong", "Bearer a-token-of-sixteen"],
        [f"Bearer {'x' * 5000}"],
        ["Bearer a-token-of-sixteén"],
        ["Bearer\ta-token-of-sixteen"],
    ],
)
def test_headers_without_a_bearer_token(headers: list[str]) -> None:
    """Another scheme, several headers, one that is endless or not ASCII: none holds a token."""
    assert bearer_in(headers) is None


@given(st.lists(st.text().map(lambda text: f"Bearer {text}") | st.text(), max_size=3))
def test_whatever_is_sent_opens_nothing(headers: list[str]) -> None:
    """Any headers are read without an error, and none of them is let in."""
    given = bearer_in(headers)
    for keys in (Keys(Secret("a secret of sixteen")), Keys(Secret("a secret of sixteen"), [OWN])):
        assert given is None or not keys.admits(given)
    assert given is None or id_in(given) == ""


def test_the_bearer_token() -> None:
    """One header with the scheme, in any case, holds the token."""
    assert bearer_in(["bearer  a-token"]) == bearer_in(["BEARER a-token "]) == "a-token"
