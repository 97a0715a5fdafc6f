"""Requests to DynamoDB when it throttles, fails, lies or is silent: what is asked again."""

from __future__ import annotations

import asyncio
import json
import random
import zlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest

from rewake.aws.wire import Answer, Lost, NotSent
from rewake.errors import ReadableElsewhere, StoreError, StoreUnavailable
from rewake.ledger import Counter
from rewake.records import Header
from rewake.stores.dynamodb.client import Client
from rewake.stores.dynamodb.table import DynamoTable
from rewake.stores.table import Check, Key
from rewake.testing.loop import VirtualLoop

H = Key("R#1", "H")
HEADER = Header(run="1", workflow="main", created=1, seed=7, runtime=1)
STORED = {
    "pk": {"S": "R#1"},
    "sk": {"S": "H"},
    "run": {"S": "1"},
    "workflow": {"S": "main"},
    "created": {"N": "1"},
    "seed": {"N": "7"},
    "runtime": {"N": "1"},
}
Told = Answer | Exception | Callable[[Mapping[str, Any]], Answer]


def well(body: Mapping[str, Any], **headers: str) -> Answer:
    """An answer to a request that was carried out."""
    data = json.dumps(body).encode()
    return Answer(200, {"x-amz-crc32": str(zlib.crc32(data)), **headers}, data)


def fault(type: str, status: int = 400, **more: Any) -> Answer:
    """An answer that says what is wrong."""
    body = {"__type": f"com.amazonaws.dynamodb.v20120810#{type}", "message": "it says", **more}
    return Answer(status, {}, json.dumps(body).encode())


