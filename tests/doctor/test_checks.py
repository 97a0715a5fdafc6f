"""Checks of a server: each finds its own fault, and hides no other."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from rewake import approval, callback, step, workflow
from rewake.codecs import AesGcm
from rewake.doctor.checks import _identity, hooks_found
from rewake.doctor.findings import Finding, Status, carried_out, well
from rewake.doctor.machine import room, secret_strength, token_strength, versions
from rewake.doctor.stored import archive, growth, keys_of_links, needed_keys, round_trip
from rewake.errors import StoreUnavailable
from rewake.identity.oidc import OidcSettings, read_grants
from rewake.identity.settings import IdentitySettings, Proof
from rewake.signing.secret import Secret
from rewake.signing.tokens import app_token
from rewake.stores.keys import run_partition
from rewake.stores.table import Key
from rewake.webhooks.hooks import hooks_of
from rewake.webhooks.providers import github
from rewake.webhooks.trigger import webhook
from tests.support.archiving import Kept
from tests.support.issuer import AUDIENCE, Answer, At, Issuer, listening, saying
from tests.support.virtual import SECRET, Bench, virtually

SEALING = Secret(b"a secret of the virtual world", codec=AesGcm({"k": bytes(32)}))
GOOD = "q9yXn2J0wVt3mB7cZ5kLrD8sHfG1aPuE"


@workflow
async def links(callbacks: int) -> None:
    asked = [approval(f"a{number}", approvers=["ann@example.com"]) for number in range(2)]
    waits = [callback(f"c{number}") for number in range(callbacks)]
    await step("tell", lambda: None)
    for each in (*asked, *waits):
        await each  # type: ignore[misc]


@workflow
async def ends() -> str:
    ask = approval("done")
    ask.cancel()
    return "ended"


def one(findings: Sequence[Finding]) -> Finding:
    """The only finding."""
    [found] = findings
    assert found.do or found.status is Status.OK
    return found


def test_a_check_that_fails_hides_no_other() -> None:
    """One that raises, and one that never ends, are findings; all the others are made."""

    async def good() -> Sequence[Finding]:
        return [well("good", "it is")]

    async def raises() -> Sequence[Finding]:
        raise StoreUnavailable("it is locked")

    async def hangs() -> Sequence[Finding]:
        await asyncio.Event().wait()
        return []

    checks = {"raises": raises, "hangs": hangs, "good": good}
    found = asyncio.run(carried_out(checks, patience=0.05))
    assert [each.check for each in found] == ["raises", "hangs", "good"]
    assert [each.status for each in found] == [Status.FAIL, Status.FAIL, Status.OK]
    assert "it is locked" in found[0].told


@pytest.mark.parametrize(
    ("secret", "status"),
    [
        (GOOD, Status.OK),
        ("0123456789abcdef" * 2 + "8f3a0c5d", Status.WARN),  # it counts
        ("correct horse battery staple and more", Status.WARN),
        ("my-production-secret-2026-do-not-share", Status.WARN),
        ("a" * 64, Status.FAIL),
        ("abababababababababab", Status.FAIL),
        ("changeme-changeme", Status.FAIL),
    ],
)
def test_a_secret_that_can_be_guessed(secret: str, status: Status) -> None:
    """What has few bits is wrong, what reads like typed is warned of, and none is ever shown."""
    found = one(asyncio.run(secret_strength(Secret(secret, GOOD))))
    assert found.status is status
    assert secret not in str(found)
    assert Secret(secret).id in found.told
    assert Secret(GOOD).id in found.told


def test_a_token_that_can_be_guessed() -> None:
    """The server's own token is judged likewise, and not shown."""
    for token, status in (("a" * 40, Status.FAIL), ("let-me-in-please-42-and-more", Status.WARN)):
        found = one(asyncio.run(token_strength(token)))
        assert (found.status, token in str(found)) == (status, False)
    assert one(asyncio.run(token_strength(app_token(Secret(GOOD))))).status is Status.OK


def test_no_secret() -> None:
    """Without one no server starts."""
    assert one(asyncio.run(secret_strength(None))).status is Status.FAIL


