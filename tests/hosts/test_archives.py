"""Archives by their addresses, and what a server writes into one."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, cast
from urllib.parse import parse_qs

import pytest
from msgspec.structs import replace as replaced
from starlette.testclient import TestClient

from rewake import secret, step, task, workflow
from rewake.app import App
from rewake.aws.wire import Answer
from rewake.cli.exits import Exit
from rewake.cli.local.archived import erased, listed, shown
from rewake.cli.local.tables import check, create
from rewake.cli.remote.client import Client
from rewake.cli.remote.keeping import told_of
from rewake.client.answers import Reply
from rewake.errors import ConfigError, RunNotFound, UsageError
from rewake.hosts.archives import check_archive, open_archive
from rewake.hosts.building import build_app
from rewake.hosts.config import ServerConfig
from rewake.keep import keep_in
from rewake.records import Header
from rewake.signing.secret import Secret
from rewake.stores.archive import Archive
from rewake.stores.folder import FolderShelf
from rewake.stores.s3.shelf import S3Shelf
from tests.support.aws import bucket_name
from tests.support.server import SECRET, bearer

INFRA = Path(__file__).parents[2] / "infra"
KEYS = "k:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="


@task
async def pay(amount: int, password: Annotated[str, secret]) -> str:
    return f"paid {amount}"


@workflow
async def order(amount: int) -> str:
    await step("look", lambda: "well")
    return await pay(amount, "opensesame")


APP = App()
for member in (pay, order):
    APP.add(member)


def told(client: TestClient, run: str) -> Any:
    """What `rewake runs export` tells."""

    class Here:
        async def get(self, *path: str, query: dict[str, Any] | None = None) -> Reply:
            given = {name: value for name, value in (query or {}).items() if value is not None}
            answer = client.get("/v1/" + "/".join(path), params=given)
            return Reply(answer.status_code, answer.json())

    return asyncio.run(told_of(cast("Client", Here()), run))


@pytest.mark.parametrize("keys", ["", KEYS], ids=["plain", "sealed"])
def test_a_server_archives_what_an_export_tells(
    keys: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a folder, by day and run, without secrets; it is read without a server, with its keys."""
    (tmp_path / "archive").mkdir()
    settings = {
        "REWAKE_SECRET": SECRET,
        "REWAKE_DB": str(tmp_path / "a.db"),
        "REWAKE_ARCHIVE": str(tmp_path / "archive"),
        "REWAKE_KEEP": "30d+archive",
        **({"REWAKE_ENCRYPTION_KEYS": keys} if keys else {}),
    }
    for name, text in settings.items():
        monkeypatch.setenv(name, text)
    config = ServerConfig.from_env()
    with TestClient(build_app(APP, config), headers=bearer()) as client:
        started = client.post("/v1/workflows/order/runs?id=o-1&wait=20", json={"amount": 3})
        assert started.json()["result"] == "paid 3"
        exported = told(client, "o-1")
        assert "opensesame" not in json.dumps(exported)
        day = exported["run"]["updated"][:10]
        answer = client.post("/v1/purge", json={"before": "2999-01-01T00:00:00Z"})
        assert [each["id"] for each in answer.json()["runs"]] == ["o-1"]
        assert client.get("/v1/runs/o-1").status_code == 404
    [file] = (path for path in (tmp_path / "archive").rglob("*") if path.is_file())
    assert file.relative_to(tmp_path / "archive").parts[:2] == (day, "o-1")
    if keys:
        assert file.name == "0.json.gz.sealed"
        assert gzip.compress(b"")[:2] not in file.read_bytes()[:4]
    else:
        assert json.loads(gzip.decompress(file.read_bytes())) == exported
    shown(day, "o-1")
    assert json.loads(capsys.readouterr().out) == exported
    listed(day)
    assert capsys.readouterr().out == "o-1\n"
    erased(day, "o-1")
    for run in ("o-1", "other"):
        with pytest.raises(RunNotFound, match="is archived"):
            shown(day, run)
    for wrong in ("../2026", "20261126", "2026-W48-4"):
        with pytest.raises(UsageError, match="a day is written"):
            listed(wrong)


