"""What a newer version wrote is told from damage."""

from __future__ import annotations

import pytest

from rewake.errors import CheckpointUnreadable, ReadableElsewhere
from rewake.records import Header
from rewake.stores import items
from rewake.stores.items import decode, encode
from rewake.stores.keys import header_key
from rewake.stores.table import Key

KEY = header_key("1")
OURS = Header("1", "main", 1, 7, 2, owner="a")
NEWER = encode(OURS)[:-1] + b',"novelty":"kept","tail":[["novel",1]]}'


def test_what_a_newer_version_wrote_is_told_from_damage() -> None:
    """Well-formed and of no known form: another process can read it. Else nobody can."""
    for key, body in (
        (KEY, NEWER),
        (KEY, b'{"run":"1","workflow":"main","created":1,"seed":7,"runtime":2,"state":"novel"}'),
        (Key("R#1", "O#a"), b'{"run":"1","key":"a","kind":"novel"}'),
        (Key("R#1", "Z#1"), b'{"run":"1"}'),
        (Key("R#1", "~"), b"[]"),
    ):
        with pytest.raises(ReadableElsewhere) as caught:
            decode(key, body)
        assert caught.value.reason == "a newer Rewake wrote what this one cannot read"
    for body in (NEWER[:-3], b"", b"\xff", b"["):
        with pytest.raises(CheckpointUnreadable) as damaged:
            decode(KEY, body)
        assert not isinstance(damaged.value, ReadableElsewhere)


def test_a_header_is_read_as_far_as_it_goes() -> None:
    """Where only entries are unknown, the rest of a header is told: its state, and all else."""
    with pytest.raises(ReadableElsewhere) as caught:
        decode(KEY, NEWER)
    assert caught.value.outline == OURS


def test_what_is_wrong_by_ourselves_is_nobody_else_s() -> None:
    """What cannot be read back is not stored, and no other process is waited for."""
    with pytest.raises(CheckpointUnreadable) as caught:
        items.proved(KEY, b'{"run":1}')
    assert not isinstance(caught.value, ReadableElsewhere)
