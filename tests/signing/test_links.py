"""A link opens one thing for one holder, for a time; any other text opens nothing."""

from __future__ import annotations

import base64

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewake.errors import LinkExpired, ReadableElsewhere, Unauthentic
from rewake.signing.links import Link, Links, LinkUse
from rewake.signing.secret import Secret

OLD, NEW = "an old secret of tests", "a new secret of tests"
LINKS = Links(Secret(OLD), "https://app.example/below/")
LINK = Link(LinkUse.APPROVE, "r1", "a/b[2]", 0, "ann@example.com", "", 1_000, "n", LINKS.signer)
TOKEN = LINKS.token(LINK)


def test_a_link_is_read_as_it_was_made() -> None:
    """It lives under its base URL, and says all that it is for."""
    assert LINKS.url(LINKS.base, LINK) == f"https://app.example/below/approve/{TOKEN}"
    assert LINKS.read(LinkUse.APPROVE, TOKEN, 999) == LINK


def test_the_same_facts_make_the_same_link() -> None:
    """A replay, on any host, with the secret rotated meanwhile, makes no other link."""
    rotated = Links(Secret(NEW, OLD), "https://moved.example")
    assert rotated.token(LINK) == TOKEN
    assert rotated.read(LinkUse.APPROVE, TOKEN, 0) == LINK
    assert rotated.signer != LINK.signer


def test_a_link_whose_key_is_gone_waits_for_a_process_that_has_it() -> None:
    """Without the key there is no link, and no wrong one."""
    with pytest.raises(ReadableElsewhere, match=LINK.signer):
        Links(Secret(NEW)).token(LINK)
    with pytest.raises(Unauthentic):
        Links(Secret(NEW)).read(LinkUse.APPROVE, TOKEN, 0)


def test_a_link_ends_at_its_time() -> None:
    """From its expiry on it is genuine, and of no use."""
    with pytest.raises(LinkExpired):
        LINKS.read(LinkUse.APPROVE, TOKEN, 1_000)
    for_ever = LINKS.token(msgspec.structs.replace(LINK, expires=None))
    assert LINKS.read(LinkUse.APPROVE, for_ever, 10**15).run == "r1"


def test_a_link_is_for_one_use() -> None:
    """A link to an approval is no callback."""
    with pytest.raises(Unauthentic):
        LINKS.read(LinkUse.CALLBACK, TOKEN, 0)


@given(st.integers(0, len(TOKEN) - 1), st.characters())
def test_no_changed_link_is_genuine(at: int, character: str) -> None:
    """One character more or less, or another one, and it is worth nothing."""
    for other in (
        TOKEN[:at] + character + TOKEN[at + 1 :],
        TOKEN[:at] + TOKEN[at + 1 :],
        TOKEN[:at] + character + TOKEN[at:],
    ):
        if other != TOKEN:
            with pytest.raises(Unauthentic):
                LINKS.read(LinkUse.APPROVE, other, 0)


@given(st.text() | st.text("ab.=_-", max_size=20) | st.just("a." * 5_000))
def test_no_other_text_is_a_link(text: str) -> None:
    """Whatever comes is refused alike: by its signature."""
    with pytest.raises(Unauthentic):
        LINKS.read(LinkUse.APPROVE, text, 0)


def test_a_message_of_another_purpose_is_no_link() -> None:
    """What the same secret signed for something else opens nothing."""
    signature = Secret(OLD).sign("token", msgspec.json.encode(LINK))
    other = base64.urlsafe_b64encode(signature).rstrip(b"=").decode()
    with pytest.raises(Unauthentic):
        LINKS.read(LinkUse.APPROVE, f"{TOKEN.partition('.')[0]}.{other}", 0)