class Script:
    """A wire on which these answers come, one after another; the last one again and again."""

    def __init__(self, *told: Told) -> None:
        self.told = list(told)
        self.asked: list[tuple[str, Mapping[str, Any]]] = []
        self.renewed = 0

    async def send(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        request = json.loads(body)
        self.asked.append((headers["X-Amz-Target"].partition(".")[2], request))
        told = self.told.pop(0) if len(self.told) > 1 else self.told[0]
        if isinstance(told, Exception):
            raise told
        return told if isinstance(told, Answer) else told(request)

    async def renew(self) -> None:
        self.renewed += 1

    async def close(self) -> None:
        """Nothing is open."""


def play(script: Script, body: Callable[[DynamoTable], Awaitable[Any]]) -> tuple[Any, float]:
    """What a call came to, in virtual time, and how many seconds it took."""
    loop = VirtualLoop()
    table = DynamoTable(Client(script, chance=random.Random(1)), "t")
    asyncio.set_event_loop(loop)
    try:
        return loop.run_until_complete(_ended(body(table))), loop.seconds
    finally:
        asyncio.set_event_loop(None)
        loop.close()


async def _ended(call: Awaitable[Any]) -> Any:
    try:
        return await call
    except Exception as error:
        return error


def add(table: DynamoTable) -> Awaitable[Any]:
    """A write that must not be done twice."""
    return table.update(H, add={"arrivals": 1})


def read(table: DynamoTable) -> Awaitable[Any]:
    """A read."""
    return table.get(H)


THROTTLED = [
    "ProvisionedThroughputExceededException",
    "ThrottlingException",
    "RequestLimitExceeded",
    "TransactionConflictException",
]


@pytest.mark.parametrize("type", THROTTLED)
def test_what_was_not_done_is_asked_again(type: str) -> None:
    """A write that is throttled, or in conflict, is tried again after pauses that grow."""
    script = Script(fault(type), fault(type), fault(type), well({"Attributes": STORED}))
    written, seconds = play(script, add)
    assert written.ok
    assert len(script.asked) == 4
    assert 0 < seconds < 0.2


def test_a_throttled_write_is_given_up_in_the_end() -> None:
    """It is tried for some seconds, not for ever, and not without pauses."""
    script = Script(fault(THROTTLED[0]))
    error, seconds = play(script, add)
    assert isinstance(error, StoreUnavailable)
    assert "UpdateItem: ProvisionedThroughputExceededException: it says" in str(error)
    assert 5 <= seconds < 7
    assert len(script.asked) < 40


AMBIGUOUS = [
    fault("InternalServerError", 500),
    Answer(503, {}, b"<html>"),
    Lost("no answer"),
    Answer(200, {"x-amz-crc32": "1"}, b"{}"),
    Answer(200, {}, b'{"Attribu'),
    Answer(404, {}, b"<html>not found"),
]


@pytest.mark.parametrize("told", AMBIGUOUS, ids=str)
def test_a_write_of_which_nobody_knows_is_not_repeated(told: Told) -> None:
    """It may have happened: whoever wrote it is told so, and knows its mark."""
    script = Script(told, well({"Attributes": STORED}))
    error, _ = play(script, add)
    assert isinstance(error, StoreUnavailable)
    assert len(script.asked) == 1


@pytest.mark.parametrize("told", AMBIGUOUS, ids=str)
def test_a_read_is_repeated_whatever_went_wrong(told: Told) -> None:
    """Nothing is lost by asking again."""
    script = Script(told, told, well({"Item": STORED}))
    found, _ = play(script, read)
    assert found == HEADER
    assert len(script.asked) == 3


def test_writes_that_fail_one_after_another_are_handed_back_ever_later() -> None:
    """Their writers repeat at once: so an outage of seconds does not use up their tries in one."""

    async def four(table: DynamoTable) -> None:
        for _ in range(4):
            with pytest.raises(StoreUnavailable):
                await add(table)

    _, seconds = play(Script(Lost("no answer")), four)
    assert 0.1 < seconds < 1


def test_what_did_not_get_there_is_sent_again() -> None:
    """A connection that could not be made has done nothing."""
    script = Script(NotSent("refused"), NotSent("refused"), well({"Attributes": STORED}))
    written, _ = play(script, add)
    assert written.ok


@pytest.mark.parametrize("type", ["InvalidSignatureException", "RequestTimeTooSkewed"])
def test_a_wrong_clock_signs_again(type: str) -> None:
    """By then the wire knows the time; if that did not help, it is said."""
    written, _ = play(Script(fault(type), well({"Attributes": STORED})), add)
    assert written.ok
    script = Script(fault(type))
    error, _ = play(script, add)
    assert isinstance(error, StoreUnavailable)
    assert len(script.asked) == 3


def test_credentials_that_are_over_are_renewed() -> None:
    """Others are looked for, and the request is signed with them."""
    script = Script(fault("ExpiredTokenException"), well({"Attributes": STORED}))
    written, _ = play(script, add)
    assert written.ok
    assert script.renewed == 1


@pytest.mark.parametrize("type", ["AccessDeniedException", "ResourceNotFoundException"])
def test_what_an_operator_sets_right_is_an_outage(type: str) -> None:
    """No work is lost by a policy or a table that is gone for a while: it is tried later."""
    script = Script(fault(type))
    error, _ = play(script, add)
    assert isinstance(error, StoreUnavailable)
    assert len(script.asked) == 1


def test_an_error_repeats_no_request() -> None:
    """Of a wrong signature AWS answers with the request as it was signed, and its session token."""
    told = "The signature does not match.\n\nThe Canonical String should have been\nsecret-token"
    body = {"__type": "x#InvalidSignatureException", "message": told}
    error, _ = play(Script(Answer(400, {}, json.dumps(body).encode())), add)
    assert str(error) == "UpdateItem: InvalidSignatureException: The signature does not match."


def test_a_request_that_is_wrong_is_nothing_to_try_again() -> None:
    """An item that is too large, as an example, is no outage."""
    error, _ = play(Script(fault("ValidationException")), add)
    assert type(error) is StoreError


def test_a_condition_that_does_not_hold_tells_what_is_there() -> None:
    """In the same answer, and where there is nothing, that."""
    refused = fault("ConditionalCheckFailedException", Item=STORED)
    written, _ = play(Script(refused), add)
    assert (written.ok, written.item) == (False, HEADER)
    written, _ = play(Script(fault("ConditionalCheckFailedException")), add)
    assert (written.ok, written.item) == (False, None)


def test_what_does_not_tell_what_stands_is_given_up() -> None:
    """What speaks as DynamoDB does may be older than that: a write would be tried for ever."""
    found, _ = play(
        Script(fault("ConditionalCheckFailedException")),
        lambda table: table.update(H, when=(), set={"epoch": 1}, create=HEADER),
    )
    assert isinstance(found, StoreError)
    assert "does not tell what stood against a write" in str(found)


def test_what_is_likely_comes_first() -> None:
    """Where the first alternative is that there is no item, it is made at once; else it is changed.

    So neither a counter nor a beat costs two writes, but for the first.
    """
    script = Script(well({"Attributes": STORED}))
    there = [[Check("owner", "=", "")], [Check("run", "absent")]]
    play(script, lambda table: table.update(H, when=there, set={"epoch": 1}, create=HEADER))
    play(script, lambda table: table.update(H, add={"epoch": 1}, create=HEADER))
    play(script, lambda table: table.update(H, when=there[::-1], add={"epoch": 1}, create=HEADER))
    assert [name for name, _ in script.asked] == ["UpdateItem", "UpdateItem", "PutItem"]


def test_an_item_that_vanishes_between_two_requests_is_made() -> None:
    """Somebody may remove it after it stood against its making."""
    there = fault("ConditionalCheckFailedException", Item=STORED)
    gone = fault("ConditionalCheckFailedException")
    script = Script(there, gone, well({}))
    when = [[Check("run", "absent")], [Check("owner", "=", "")]]
    written, _ = play(
        script, lambda table: table.update(H, when=when, add={"epoch": 1}, create=HEADER)
    )
    assert written.ok
    assert written.item.epoch == 1
    assert [name for name, _ in script.asked] == ["PutItem", "UpdateItem", "PutItem"]


def test_what_had_no_time_is_removed_later() -> None:
    """Of a batch only what is left is asked again; 25 keys are the most, and each is there once."""
    rest = {"t": [{"DeleteRequest": {"Key": {"pk": {"S": "R#1"}, "sk": {"S": "O#7"}}}}]}
    script = Script(well({"UnprocessedItems": rest}), well({}))
    keys = [Key("R#1", f"O#{number}") for number in range(26)]
    play(script, lambda table: table.delete([*keys, keys[0]]))
    sizes = [len(request["RequestItems"]["t"]) for _, request in script.asked]
    assert sizes == [25, 1, 1]
    assert script.asked[1][1]["RequestItems"] == rest


def test_many_items_are_read_in_the_order_of_their_keys() -> None:
    """A hundred a request; what DynamoDB had no time for, or 16 MB no room, is asked again."""

    def some(request: Mapping[str, Any]) -> Answer:
        batch = request["RequestItems"]["t"]
        there = [{**STORED, **key} for key in batch["Keys"][:40] if key["sk"]["S"] != "H7"]
        rest = {"t": {**batch, "Keys": batch["Keys"][40:]}} if batch["Keys"][40:] else {}
        return well({"Responses": {"t": there}, "UnprocessedKeys": rest})

    script = Script(some)
    keys = [Key("R#1", f"H{number}") for number in reversed(range(110))]
    found, seconds = play(script, lambda table: table.get_many([*keys, keys[0]]))
    assert [item is None for item in found] == [*(key.sort == "H7" for key in keys), False]
    assert len(script.asked) == 4
    assert seconds == 0


def test_what_a_newer_rewake_wrote_is_left_alone() -> None:
    """The condition says so, so that it is not changed; and it is not read wrongly."""
    newer = {**STORED, "form": {"N": "2"}, "tail": {"S": '[["unheard of"]]'}}
    script = Script(fault("ConditionalCheckFailedException", Item=newer))
    error, _ = play(script, add)
    assert isinstance(error, ReadableElsewhere)
    assert "attribute_not_exists(form)" in script.asked[0][1]["ConditionExpression"]


def test_attributes_of_newer_versions_are_passed_over() -> None:
    """They are not read, and an update does not name them."""
    script = Script(well({"Attributes": {**STORED, "novel": {"SS": ["a"]}}}))
    written, _ = play(script, add)
    assert written.item == HEADER
    assert script.asked[0][1]["UpdateExpression"] == "ADD #arrivals :0"


def test_numbers_come_right() -> None:
    """DynamoDB may write one with an exponent; one of more than 38 digits is refused."""
    found, _ = play(Script(well({"Item": {**STORED, "seed": {"N": "1.2E+20"}}})), read)
    assert found.seed == 12 * 10**19
    for number in (10**38, -(10**40)):
        error, _ = play(Script(well({})), lambda t, n=number: t.update(H, set={"seed": n}))  # type: ignore[misc]
        assert isinstance(error, StoreError)
        error, _ = play(Script(well({})), lambda t, n=number: t.put(H, Header("1", "w", 1, n, 1)))  # type: ignore[misc]
        assert isinstance(error, StoreError)


@pytest.mark.parametrize(
    "key", [Key("R#" + "é" * 1023 + "x", "H"), Key("R#1", "O" + "é" * 512), Key("", "H")]
)
def test_keys_that_are_too_long_are_refused_here(key: Key) -> None:
    """In bytes, before anything is asked."""
    script = Script(well({}))
    error, _ = play(script, lambda table: table.get(key))
    assert isinstance(error, StoreError)
    assert not script.asked


def test_a_longest_key_is_none_too_long() -> None:
    """2,048 bytes of partition and 1,024 of sort key."""
    key = Key("R#" + "é" * 1023, "O" + "é" * 511 + "x")
    found, _ = play(Script(well({})), lambda table: table.get(key))
    assert found is None


def test_a_page_is_whole_over_many_answers() -> None:
    """DynamoDB ends an answer at 1 MB: the next begins where it ended, and no item is twice."""
    calls = []

    def page(request: Mapping[str, Any]) -> Answer:
        calls.append(request)
        number = len(calls)
        item = {"pk": {"S": "A#x"}, "sk": {"S": f"N{number}"}, "last": {"N": str(number)}}
        more = {"LastEvaluatedKey": {"pk": item["pk"], "sk": item["sk"]}} if number < 4 else {}
        return well({"Items": [item], **more})

    found, _ = play(Script(page), lambda table: table.query("A#x"))
    assert found.cursor is None
    assert [item for _, item in found.items] == [Counter(n) for n in (1, 2, 3, 4)]
    assert [c.get("ExclusiveStartKey", {}).get("sk") for c in calls] == [
        None,
        *({"S": f"N{n}"} for n in (1, 2, 3)),
    ]
    calls.clear()
    found, _ = play(Script(page), lambda table: table.query("A#x", limit=3))
    assert [request["Limit"] for request in calls] == [3, 2, 1]
    assert found.cursor == "N3"


def test_a_look_that_fails_in_one_part_fails() -> None:
    """What is in the other parts is not taken for the whole."""
    answers = iter([well({"Items": []})] * 7)

    def part(request: Mapping[str, Any]) -> Answer:
        return next(answers, fault("AccessDeniedException"))

    error, _ = play(Script(part), lambda table: table.due(10, limit=2))
    assert isinstance(error, StoreUnavailable)
