"""DynamoDB by its address: made, checked, served from; and what is refused, in one line each."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from rewake.aws.wire import Answer
from rewake.cli.exits import Exit
from rewake.cli.local.tables import check, create
from rewake.errors import ConfigError, StoreError, StoreUnsuitable
from rewake.hosts.databases import Address, open_database, open_existing, refuse_unfit
from rewake.hosts.dynamodb import where
from rewake.ledger import Seen
from rewake.stores.dynamodb.client import Client
from rewake.stores.dynamodb.definition import definition, misfits, template
from rewake.stores.dynamodb.setup import tried
from rewake.stores.dynamodb.table import DynamoTable
from rewake.stores.keys import seen_key
from tests.support.aws import aws, bucket_name, table_name
from tests.support.dynamodb import account
from tests.support.small_dynamodb import SmallDynamo
from tests.support.small_table import SmallTable

INFRA = Path(__file__).parents[2] / "infra"
TEMPLATE = INFRA / "cloudformation" / "store.json"


@pytest.mark.parametrize(
    ("place", "blobs", "told"),
    [
        ("", "s3://values", "dynamodb://TABLE"),
        ("//t", "s3://values", "dynamodb://TABLE"),
        ("//table/app/more", "s3://values", "dynamodb://TABLE"),
        ("//table?x=1", "s3://values", "dynamodb://TABLE"),
        ("//table/a b", "s3://values", "dynamodb://TABLE"),
        ("//table", "", "set REWAKE_BLOBS=s3://BUCKET"),
        ("//table", "values", "REWAKE_BLOBS is s3://BUCKET"),
        ("//table", "s3://Values", "REWAKE_BLOBS is s3://BUCKET"),
        ("//table", "s3://values/a?x=1", "REWAKE_BLOBS is s3://BUCKET"),
        ("//table", "s3://values?encryption=rot13", "not 'rot13'"),
    ],
)
def test_addresses_that_are_refused(place: str, blobs: str, told: str) -> None:
    """What is no table or no bucket is a `ConfigError`, which says how one is named."""
    with pytest.raises(ConfigError, match=told):
        where(place, blobs)


def test_what_addresses_say() -> None:
    """An app has a part of the table and of the bucket, and encryption is asked for."""
    assert where("//table", "s3://values") == ("table", "", "values", "", "AES256")
    at = where("//table/shop", "s3://values/a/b/?encryption=none")
    assert at == ("table", "shop", "values", "a/b/shop", "")


@pytest.fixture
def blobs(monkeypatch: pytest.MonkeyPatch) -> str:
    """Where large values are, for a command."""
    aws()
    address = f"s3://rewake-{uuid4().hex}/values"
    monkeypatch.setenv("REWAKE_BLOBS", address)
    return address


def test_tables_are_made_once_and_checked(blobs: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`create` makes table, index and bucket, and says so once; `check` says what is missing."""
    db, bucket = f"dynamodb://rewake-{uuid4().hex}", blobs.split("/")[2]
    name = db.partition("://")[2]
    assert check(db) is Exit.FAILED
    missing = capsys.readouterr().out.splitlines()
    assert missing == [
        f"there is no table {name} in us-east-1: rewake tables create",
        f"there is no bucket {bucket}: rewake tables create makes it",
    ]
    assert create(db) is Exit.DONE
    assert capsys.readouterr().out == f"made the table {name}\nmade the bucket {bucket}\n"
    assert create(db) is Exit.DONE
    assert capsys.readouterr().out == f"nothing is missing of {db}\n"
    assert check(db) is Exit.DONE
    assert capsys.readouterr().out == f"{db} fits\n"


