"""Behind a codec no text of users can be read, wherever in an item it stands."""

from __future__ import annotations

import asyncio
import types
import typing
from collections.abc import Iterator
from typing import Any, get_args, get_type_hints

import msgspec
import pytest

from rewake.codecs import AesGcm, CheckpointForged
from rewake.kinds import Kind, OutcomeKind
from rewake.noted import Try
from rewake.records import (
    CancelRequested,
    Chunk,
    Failure,
    Finished,
    Header,
    Item,
    Logged,
    Operation,
    Outcome,
    Retried,
    Stepped,
)
from rewake.stores import sealing
from rewake.stores.items import encode
from rewake.stores.keys import chunk_key, header_key, log_key, operation_key
from rewake.stores.memory import MemoryTable
from rewake.stores.sealing import PARTS, TEXTS, SealingTable
from rewake.stores.table import Key, Written
from rewake.streamed import LogBatch, LogLine
from rewake.values.sealing import for_people, readable

CODEC = AesGcm({"k": bytes(32)})
CANARY = "canary-4711"

READABLE = {
    "Value": {"codec", "blob", "hidden"},
    "Started": {"by", "labels"},
    "StartedAnew": {"by", "labels"},
    "Scheduled": {"key", "name", "digest"},
    "ScheduledFor": {"key", "name", "digest", "servers"},
    "ScheduledRun": {"key", "name", "digest"},
    "OtherRun": {"run", "by"},
    "Parent": {"run", "key"},
    "Watcher": {"run", "key"},
    "Withdrawn": {"key", "held"},
    "LogLine": {"level"},
    "Cause": {"key"},
    "Completed": {"key"},
    "Attempted": {"where"},
    "Stepped": {"key"},
    "BlockEnded": {"key"},
    "Fired": {"key"},
    "Retried": {"over", "anew", "forgot"},
    "Forked": {"run", "key", "over"},
    "Signalled": {"key", "signal"},
    "LapBegun": {"heard", "over", "events", "blob"},
    "HeardEvents": {"had"},
    "Origin": {"run", "key"},
    "Admission": {"joined"},
    "Header": {
        *("run", "workflow", "owner", "process", "mark", "taken", "where"),
        *("answer", "digest", "digest_key", "key", "base", "schedule", "tenant", "labels", "hears"),
    },
    "Chunk": {"previous"},
    "Copying": {"source", "stamp", "done"},
    "Try": {"where"},
    "Operation": {"run", "key", "name", "where", "tag", "taken", "owner", "process", "mark"},
    "Process": {"name", "where", "tag", "tags"},
    "KnownTag": {"tag", "run", "key"},
    "Flood": {"name", "looker"},
    "Limited": {"name", "key", "digest", "code"},
    "Terms": {"share"},
    "Line": {"id", "place", "said"},
    "Holder": {"run", "key", "grant"},
    "Kept": {"run", "key"},
    "Cached": {"run", "id"},
    "Forking": {"run", "of", "key"},
    "Limit": {"id", "kind", "name", "key", "ahead", "lately", "run", "mark"},
    "Gathered": {"run"},
    "Waiter": {"run", "key", "name", "tag"},
    "LogBatch": {"run", "key"},
    "View": {"run", "workflow"},
    "Labelled": {"run", "workflow"},
    "Entrant": {"run", "task", "token"},
    "State": {"name", "key", "tenant", "mark", "left"},
    "StreamBatch": {"run", "mark"},
    "StreamPart": {"key"},
    "Emission": {"codec"},
    "Published": {"name", "id", "codec", "by"},
    "Mention": {"ref"},
    "Signal": {"run", "id", "name", "by", "mark", "answered"},
    "Shape": {"fields"},
    "Subscription": {"run", "key", "had"},
    "Emitted": {"key"},
    "Token": {"name", "digest", "scopes", "by", "workflows", "tenant"},
    "Audited": {"who", "action", "run", "about", "client"},
    "Schedule": {
        *("name", "workflow", "cron", "tz", "hidden", "overlap", "code", "by", "mark", "last"),
        *("tenant", "earlier", "asks"),
    },
    "Became": {"run"},
    "Backfill": {"last"},
    "Received": {
        *("path", "verdict", "run", "workflow", "key", "method", "client", "by", "of", "hidden"),
    },
}
"""The texts that stay readable: names, ids, keys, places, marks."""


def _structs(hint: Any) -> Iterator[type[msgspec.Struct]]:
    """The structs that a field of this type may hold."""
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        yield hint
    for inner in get_args(hint):
        yield from _structs(inner)


def _is_text(hint: Any) -> bool:
    return hint in (str, bytes) or any(_is_text(each) for each in get_args(hint))


def _reachable() -> dict[str, type[msgspec.Struct]]:
    found: dict[str, type[msgspec.Struct]] = {}
    left = [*_structs(Item)]
    while left:
        kind = left.pop()
        if kind.__name__ not in found:
            found[kind.__name__] = kind
            for hint in get_type_hints(kind).values():
                left += _structs(hint)
    return found


def test_each_text_that_is_stored_is_sealed_or_named_as_readable() -> None:
    """A field of text that is added anywhere in what is stored must say which of both it is."""
    assert isinstance(Item, types.UnionType | typing._UnionGenericAlias)  # type: ignore[attr-defined]
    for name, kind in _reachable().items():
        texts = {field for field, hint in get_type_hints(kind).items() if _is_text(hint)}
        assert texts == {*TEXTS.get(kind, ()), *READABLE.get(name, ())}, name
        holding = {
            field
            for field, hint in get_type_hints(kind).items()
            if any(inner in TEXTS or inner in PARTS for inner in _structs(hint))
        }
        assert holding == set(PARTS.get(kind, ())), name


