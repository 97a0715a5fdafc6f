"""A shelf in S3 when the bucket is missing, elsewhere, shut or busy: and what is asked of it."""

from __future__ import annotations

import asyncio
import hashlib
import random
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from unittest.mock import Mock
from urllib.parse import parse_qsl

import pytest
from botocore.exceptions import ClientError

from rewake.aws.wire import Answer, Lost, NotSent
from rewake.errors import CheckpointUnreadable, StoreError, StoreUnavailable
from rewake.stores.bills import Bills
from rewake.stores.blobs import of_lap
from rewake.stores.cached import _place as cached_place
from rewake.stores.s3.bucket import check_bucket, create_bucket
from rewake.stores.s3.shelf import S3Shelf
from rewake.testing.loop import VirtualLoop
from tests.support.aws import bucket_name, whole_table
from tests.support.dynamodb import account

WELL = Answer(200, {}, b"")


def error(status: int, code: str, **headers: str) -> Answer:
    """An error as S3 tells one."""
    body = f"<Error><Code>{code}</Code><Message>it says</Message></Error>"
    return Answer(status, headers, body.encode())


class Script:
    """A wire on which these answers come, one after another; the last one again and again."""

    def __init__(self, *told: Answer | Exception) -> None:
        self.told = list(told)
        self.asked: list[tuple[str, str, Mapping[str, str]]] = []
        self.renewed = 0

    async def send(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        self.asked.append((method, path, headers))
        await asyncio.sleep(0)
        told = self.told.pop(0) if len(self.told) > 1 else self.told[0]
        if isinstance(told, Exception):
            raise told
        return told

    async def renew(self) -> None:
        self.renewed += 1

    async def close(self) -> None:
        """Nothing is open."""


def play(
    script: Script, body: Callable[[S3Shelf], Awaitable[Any]], encryption: str = "AES256"
) -> Any:
    """What a call came to, in virtual time."""

    async def ended() -> Any:
        try:
            return await body(
                S3Shelf(script, "b", "a/b", chance=random.Random(1), encryption=encryption)
            )
        except Exception as raised:
            return raised

    loop = VirtualLoop()
    asyncio.set_event_loop(loop)
    try:
        return loop.run_until_complete(ended())
    finally:
        asyncio.set_event_loop(None)
        loop.close()


def put(shelf: S3Shelf) -> Awaitable[Any]:
    """Keep a value."""
    return shelf.put_blob("r:1", "n", b"data")


def get(shelf: S3Shelf) -> Awaitable[Any]:
    """Read it."""
    return shelf.get_blob("r:1", "n")


def test_what_is_asked() -> None:
    """The path is of bucket, prefix, run and name; encryption is asked for; the first stands."""
    script = Script(WELL)
    assert play(script, put) is None
    [(method, path, headers)] = script.asked
    assert (method, path) == ("PUT", "/b/a/b/r%3A1/n")
    assert headers["x-amz-server-side-encryption"] == "AES256"
    assert headers["If-None-Match"] == "*"
    assert headers["x-amz-meta-sha256"] == hashlib.sha256(b"data").hexdigest()


def test_a_store_without_encryption_is_not_asked_for_it() -> None:
    """`?encryption=none` is for these."""
    script = Script(WELL)
    play(script, put, encryption="")
    assert "x-amz-server-side-encryption" not in script.asked[0][2]


def test_what_is_there_already_is_kept() -> None:
    """Its name is of its content: there is nothing to do."""
    assert play(Script(error(412, "PreconditionFailed")), put) is None


def test_a_store_that_knows_no_condition_is_not_asked_for_one() -> None:
    """Its name is of its content: to write it twice is to write it once. It is asked just once."""

    async def some(shelf: S3Shelf) -> None:
        await asyncio.gather(put(shelf), put(shelf))
        await put(shelf)

    script = Script(*2 * [error(501, "NotImplemented")], WELL)
    assert play(script, some) is None
    assert ["If-None-Match" in headers for _, _, headers in script.asked] == [True] * 2 + 3 * [
        False
    ]
    assert isinstance(play(Script(error(501, "NotImplemented")), put), StoreUnavailable)


@pytest.mark.parametrize(
    "told",
    [
        error(503, "SlowDown"),
        error(500, "InternalError"),
        error(400, "RequestTimeout"),
        error(409, "ConditionalRequestConflict"),
        error(403, "RequestTimeTooSkewed"),
        error(400, "ExpiredToken"),
        Lost("no answer"),
        NotSent("refused"),
    ],
    ids=str,
)
def test_what_passes_is_asked_again(told: Answer | Exception) -> None:
    """A value may be put twice, so whatever became of it, it is put again."""
    script = Script(told, told, WELL)
    assert play(script, put) is None
    assert len(script.asked) == 3
    assert script.renewed == (2 if "ExpiredToken" in str(told) else 0)


@pytest.mark.parametrize(
    ("told", "said"),
    [
        (error(404, "NoSuchBucket"), "s3://b does not keep a value: NoSuchBucket: it says"),
        (error(403, "AccessDenied"), "AccessDenied: it says"),
        (error(403, "SignatureDoesNotMatch"), "SignatureDoesNotMatch"),
        (
            error(301, "PermanentRedirect", **{"x-amz-bucket-region": "eu-west-1"}),
            r"PermanentRedirect: it says \(the bucket is in eu-west-1\)",
        ),
    ],
    ids=str,
)
def test_what_does_not_pass_is_told_at_once(told: Answer, said: str) -> None:
    """Nothing that somebody has to set right is asked for again and again."""
    script = Script(told)
    raised = play(script, put)
    assert isinstance(raised, StoreUnavailable)
    with pytest.raises(StoreUnavailable, match=said):
        raise raised
    assert len(script.asked) == 1


def test_a_value_that_is_not_there_or_damaged_is_told() -> None:
    """Its digest is beside it, and it is not believed without."""
    digest = {"x-amz-meta-sha256": hashlib.sha256(b"data").hexdigest()}
    assert play(Script(Answer(200, digest, b"data")), get) == b"data"
    for answer in (Answer(200, digest, b"dat"), error(404, "NoSuchKey")):
        assert isinstance(play(Script(answer), get), CheckpointUnreadable)
    assert isinstance(play(Script(error(404, "NoSuchBucket")), get), StoreUnavailable)


@pytest.mark.parametrize("code", ["SlowDown", "ExpiredToken"])
def test_a_value_that_reads_like_an_error_is_a_value(code: str) -> None:
    """A workflow may keep what a service said to it, and what counts is what S3 says to us."""
    said = error(200, code).body
    script = Script(Answer(200, {"x-amz-meta-sha256": hashlib.sha256(said).hexdigest()}, said))
    assert play(script, get) == said
    assert (len(script.asked), script.renewed) == (1, 0)


def test_a_bucket_elsewhere_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each value would go around half of the world, and be paid for on the way."""
    name = bucket_name()
    assert check_bucket(account(), name) == []
    client = account().client("s3")
    answer = {"ResponseMetadata": {"HTTPHeaders": {"x-amz-bucket-region": "eu-west-1"}}}
    monkeypatch.setattr(client, "head_bucket", lambda **_: answer)
    monkeypatch.setattr(account(), "client", lambda _: client)
    told = f"the bucket {name} is in eu-west-1, and this is us-east-1"
    assert check_bucket(account(), name) == [told]


@pytest.mark.parametrize("code", ["BucketAlreadyOwnedByYou", "BucketAlreadyExists"])
def test_a_bucket_that_another_deploy_makes_is_there(code: str) -> None:
    """Two that make it at once: it is of both. One that is somebody else's is of neither."""

    def refused(code: str, status: int) -> Mock:
        told: Any = {
            "Error": {"Code": code, "Message": ""},
            "ResponseMetadata": {"HTTPStatusCode": status},
        }
        return Mock(side_effect=ClientError(told, "CreateBucket"))

    client = Mock(head_bucket=refused("404", 404), create_bucket=refused(code, 409))
    theirs: Any = Mock(client=Mock(return_value=client))
    if code == "BucketAlreadyOwnedByYou":
        assert create_bucket(theirs, "values") == []
    else:
        with pytest.raises(StoreError, match=r"values cannot be made: .*AlreadyExists"):
            create_bucket(theirs, "values")


def test_values_of_a_run_are_removed_in_bounded_steps() -> None:
    """All of one run, and none of another whose name begins alike."""

    async def body() -> None:
        table = whole_table()
        for name in ("a", "b", "c"):
            await table.put_blob("r&1", name, b"x")
        await table.put_blob("r&10", "a", b"other")
        assert await table.delete_blobs("r&1", limit=2)
        assert not await table.delete_blobs("r&1", limit=2)
        assert not await table.delete_blobs("r&1", limit=2)
        for name in ("a", "b", "c"):
            with pytest.raises(CheckpointUnreadable):
                await table.get_blob("r&1", name)
        assert await table.get_blob("r&10", "a") == b"other"
        await table.close()

    asyncio.run(body())


def test_a_later_lap_is_paid_by_its_run() -> None:
    """Its values have a place of their own; what is cached is of no run."""
    bills = Bills()

    async def body(_: S3Shelf) -> None:
        shelf = S3Shelf(Script(WELL), "b", bills=bills)
        for place in ("r", of_lap("r", 7), cached_place("id")):
            await shelf.put_blob(place, "n", b"x")
            await shelf.get_blob(place, "n")

    play(Script(WELL), body)
    assert bills.take("r") == {"puts": 2, "gets": 2}
    assert not bills._open


class Bucket(Script):
    """A wire behind which is what was put, by its path, and no page has more than two keys."""

    def __init__(self) -> None:
        super().__init__(WELL)
        self.kept: dict[str, bytes] = {}

    async def send(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        await asyncio.sleep(0)
        place, _, query = path.removeprefix("/b/").partition("?")
        if method == "PUT":
            self.kept[place] = body
        elif method == "POST":
            for key in re.findall("<Key>(.*?)</Key>", body.decode()):
                del self.kept[key]
        elif query:
            asked = dict(parse_qsl(query))
            begin, behind = asked["prefix"], asked.get("start-after", "")
            keys = [key for key in sorted(self.kept) if key.startswith(begin) and key > behind]
            page = keys[: min(2, int(asked["max-keys"]))]
            named = "".join(f"<Key>{key}</Key>" for key in page)
            more = str(len(keys) > len(page)).lower()
            return Answer(200, {}, f"<R>{named}<IsTruncated>{more}</IsTruncated></R>".encode())
        return WELL


def test_a_run_that_is_called_as_an_app_takes_nothing_of_it_along() -> None:
    """Apps share a bucket, and one without a name lies above those that have one."""
    bucket = Bucket()

    async def body(shelf: S3Shelf) -> list[bool]:
        shop = S3Shelf(bucket, "b", "a/b/shop")
        for number in range(3):
            await shop.put_blob(f"order-{number}", "n", b"theirs")
        for name in ("a", "x", "y"):
            await shelf.put_blob("shop", name, b"ours")
        found = [await shelf.delete_blobs("shop", limit=1)]
        while found[-1]:
            found.append(await shelf.delete_blobs("shop", limit=1))
        return found

    assert play(bucket, body) == [True, True, False]
    assert sorted(bucket.kept) == [f"a/b/shop/order-{number}/n" for number in range(3)]


def test_a_page_without_anything_ends_no_list() -> None:
    """A copy would be short of all that is behind it, and a removal never come to an end."""
    empty = Script(Answer(200, {}, b"<R><IsTruncated>true</IsTruncated></R>"))
    for call in (
        play(empty, lambda shelf: shelf.listed(("", ""), 4)),
        play(empty, lambda shelf: shelf.delete_blobs("r", limit=4)),
    ):
        assert isinstance(call, StoreUnavailable)


def test_what_may_not_be_removed_is_told() -> None:
    """S3 says it in an answer that is else well."""
    listed = Answer(200, {}, b"<Key>a/b/r:1/n</Key><IsTruncated>false</IsTruncated>")
    shut = Answer(200, {}, b"<DeleteResult><Error><Code>AccessDenied</Code></Error></DeleteResult>")
    raised = play(Script(listed, shut), lambda shelf: shelf.delete_blobs("r:1", limit=9))
    assert isinstance(raised, StoreUnavailable)
    assert "AccessDenied" in str(raised)


def test_what_is_no_value_is_not_listed() -> None:
    """Other programs, and apps with a name of their own, may keep things in the same bucket."""
    others = [f"a/b/{name}" for name in ("readme.txt", "app/r/n", "r/", "2026/11/26/log")]

    def page(keys: list[str], more: str) -> Answer:
        named = "".join(f"<Contents><Key>{key}</Key></Contents>" for key in keys)
        return Answer(200, {}, f"<R>{named}<IsTruncated>{more}</IsTruncated></R>".encode())

    script = Script(page(others, "true"), page(["a/b/r/n", others[0]], "false"))
    assert play(script, lambda shelf: shelf.listed(("", ""), 4)) == [("r", "n")]
    assert "start-after=a%2Fb%2F2026" in script.asked[1][1]
    assert "max-keys=1000" in script.asked[1][1]  # of what is others' there may be very much
    assert play(Script(page(others, "false")), lambda shelf: shelf.listed(("", ""), 4)) == []
    own = page([f"a/b/r/{number}" for number in range(9)], "false")
    found = play(Script(page(others, "true"), own), lambda shelf: shelf.listed(("", ""), 4))
    assert found == [("r", str(number)) for number in range(4)]
