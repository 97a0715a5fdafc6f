"""What the doctor finds of encryption: whether it is on, and which runs no key of here opens."""

from __future__ import annotations

import asyncio

from rewake import wait_for_approval, workflow
from rewake.codecs import AesGcm
from rewake.doctor.encryption import encryption
from rewake.doctor.findings import Finding, Status
from rewake.signing.secret import Secret
from tests.support.virtual import SECRET, Bench, virtually

OFF: dict[str, str] = {}


def holding(**keys: bytes) -> Secret:
    """The secret, with these keys."""
    return SECRET.with_codec(AesGcm(keys))


MINE = holding(mine=bytes(32))


@workflow
async def asks() -> None:
    await wait_for_approval("boss")


@workflow
async def ends(word: str) -> str:
    return word


async def found(bench: Bench, secret: Secret) -> list[Finding]:
    """What is found with these keys, each with what to do."""
    bench.engine.services.secret = bench.secret = secret
    bench.engine.services.cache.clear()
    other = bench.another()
    findings = await encryption(secret, other, OFF)
    assert all(each.do for each in findings if each.status is not Status.OK)
    assert {each.check for each in findings} == {"encryption"}
    return list(findings)


def test_it_says_whether_it_is_on() -> None:
    """On or off, with the ids of keys and none of the keys; an empty variable is warned of."""

    def told(secret: Secret, environ: dict[str, str]) -> Finding:
        [only] = asyncio.run(encryption(secret, None, environ))
        return only

    on = told(holding(new=b"n" * 32, old=b"o" * 32), OFF)
    assert (on.status, on.told) == (Status.OK, "on: key new encrypts; old can be read")
    off = told(SECRET, OFF)
    assert (off.status, off.told[:3]) == (Status.OK, "off")
    empty = told(SECRET, {"REWAKE_ENCRYPTION_KEYS": ""})
    assert (empty.status, "empty" in empty.told) == (Status.WARN, True)


def test_runs_whose_key_was_taken_out() -> None:
    """A run that waits for a key which is not here is a failure that names the key; what has ended
    is warned of, for its key may be given up, unless there is no key at all.
    """

    async def work(bench: Bench) -> None:
        await bench.run("ends", word="x")
        [on] = await found(bench, MINE)
        assert on.status is Status.OK
        _, ended = await found(bench, holding(new=b"n" * 32))
        assert (ended.status, "key mine" in ended.told) == (Status.WARN, True)
        _, none = await found(bench, SECRET)
        assert (none.status, "1 run cannot be read here" in none.told) == (Status.FAIL, True)

    virtually([ends], work, secret=MINE)

    async def waiting(bench: Bench) -> None:
        for _ in range(2):
            await bench.start("asks")
        await asyncio.sleep(1)
        _, going = await found(bench, holding(new=b"n" * 32))
        assert (going.status, "2 runs cannot be read" in going.told) == (Status.FAIL, True)
        assert "key mine" in going.told
        assert "REWAKE_ENCRYPTION_KEYS" in going.do

    virtually([asks], waiting, secret=MINE)


def test_another_key_under_the_same_id() -> None:
    """Bytes that are not those of the key are a failure, which says to compare them."""

    async def work(bench: Bench) -> None:
        await bench.start("asks")
        await asyncio.sleep(1)
        on, forged = await found(bench, holding(mine=b"x" * 32))
        assert (on.status, forged.status) == (Status.OK, Status.FAIL)
        assert "1 run cannot be opened" in forged.told
        assert "compare the bytes" in forged.do

    virtually([asks], work, secret=MINE)


def test_what_began_in_the_clear_is_read_with_any_key() -> None:
    """Runs from before there were keys are no fault."""

    async def work(bench: Bench) -> None:
        await bench.start("asks")
        await asyncio.sleep(1)
        [on] = await found(bench, MINE)
        assert on.status is Status.OK

    virtually([asks], work)