FAILURE = Failure(f"{CANARY}Error", f"no {CANARY}", f"at {CANARY}", 2, f"{CANARY}Within")
BAD = Outcome(OutcomeKind.ERROR, origin=FAILURE)
ENTRIES: list[Any] = [
    Logged([LogLine(1, "INFO", CANARY), LogLine(2, "INFO", ""), LogLine(3, "INFO", CANARY)]),
    Stepped("s", 1, BAD),
    CancelRequested(2, CANARY),
    Retried(3, 1, FAILURE),
    Finished(BAD),
]
TRY = Try(1, 0, 1, "host:1", CANARY, CANARY)
ITEMS: list[tuple[Key, Item]] = [
    (
        header_key("r"),
        Header("r", "w", 0, 1, 1, cancel=CANARY, error=f"E: {CANARY}", lost_turn=TRY, tail=ENTRIES),
    ),
    (chunk_key("r", 0, "m"), Chunk("", ENTRIES)),
    (
        operation_key("r", "o"),
        Operation("r", "o", Kind.TASK, tries=[TRY, TRY], failure=FAILURE, outcome=BAD),
    ),
    (log_key("r", "o", 1, 0), LogBatch("r", "o", 1, [LogLine(1, "INFO", CANARY)])),
]


@pytest.mark.parametrize(("key", "item"), ITEMS)
def test_what_was_written_is_read_and_is_not_there_to_be_read(key: Key, item: Item) -> None:
    """Each way of writing and reading gives the item back, and the table never sees its texts."""

    async def main() -> None:
        inner = MemoryTable()
        table = SealingTable(inner, CODEC)
        written = await table.put(key, item)
        assert written.ok
        assert written.item == item
        assert await table.get(key) == item
        page = await table.query(key.partition)
        assert page.items == [(key, item)]
        names = [*TEXTS.get(type(item), ()), *PARTS.get(type(item), ())]
        changes = {name: getattr(item, name) for name in names}
        assert (await table.update(key, set=changes)).item == item
        await table.delete([key])
        assert (await table.update(key, set=changes, create=item)).item == item
        assert CANARY.encode() not in encode(await inner.get(key))

    asyncio.run(main())


class Other(msgspec.Struct):
    """An item of another kind: pairs of texts, and bytes."""

    pairs: list[tuple[str, str]]
    data: bytes


def test_pairs_and_bytes_are_sealed_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the fields that are named hold; bytes that cannot be opened are not handed out."""
    monkeypatch.setitem(sealing._FIELDS, Other, ("pairs", "data"))
    item: Any = Other([("a", CANARY), (CANARY, "")], b"\xef\xbf\xbf" + CANARY.encode())

    class Holding:
        """A table of one item."""

        kept: Any = None

        async def put(self, _: Key, item: Any, *, absent: bool) -> Written:
            self.kept = msgspec.json.decode(msgspec.json.encode(item), type=Other)
            return Written(not absent, self.kept)

        async def get(self, _: Key) -> Any:
            return self.kept

    async def main() -> None:
        inner: Any = Holding()
        table = SealingTable(inner, CODEC)
        assert (await table.put(Key("D#x", "D#1"), item)).item == item
        assert await table.get(Key("D#x", "D#1")) == item
        assert CANARY not in repr(inner.kept)
        with pytest.raises(CheckpointForged):
            await table.get(Key("D#x", "D#2"))

    asyncio.run(main())


def test_a_text_in_another_place_is_refused() -> None:
    """A text that was moved to another item, run or attribute, or changed, is not taken for one."""

    async def main() -> None:
        inner = MemoryTable()
        table = SealingTable(inner, CODEC)
        await table.put(header_key("r"), Header("r", "w", 0, 1, 1, cancel="a", error="b"))
        await table.put(header_key("q"), Header("q", "w", 0, 1, 1, cancel="c"))
        kept = await inner.get(header_key("r"))
        for run, name, text in (
            ("r", "error", kept.cancel),
            ("q", "cancel", kept.cancel),
            ("r", "cancel", kept.cancel[:-8] + "AAAAAAA="),
            ("r", "cancel", kept.cancel[:9]),
        ):
            await inner.update(header_key(run), set={name: text})
            found = getattr(await table.get(header_key(run)), name)
            assert for_people(found) == "[unreadable: forged]"

    asyncio.run(main())


def test_what_cannot_be_opened_is_kept_as_it_is() -> None:
    """A process without the key writes an item back, and one that has the key still reads it."""

    async def main() -> None:
        inner, other = MemoryTable(), AesGcm({"other": bytes(32)})
        knows, knows_not = SealingTable(inner, CODEC), SealingTable(inner, other)
        where = header_key("r")
        await knows.put(where, Header("r", "w", 0, 1, 1, cancel=CANARY))
        found = await knows_not.get(where)
        assert "key k encrypted it" in for_people(found.cancel)
        await knows_not.put(where, found)
        assert (await knows.get(where)).cancel == CANARY

    asyncio.run(main())


def test_without_a_codec_it_is_told_as_encrypted() -> None:
    """People are told why they cannot read it, and no code of users is given it."""

    async def main() -> None:
        inner = MemoryTable()
        await SealingTable(inner, CODEC).put(header_key("r"), Header("r", "w", 0, 1, 1, cancel="a"))
        text = (await inner.get(header_key("r"))).cancel
        assert "this process has no keys (REWAKE_ENCRYPTION_KEYS" in for_people(text)
        with pytest.raises(Exception, match="has no keys"):
            readable(text, "it")

    asyncio.run(main())