def test_a_disk_that_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Little room is warned of, none is wrong; what is on no disk is well."""

    class Usage(NamedTuple):
        free: int

    for free, status in ((0, Status.FAIL), (2**29, Status.WARN), (2**40, Status.OK)):
        usage = Usage(free)
        monkeypatch.setattr("shutil.disk_usage", lambda _, usage=usage: usage)
        assert one(asyncio.run(room(tmp_path))).status is status
    assert one(asyncio.run(room(None))).status is Status.OK
    assert one(asyncio.run(versions())).told.startswith("Python 3.")


@pytest.mark.parametrize("table", ["memory", "sqlite"])
def test_the_database_keeps_what_it_is_given(table: str) -> None:
    """An item is written, read and deleted, and nothing of it stays."""

    async def work(bench: Bench) -> None:
        assert one(await round_trip(bench.engine)).status in (Status.OK, Status.WARN)
        store = bench.engine.services.store
        page = await bench.table.query("A#trial-1")
        assert page.items == []
        assert (store.trial.folder is None) == (table == "memory")

    virtually([links], work, table=table)


@pytest.mark.parametrize("table", ["memory", "sqlite"])
def test_the_disk_of_an_encrypted_database(table: str) -> None:
    """Where a database is on this machine is known also behind a codec."""

    async def work(bench: Bench) -> None:
        folder = bench.engine.services.store.trial.folder
        assert folder == getattr(bench.table, "folder", None)
        assert (folder is None) == (table == "memory")

    virtually([links], work, table=table, secret=SEALING)


def test_an_archive_is_tried() -> None:
    """One that does not take documents, or is away, is found before anything is due."""

    async def work(bench: Bench) -> None:
        assert one(await archive(bench.engine)).status is Status.OK
        place = Kept()
        place.fill(bench.engine, SECRET)
        assert one(await archive(bench.engine)).told == "a document is written, found and removed"
        assert (place.documents, place.calls > 3) == ({}, True)
        place.away = True
        assert one(await archive(bench.engine)).status is Status.FAIL

    virtually([links], work)


def test_a_database_that_forgets() -> None:
    """One that does not keep what it was told is found."""

    async def work(bench: Bench) -> None:
        trial: Any = bench.engine.services.store.trial

        class Forgetful:
            def __getattr__(self, name: str) -> Any:
                return getattr(bench.table, name)

            async def get(self, key: Any) -> Any:
                return None

        trial._table = Forgetful()
        assert one(await round_trip(bench.engine)).status is Status.FAIL

    virtually([links], work)


def test_keys_that_open_links_need() -> None:
    """Each key with open links is counted, of all runs that go on; one that is unknown is told."""

    async def work(bench: Bench) -> None:
        assert "no open link" in one(await keys_of_links(bench.engine)).told
        for _ in range(3):
            await bench.start("links", callbacks=2)
        await bench.run("ends")
        await asyncio.sleep(1)
        needed = await needed_keys(bench.engine)
        assert (dict(needed.ids), needed.unread, needed.more) == ({SECRET.id: 12}, 0, False)
        assert one(await keys_of_links(bench.engine)).status is Status.OK
        services = bench.engine.services
        services.secret = Secret("another one that signs now")
        found = one(await keys_of_links(bench.engine))
        assert found.status is Status.FAIL
        assert SECRET.id in found.told
        services.secret = Secret(
            "another one that signs now", b"a secret of the virtual world", GOOD
        )
        found = one(await keys_of_links(bench.engine))
        assert found.status is Status.OK
        assert f"no open link needs {Secret(GOOD).id}" in found.told

    virtually([links, ends], work, url="https://app.example")


def test_a_run_that_cannot_be_read_hides_no_key() -> None:
    """It is counted and warned of; the keys that the others need are told all the same."""

    async def work(bench: Bench) -> None:
        runs = [(await bench.start("links", callbacks=2)).run for _ in range(2)]
        await asyncio.sleep(1)
        header = await bench.engine.get(runs[0])
        await bench.table.delete([Key(run_partition(runs[0]), header.base)])
        found = one(await keys_of_links(bench.engine))
        assert found.status is Status.WARN
        assert found.told == f"open links by key: {SECRET.id} (4); 1 could not be read here"

    virtually([links], work, url="https://app.example")


def test_webhooks_without_their_secrets() -> None:
    """Each that is shut is named, with what is missing."""
    known = [
        (webhook("a/b", verify=github("A_SECRET")), "w"),
        (webhook("c", verify=github("C")), "w"),
    ]
    hooks = hooks_of(known, {"C": "it is set, and long"}, development=True)
    found = one([each for each in hooks_found(hooks) if each.status is Status.FAIL])
    assert "/hooks/a/b" in found.told
    assert "A_SECRET" in found.told
    assert one(hooks_found({})).status is Status.OK


def test_an_issuer_is_asked() -> None:
    """One that answers is well, unless its tokens allow nothing; one that does not is wrong."""
    answers: dict[str, Answer] = {}

    async def found(url: str, grants: str) -> Finding:
        oidc = OidcSettings(url, AUDIENCE, "sub", read_grants(grants))
        who, asked = await _identity(IdentitySettings(oidc, None, frozenset({Proof.OIDC})), At())
        assert "oidc" in who.told
        return asked

    with listening(answers) as url:
        for path in ("/.well-known/openid-configuration", "/keys"):
            answers[path] = saying(Issuer(url).document(path))
        assert asyncio.run(found(url, '{"g": {"a": ["read"]}}')).status is Status.OK
        assert asyncio.run(found(url, "{}")).status is Status.WARN
    gone = asyncio.run(found(url, "{}"))
    assert (gone.check, gone.status) == ("issuer", Status.FAIL)


def test_runs_that_are_past_their_time_are_told() -> None:
    """If nobody has removed them for a day; and how large the database is."""

    async def work(bench: Bench) -> None:
        await bench.run("ends")
        found = one(await growth(bench.engine))
        assert (found.status, found.told) == (Status.OK, "no ended run is past its time")
        bench.engine._sweeper.close()
        assert bench.engine._sweeping is not None
        bench.engine._sweeping.cancel()
        await asyncio.sleep(33 * 86_400)
        found = one(await growth(bench.engine))
        assert found.status is Status.WARN
        assert found.told == "1 ended runs are past their time, the oldest by 72.0 h"

    virtually([ends], work, lease=36_000_000)
