"""Keys as people read and write them: what is spelled out is the same key, and a key is itself."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rewake.replay.scope import Scope
from rewake.spelled import key_meant, spelled

NAMES = st.text(st.sampled_from("ab.2%/[]é\u0085 ~"), min_size=1, max_size=60)


@given(st.lists(NAMES, max_size=4), NAMES, st.integers(1, 3))
@example(["v1.2"], "a.2", 2)
@example([], "bank.settled", 1)
@example([], "a.2.3", 3)
def test_a_key_is_found_by_what_is_shown(branches: list[str], name: str, times: int) -> None:
    """Whatever the names are, in whatever branches, and however often they come."""
    scope = Scope()
    for each in branches:
        scope = scope.branch(each)
    for _ in range(times):
        key = scope.key(name)
        assert key_meant(spelled(key)) == key
        assert key_meant(key) == key
        assert spelled(spelled(key)) == spelled(key)


@pytest.mark.parametrize(
    ("key", "shown"),
    [
        ("bank%2Esettled", "bank.settled"),
        ("bank%2Esettled.2", "bank.settled.2"),
        ("v1%2E2", "v1%2E2"),
        ("one[3]/caf%C3%A9", "one[3]/café"),
        ("a%2Fb", "a%2Fb"),
        ("100%25", "100%25"),
        ("lap2/parallel.2[0]/order%2Epaid", "lap2/parallel.2[0]/order.paid"),
    ],
)
def test_what_is_shown(key: str, shown: str) -> None:
    """What would be taken for a mark of the key stays escaped, and nothing else."""
    assert spelled(key) == shown
    assert key_meant(shown) == key