def test_what_cannot_be_done_in_an_archive_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By `rewake tables check`, which writes a document, finds it and removes it."""
    file, folder = tmp_path / "a.db", tmp_path / "archive"
    folder.mkdir()
    create(str(file))
    monkeypatch.setenv("REWAKE_ARCHIVE", str(folder))
    capsys.readouterr()
    assert check(str(file)) is Exit.DONE
    assert capsys.readouterr().out == f"{file} fits, and so does the archive\n"
    assert [path for path in folder.rglob("*") if path.is_file()] == []
    (folder / "trial").rmdir()
    (folder / "trial").write_text("no folder")
    assert check(str(file)) is Exit.FAILED
    assert capsys.readouterr().out.startswith("the archive: the folder ")


def test_a_purge_says_that_it_is_the_archive(tmp_path: Path) -> None:
    """That does not take a document, also if its folder is gone, as one that is not mounted; it is
    not made anew beside what it was. The run stays, and goes once it is archived.
    """
    folder = tmp_path / "archive"
    folder.mkdir()
    given = config(db=str(tmp_path / "a.db"), archive=str(folder), keep=keep_in("30d+archive"))
    with TestClient(build_app(APP, given), headers=bearer()) as client:
        client.post("/v1/workflows/order/runs?id=o-1&wait=20", json={"amount": 3})
        folder.rmdir()
        body = {"before": "2999-01-01T00:00:00Z"}
        answer = client.post("/v1/purge", json=body)
        assert (answer.status_code, answer.json()["type"]) == (
            503,
            "urn:rewake:problem:archive-unavailable",
        )
        assert client.get("/v1/runs/o-1").status_code == 200
        folder.mkdir()
        assert client.post("/v1/purge", json=body).status_code == 200
        assert client.get("/v1/runs/o-1").status_code == 404
    assert len([path for path in folder.rglob("*") if path.is_file()]) == 1


def test_a_draft_that_a_death_has_left_goes_with_its_run(tmp_path: Path) -> None:
    """It may be all of the document."""
    shelf = FolderShelf(tmp_path)
    asyncio.run(shelf.put_blob("r", "0.json.gz", b"whole"))
    (tmp_path / "r" / ".0123").write_bytes(b"whole")
    assert asyncio.run(shelf.listed(("", ""), 9)) == [("r", "0.json.gz")]
    asyncio.run(shelf.delete_blobs("r", limit=9))
    assert list(tmp_path.iterdir()) == []


def config(**given: Any) -> ServerConfig:
    """The settings of a server."""
    return replace(ServerConfig(secret=Secret(SECRET)), **given)


def test_what_is_to_be_archived_needs_an_archive() -> None:
    """It is refused before anything is served; nothing would ever be removed."""
    with pytest.raises(ConfigError, match=r"order are to be archived .* REWAKE_ARCHIVE"):
        check_archive(APP, config(keep=keep_in("1d+archive")))
    check_archive(APP, config())
    with pytest.raises(ConfigError, match="a disk of its own"):
        check_archive(APP, config(archive="archive", platform="aws-lambda"))


@pytest.mark.parametrize(
    ("address", "blobs", "told"),
    [
        ("gs://b", "", "is a folder, s3://BUCKET"),
        ("nowhere", "", "no folder nowhere"),
        ("s3://B!", "", "REWAKE_ARCHIVE is s3://BUCKET"),
        ("s3://bucket/a?encryption=rot13", "", "REWAKE_ARCHIVE: encryption is one of"),
        ("s3://bucket/a", "s3://bucket", "in one another"),
        ("s3://bucket", "s3://bucket/a", "in one another"),
        ("s3://bucket/a", "s3://bucket/a/", "in one another"),
    ],
)
def test_a_place_that_does_not_fit_is_refused(address: str, blobs: str, told: str) -> None:
    """In one line. Below the values, a run that is called as a folder would take all along."""
    with pytest.raises(ConfigError, match=told):
        open_archive(address, blobs)


def test_a_task_that_changes_the_folder_moves_no_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative path is of the folder that the server was started in."""
    for name in ("kept", "elsewhere/kept"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    archive = open_archive("kept")
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert asyncio.run(archive.tried("a")) == []
    ended = Header("r1", "order", 0, seed=1, runtime=1)
    asyncio.run(archive.put(ended, b"{}", sealed=False))
    assert [each.name for each in tmp_path.glob("kept/*/*")] == ["r1"]
    assert not list(tmp_path.glob("elsewhere/kept/*"))


class Bucket:
    """A wire to a bucket in memory, which notes what is asked of it as policies say it."""

    def __init__(self) -> None:
        self.objects: dict[str, tuple[Mapping[str, str], bytes]] = {}
        self.asked = set[str]()

    async def send(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        place, _, query = path.partition("?")
        if method == "PUT":
            self.asked.add("s3:PutObject")
            there = place in self.objects
            self.objects.setdefault(place, (headers, body))
            return Answer(412 if there else 200, {}, b"")
        if "list-type" in query:
            self.asked.add("s3:ListBucket")
            begin = "/bucket/" + parse_qs(query)["prefix"][0]
            keys = [each.removeprefix("/bucket/") for each in self.objects if begin in each]
            return Answer(200, {}, "".join(f"<Key>{each}</Key>" for each in keys).encode())
        self.asked.add("s3:DeleteObject")
        for key in re.findall(r"<Key>([^<]+)</Key>", body.decode()):
            del self.objects[f"/bucket/{key}"]
        return Answer(200, {}, b"")

    async def renew(self) -> None:
        """Nothing expires."""

    async def close(self) -> None:
        """Nothing is open."""


def test_a_bucket_is_asked_for_what_the_policy_allows() -> None:
    """By archiving and erasing: each of its actions, and no other. Encryption is asked for."""
    bucket = Bucket()
    archive = Archive(lambda day: S3Shelf(bucket, "bucket", f"shop/{day}"))
    header = Header("r", "order", 1_700_000_000_000, seed=1, runtime=1)

    async def body() -> None:
        await archive.put(header, b"whole", sealed=False)
        await archive.put(header, b"another", sealed=False)
        [(place, (headers, document))] = bucket.objects.items()
        assert place == "/bucket/shop/2023-11-14/r/0.json.gz"
        assert (document, headers["x-amz-server-side-encryption"]) == (b"whole", "AES256")
        await archive.remove("2023-11-14", "r")
        assert await archive.tried("x") == []
        assert bucket.objects == {}

    asyncio.run(body())
    policy = json.loads((INFRA / "iam" / "archive.json").read_text())["Statement"]
    assert bucket.asked == {action for statement in policy for action in statement["Action"]}


@pytest.mark.parametrize("denied", ["PutObject", "ListBucket", "DeleteObject"])
def test_what_a_role_may_not_do_is_told(denied: str) -> None:
    """By its own line, whatever else it may do."""

    class Denying(Bucket):
        async def send(
            self, method: str, path: str, headers: Mapping[str, str], body: bytes
        ) -> Answer:
            self.asked.clear()
            before = dict(self.objects)
            answer = await super().send(method, path, headers, body)
            if f"s3:{denied}" in self.asked:
                self.objects = before
                return Answer(403, {}, b"<Error><Code>AccessDenied</Code></Error>")
            return answer

    bucket = Denying()
    archive = Archive(lambda day: S3Shelf(bucket, "bucket", f"shop/{day}"))
    [told] = asyncio.run(archive.tried("x"))
    assert told.startswith("s3://bucket does not ")
    assert told.endswith("a value: AccessDenied")


def test_an_archive_may_share_a_bucket() -> None:
    """Where neither lies in the other."""
    open_archive("s3://bucket/ab", "s3://bucket/a")
    open_archive("s3://bucket", "s3://other")


def test_an_archive_in_s3() -> None:
    """A document is there whole, once, below its prefix, and is listed, read and removed."""
    name = bucket_name()
    header = Header("r", "order", 1_700_000_000_000, seed=1, runtime=1)
    day = "2023-11-14"

    async def body() -> None:
        archive, whole = open_archive(f"s3://{name}/shop"), open_archive(f"s3://{name}")
        for document in (b"whole", b"another"):
            await archive.put(header, document, sealed=False)
        await archive.put(replaced(header, run="r-1"), b"other", sealed=True)
        assert await archive.names_of(day, "r") == ["0.json.gz"]
        assert await archive.get(day, "r", "0.json.gz") == b"whole"
        assert len(await archive.names(day)) == 2
        assert await whole.names(f"shop/{day}") == await archive.names(day)
        await archive.remove(day, "r")
        assert await archive.names(day) == [("r-1", "0.json.gz.sealed")]
        await archive.close()
        await whole.close()

    asyncio.run(body())
