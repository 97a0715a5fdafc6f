"""The codec that encrypts: keys by id, and what becomes of whatever else it is given."""

from __future__ import annotations

import base64
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewake.codecs import AesGcm, CheckpointForged, Context, ReadableElsewhere
from rewake.errors import ConfigError
from rewake.signing.aes_gcm import keys_in
from rewake.values.sealing import opened_text, readable, sealed_text

OLD, NEW = bytes(range(32)), bytes(range(1, 33))
HERE = Context("run-1", "fetch", "result")


@given(st.binary(max_size=200), st.tuples(*[st.text(max_size=20)] * 3).map(Context._make))
def test_what_was_encrypted_is_read_after_keys_were_changed(data: bytes, place: Context) -> None:
    """The first key encrypts, every key that is still there decrypts, in any order of them."""
    before = AesGcm({"old": OLD})
    between, after = AesGcm({"old": OLD, "new": NEW}), AesGcm({"new": NEW, "old": OLD})
    for writer in (before, between, after):
        assert all(
            reader.decode(writer.encode(data, place), place) == data for reader in (between, after)
        )
    with pytest.raises(ReadableElsewhere, match="key new encrypted it"):
        before.decode(after.encode(data, place), place)


@given(st.data(), st.binary(max_size=64))
def test_what_was_changed_is_refused(data: st.DataObject, plain: bytes) -> None:
    """One bit that differs, a byte that is missing or added: nothing of it is decrypted."""
    codec = AesGcm({"k": OLD})
    sealed = codec.encode(plain, HERE)
    at = data.draw(st.integers(0, len(sealed) - 1))
    flipped = bytearray(sealed)
    flipped[at] ^= 1 << data.draw(st.integers(0, 7))
    for changed in (bytes(flipped), sealed[:at], sealed + b"\0", sealed[at:]):
        if changed != sealed:
            with pytest.raises((CheckpointForged, ReadableElsewhere)):
                codec.decode(changed, HERE)


@given(st.binary(max_size=300))
def test_any_bytes_are_refused(data: bytes) -> None:
    """Whatever is put into the store, it is an error of ours, and never a value."""
    with pytest.raises((CheckpointForged, ReadableElsewhere)):
        AesGcm({"k": OLD}).decode(data, HERE)


@pytest.mark.parametrize(
    "other",
    [
        Context("run-2", "fetch", "result"),
        Context("run-1", "fetch#2", "result"),
        Context("run-1", "fetch", "call"),
        Context("run-1", "fetchresult", ""),
        Context("run-1fetch", "", "result"),
    ],
)
def test_what_was_moved_is_refused(other: Context) -> None:
    """What was encrypted for one place is worth nothing in another one."""
    codec = AesGcm({"k": OLD})
    with pytest.raises(CheckpointForged):
        codec.decode(codec.encode(b"42", HERE), other)


def test_another_key_of_the_same_id_reads_nothing() -> None:
    """What an unknown key of a known id has encrypted is a forgery, and not waited for."""
    with pytest.raises(CheckpointForged):
        AesGcm({"k": NEW}).decode(AesGcm({"k": OLD}).encode(b"42", HERE), HERE)


def test_equal_data_is_never_encrypted_alike() -> None:
    """Who reads the store cannot tell that two values are the same."""
    codec = AesGcm({"k": OLD})
    assert len({codec.encode(b"42", HERE) for _ in range(100)}) == 100


def test_keys_are_told_by_nothing() -> None:
    """A codec can be printed, and not be pickled: a closure must not carry keys away."""
    codec = AesGcm({"k": OLD})
    assert repr(codec) == "<AesGcm, keys k>"
    with pytest.raises(TypeError):
        pickle.dumps(codec)


def text_of(key: bytes) -> str:
    """A key as it stands in the setting."""
    return base64.b64encode(key).decode()


def test_keys_are_read_from_text() -> None:
    """`id:base64,id:base64`, in this order."""
    assert keys_in(f" new:{text_of(NEW)} , old:{text_of(OLD)},") == {"new": NEW, "old": OLD}
    assert list(keys_in(f"b:{text_of(NEW)},a:{text_of(OLD)}")) == ["b", "a"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (text_of(OLD), "part 1 is not id:base64"),
        (f"k:{text_of(OLD)},{text_of(NEW)}", "part 2 is not id:base64"),
        (f"k:{text_of(OLD)},k:{text_of(NEW)}", "two keys of the id k"),
        (f"k:{text_of(OLD[:16])}", "a key has 32 bytes, and this one 16"),
        (f"k k:{text_of(OLD)}", "the id of a key is"),
        (f"{text_of(OLD)}:k", "part 1 is not id:base64"),
        ("k:", "part 1 is not id:base64"),
        ("k:not base64!", "part 1 is not id:base64"),
    ],
)
def test_what_are_no_keys(text: str, told: str) -> None:
    """The error names the part, what it should be, and nothing of any key."""
    with pytest.raises(ConfigError) as error:
        keys_in(text)
    assert told in str(error.value)
    assert text_of(OLD)[:8] not in str(error.value)
    assert "REWAKE_ENCRYPTION_KEYS" in str(error.value)


def test_no_key_is_none() -> None:
    """A codec without a key, or with a short one, cannot be made."""
    with pytest.raises(ConfigError):
        AesGcm({})
    with pytest.raises(ConfigError):
        AesGcm({"k": b"short"})


def test_another_key_under_a_known_id_is_told() -> None:
    """Where nothing is wrong but the bytes of a key, the message leads there."""
    context = Context("r", "k", "result")
    stored = AesGcm({"2026": bytes(32)}).encode(b"4711", context)
    with pytest.raises(CheckpointForged, match="or the key 2026 is another one here"):
        AesGcm({"2026": b"x" * 32}).decode(stored, context)
    codec = AesGcm({"2026": b"x" * 32})
    text = opened_text(sealed_text("why", AesGcm({"2026": bytes(32)}), context), codec, context)
    with pytest.raises(CheckpointForged, match="or the key of its id is another one here"):
        readable(text, "a reason")
