"""Messages where there are no headers."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewake.records import Invocation, Value
from rewake.signing.envelopes import LARGEST, Refusal, enveloped, message_in, opened
from rewake.signing.messages import sign
from rewake.signing.secret import Secret

OLD = Secret("the secret that there was before")
SECRET = Secret("a secret that only tests may know", "the secret that there was before")
OTHER = Secret("a secret of somebody else")
texts = st.text(alphabet=st.characters(exclude_categories=["Cs"]))


@given(texts, texts, texts, st.none() | st.integers(0, 2**53), st.integers(0, 2**31))
def test_what_goes_in_comes_out(
    run: str, key: str, text: str, not_before: int | None, round: int
) -> None:
    """Also when what carries it has read it as JSON and written it anew, in its own way."""
    args = Value("json", msgspec.Raw(json.dumps([[text], {}]).encode()))
    sent = Invocation(run, key, "task", args, not_before, sole=True, round=round)
    envelope = enveloped(SECRET, sent, 1)

    for each in (envelope, json.loads(envelope), json.dumps(json.loads(envelope), indent=2)):
        found = opened(SECRET, each)
        assert msgspec.json.encode(found) == msgspec.json.encode(sent)


def test_a_secret_that_was_changed_is_still_known() -> None:
    """A message may wait in a queue for days, and its secret be another one by then."""
    assert opened(SECRET, enveloped(OLD, Invocation("r1"), 1)) == Invocation("r1")


@pytest.mark.parametrize(
    ("change", "passing"),
    [
        (lambda found: found.update(signature="t=1,v1=" + "0" * 64), True),
        (lambda found: found.update(signature="nothing"), True),
        (lambda found: found.update(message=found["message"].replace("r1", "r2")), True),
        (lambda found: found.update(rewake=2), True),
        (lambda found: found.update(rewake=2, message={"of": "another form"}), True),
        (lambda found: found.update(rewake=0), True),
        (lambda found: found.update(rewake="1"), False),
        (lambda found: found.pop("rewake"), False),
        (lambda found: found.pop("signature"), False),
        (lambda found: found.update(message=7), False),
    ],
)
def test_what_was_changed_is_no_message(change: Any, passing: bool) -> None:
    """Nothing of it can be changed, and what another process may know is told apart."""
    found = json.loads(enveloped(SECRET, Invocation("r1"), 1))
    change(found)
    refusal = opened(SECRET, found)
    assert isinstance(refusal, Refusal)
    assert refusal.passing is passing


@pytest.mark.parametrize("text", ["", "[]", "null", "7", '"rewake"', "{", "[" * 5000, "\ud800"])
def test_what_is_no_message(text: str) -> None:
    """Whatever is found in a queue is answered, and raises nothing."""
    refusal = opened(SECRET, text)
    assert isinstance(refusal, Refusal)
    assert not refusal.passing
    assert message_in(text) is None


def test_a_request_over_http_is_no_message() -> None:
    """A signature is of one way to travel, and worth nothing for another."""
    message = msgspec.json.encode(Invocation("r1")).decode()
    signature = sign(SECRET, "POST", "/v1/invoke", message.encode(), 1)
    refusal = opened(SECRET, {"rewake": 1, "message": message, "signature": signature})
    assert isinstance(refusal, Refusal)


def test_large_arguments_are_left_out() -> None:
    """Whatever a task is called with, a message stays small."""
    for size in (10, LARGEST - 1000, LARGEST, 10 * LARGEST):
        args = Value("json", msgspec.Raw(json.dumps([["x" * size], {}]).encode()))
        envelope = enveloped(SECRET, Invocation("r1", "k", "t", args), 1)
        found = opened(SECRET, envelope)
        assert len(envelope) <= LARGEST
        assert isinstance(found, Invocation)
        assert (found.args is not None) == (size < LARGEST - 500)