def test_a_missing_index_is_made(blobs: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A table without the due index is refused, and `create` adds it."""
    name = f"rewake-{uuid4().hex}"
    bare = definition(name)
    del bare["GlobalSecondaryIndexes"]
    bare["AttributeDefinitions"] = bare["AttributeDefinitions"][:2]
    account().client("dynamodb").create_table(**bare)
    with pytest.raises(StoreUnsuitable, match="has no index due"):
        open_existing(Address(f"dynamodb://{name}", blobs))
    assert create(f"dynamodb://{name}") is Exit.DONE
    assert f"made the index due of the table {name}" in capsys.readouterr().out
    assert check(f"dynamodb://{name}") is Exit.DONE


def test_a_server_does_not_begin_on_what_does_not_fit(blobs: str) -> None:
    """The first of what is wrong is told in one line, and how many more there are."""
    address = Address(f"dynamodb://rewake-{uuid4().hex}", blobs)
    with pytest.raises(StoreUnsuitable, match=r"there is no table .* \(and 1 more: rewake tables"):
        refuse_unfit(address)


def test_a_table_with_ttl_is_refused(blobs: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Items must not go by themselves."""
    name = f"rewake-{uuid4().hex}"
    assert create(f"dynamodb://{name}") is Exit.DONE
    account().client("dynamodb").update_time_to_live(
        TableName=name, TimeToLiveSpecification={"Enabled": True, "AttributeName": "lease"}
    )
    capsys.readouterr()
    assert check(f"dynamodb://{name}") is Exit.FAILED
    assert "its TTL is on (attribute lease): turn it off" in capsys.readouterr().out


WELL: Mapping[str, Any] = {**definition("t"), "TableStatus": "ACTIVE"}
INDEX = definition("t")["GlobalSecondaryIndexes"][0]
REPLICAS = {"Replicas": [{"RegionName": "eu-west-1"}]}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({}, None),
        ({"KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}]}, "its keys are id, and must"),
        (
            {"AttributeDefinitions": [{"AttributeName": "due", "AttributeType": "S"}]},
            "its attribute due is of type S",
        ),
        ({"GlobalSecondaryIndexes": []}, "it has no index due"),
        (
            {"GlobalSecondaryIndexes": [{**INDEX, "KeySchema": WELL["KeySchema"]}]},
            "the keys of its index due are pk, sk: must be part, due",
        ),
        (
            {"GlobalSecondaryIndexes": [{**INDEX, "Projection": {"ProjectionType": "ALL"}}]},
            "more than keys",
        ),
        (REPLICAS, "the last write wins: no condition holds"),
        ({**REPLICAS, "MultiRegionConsistency": "STRONG"}, None),
    ],
    ids=str,
)
def test_what_does_not_fit(change: Mapping[str, Any], told: str | None) -> None:
    """Each difference from the definition is a line of its own; a strong global table is none."""
    found = misfits({**WELL, **change})
    assert (told is None and found == []) or (told is not None and told in found[0])


def test_two_apps_share_a_table() -> None:
    """Each sees its own items only, and its own due index."""

    async def both() -> None:
        blobs = f"s3://{bucket_name()}"
        one = open_database(Address(f"dynamodb://{table_name()}/one", blobs))
        two = open_database(Address(f"dynamodb://{table_name()}/two", blobs))
        key = seen_key("r", "k")
        await one.table.put(key, Seen(1))
        assert await two.table.get(key) is None
        assert (await one.table.query(key.partition)).items == [(key, Seen(1))]
        await one.shelf.put_blob("r", "a", b"one")
        await two.shelf.put_blob("r", "a", b"two")
        assert await one.shelf.get_blob("r", "a") == b"one"
        await one.table.close()
        await two.table.close()

    asyncio.run(both())


def test_an_emulator_that_is_down_is_told(blobs: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody listens, that is said in one line, with the address."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", "http://127.0.0.1:9")
    with pytest.raises(StoreError, match=r"127\.0\.0\.1:9"):
        refuse_unfit(Address("dynamodb://table", blobs))


@pytest.mark.parametrize("name", ["runtime", "tables-create", "archive"])
def test_the_policies_are_told(name: str) -> None:
    """The page has them word for word."""
    policy = (INFRA / "iam" / f"{name}.json").read_text()
    assert policy.strip() in (INFRA.parent / "docs" / "how-to" / "aws.md").read_text()


def test_a_server_may_do_what_it_does_and_no_more() -> None:
    """Each operation that is asked for is in the policy of the runtime, and none besides."""
    server, asked = SmallDynamo(), set[str]()

    class Spy(SmallDynamo):
        async def send(
            self, method: str, path: str, headers: Mapping[str, str], body: bytes
        ) -> Answer:
            asked.add(headers["X-Amz-Target"].partition(".")[2])
            return await server.send(method, path, headers, body)

    table = DynamoTable(Client(Spy()), "t")
    assert asyncio.run(tried(table, SmallTable(SmallDynamo()))) == []
    looked = {"DescribeTable", "DescribeTimeToLive"}
    policy = json.loads((INFRA / "iam" / "runtime.json").read_text())["Statement"]
    assert set(policy[0]["Action"]) == {f"dynamodb:{name}" for name in asked | looked}


def test_what_may_not_be_done_is_told() -> None:
    """Each thing that is denied is a line, with what AWS says of it."""

    class Denied(SmallDynamo):
        async def send(
            self, method: str, path: str, headers: Mapping[str, str], body: bytes
        ) -> Answer:
            if headers["X-Amz-Target"].endswith(".UpdateItem"):
                told = {"__type": "x#AccessDeniedException", "message": "not dynamodb:UpdateItem"}
                return Answer(400, {}, json.dumps(told).encode())
            return await super().send(method, path, headers, body)

    wrong = asyncio.run(tried(DynamoTable(Client(Denied()), "t"), SmallTable(SmallDynamo())))
    told = "UpdateItem: AccessDeniedException: not dynamodb:UpdateItem"
    assert wrong == [f"an item cannot be changed: {told}"]


def test_the_template_is_the_definition() -> None:
    """What CloudFormation makes is what `rewake tables create` makes: the file is made of it."""
    assert json.loads(TEMPLATE.read_text()) == template()
