"""Signed requests over sockets, to a server that is rude, slow, confused or in another time."""

from __future__ import annotations

import asyncio
import calendar
import json
import os
import re
import ssl
import threading
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from rewake.aws import wire as wires
from rewake.aws.account import Account, Place
from rewake.aws.wire import Lost, NotSent, SignedWire
from rewake.errors import ConfigError, StoreUnavailable
from tests.support.certificates import certificate

WELL = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
CUT = b"-cut"
"""At the end of an answer: the connection is closed there."""


@pytest.fixture(autouse=True)
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Credentials of this test alone, and none of this machine."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))


@asynccontextmanager
async def server(
    *answers: bytes | None, context: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[SignedWire, list[bytes]]]:
    """A wire to a server that gives these answers; None: it closes the connection, without one.

    The last one comes again and again. An empty answer never comes.
    """
    left, seen = list(answers), list[bytes]()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = [x for x in head.lower().split(b"\r\n") if x.startswith(b"content-length")]
                body = await reader.readexactly(int(length[0].split(b":")[1]) if length else 0)
                seen.append(head + body)
                answer = left.pop(0) if len(left) > 1 else left[0]
                if answer is None:
                    break
                if not answer:
                    await asyncio.sleep(60)
                writer.write(answer.removesuffix(CUT))
                if answer.endswith(CUT):
                    break
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            pass
        finally:
            writer.close()

    listening = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=context)
    scheme, port = "https" if context else "http", listening.sockets[0].getsockname()[1]
    wire = SignedWire(Account(), "dynamodb", Place(f"{scheme}://127.0.0.1:{port}", "us-east-1"))
    try:
        yield wire, seen
    finally:
        await wire.close()
        listening.close()


def send(wire: SignedWire) -> Awaitable[wires.Answer]:
    """A request like any other."""
    return wire.send("POST", "/", {"X-Amz-Target": "a.B"}, b'{"a":1}')


def header(request: bytes, name: str) -> str:
    """A header of a request that a server has seen."""
    lines = request.split(b"\r\n\r\n")[0].decode().split("\r\n")[1:]
    return {k.lower(): v for k, _, v in (line.partition(": ") for line in lines)}[name.lower()]


def signed_at(request: bytes) -> int:
    """The moment for which a request was signed."""
    return calendar.timegm(time.strptime(header(request, "x-amz-date"), "%Y%m%dT%H%M%SZ"))


def test_a_request_is_signed_as_botocore_signs() -> None:
    """The same signature as botocore gives to the same request at the same moment."""
    from botocore.auth import SigV4Auth  # noqa: PLC0415
    from botocore.awsrequest import AWSRequest  # noqa: PLC0415
    from botocore.credentials import Credentials  # noqa: PLC0415

    async def main() -> None:
        async with server(WELL) as (wire, seen):
            assert (await send(wire)).body == b"{}"
            [request] = seen
        url = f"http://{header(request, 'host')}/"
        again = AWSRequest("POST", url, headers={"X-Amz-Target": "a.B"}, data=b'{"a":1}')
        again.headers["X-Amz-Date"] = again.context["timestamp"] = header(request, "x-amz-date")
        signer = SigV4Auth(Credentials("AKIDEXAMPLE", "hush"), "dynamodb", "us-east-1")
        text = signer.string_to_sign(again, signer.canonical_request(again))
        assert header(request, "authorization").endswith(signer.signature(text, again))

    asyncio.run(main())


def test_a_clock_that_is_wrong_is_set_right() -> None:
    """An hour off, the service refuses and says its time; the next request is signed for that."""
    theirs = time.time() + 3600

    async def main() -> list[bytes]:
        date = f"Date: {formatdate(theirs, usegmt=True)}\r\n".encode()
        refusal = b"HTTP/1.1 403 Forbidden\r\n" + date + b"Content-Length: 2\r\n\r\n{}"
        async with server(refusal, WELL) as (wire, seen):
            assert (await send(wire)).status == 403
            assert (await send(wire)).status == 200
        return seen

    first, second = asyncio.run(main())
    stamps = [
        time.strptime(header(each, "x-amz-date"), "%Y%m%dT%H%M%SZ") for each in (first, second)
    ]
    assert 3590 < time.mktime(stamps[1]) - time.mktime(stamps[0]) < 3610


def test_what_is_refused_for_another_reason_moves_no_clock() -> None:
    """A clock that is about right stays."""
    refusal = f"HTTP/1.1 400 Bad\r\nDate: {formatdate(time.time() - 60, usegmt=True)}\r\n"

    async def main() -> list[bytes]:
        async with server(refusal.encode() + b"Content-Length: 2\r\n\r\n{}", WELL) as (wire, seen):
            await send(wire)
            await send(wire)
        return seen

    first, second = asyncio.run(main())
    assert (
        abs(int(header(first, "x-amz-date")[9:15]) - int(header(second, "x-amz-date")[9:15])) < 50
    )


@pytest.mark.parametrize(
    "answer",
    [
        None,
        b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{" + CUT,
        b"ceci n'est pas HTTP\r\n\r\n",
        b"",
    ],
    ids=["closed", "half an answer", "no HTTP", "silence"],
)
def test_what_is_lost_may_have_happened(
    answer: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that breaks, half an answer, nonsense and silence: nobody knows."""
    monkeypatch.setattr(wires, "TIMEOUT", 0.2)

    async def main() -> None:
        async with server(answer) as (wire, _):
            with pytest.raises(Lost, match=r"127\.0\.0\.1"):
                await send(wire)

    asyncio.run(main())


@asynccontextmanager
async def slow_server(pause: float) -> AsyncIterator[int]:
    """A port where each 100 kB of a request, and each of ten bytes of the answer, take a while."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            [length] = re.findall(rb"(?i)content-length: ([0-9]+)", head) or [b"0"]
            left = int(length)
            while left > 0:
                left -= len(await reader.readexactly(min(left, 100_000)))
                await asyncio.sleep(pause)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n")
            for _ in range(10):
                writer.write(b"x")
                await asyncio.sleep(pause)
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            pass
        finally:
            writer.close()

    listening = await asyncio.start_server(handle, "127.0.0.1", 0, limit=2**16)
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        listening.close()


def test_what_is_large_takes_as_long_as_it_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    """A value of many megabytes is no lost request, in neither direction; any other is."""
    monkeypatch.setattr(wires, "SLOWEST", 1_000_000)

    async def main() -> None:
        async with slow_server(0.05) as port:
            place = Place(f"http://127.0.0.1:{port}", "us-east-1")
            for large in (True, False):
                wire = SignedWire(Account(), "s3", place, large=large)
                for method, body in (("PUT", bytes(10**6)), ("GET", b"")):
                    sent = wire.send(method, "/b/r/n", {}, body, timeout=0.4)
                    if large:
                        assert (await sent).body == b"x" * 10
                    else:
                        with pytest.raises(Lost, match=r"did not answer within 0\.4 s"):
                            await sent
                await wire.close()

    asyncio.run(main())


def test_where_nobody_listens_nothing_is_sent() -> None:
    """It is known that nothing happened."""

    async def main() -> None:
        wire = SignedWire(Account(), "dynamodb", Place("http://127.0.0.1:9", "us-east-1"))
        with pytest.raises(NotSent, match="cannot be reached"):
            await send(wire)
        await wire.close()

    asyncio.run(main())


def test_each_loop_has_its_own_connections_and_leaves_none(
    recwarn: pytest.WarningsRecorder,
) -> None:
    """Loops of other threads come and go, and what they had open is closed with them."""

    async def main() -> None:
        async with server(WELL) as (wire, _):
            asked: list[int] = []

            async def ask() -> None:
                asked.append((await send(wire)).status)

            await send(wire)
            threads = [threading.Thread(target=lambda: asyncio.run(ask())) for _ in range(3)]
            for thread in threads:
                thread.start()
            for thread in threads:
                await asyncio.to_thread(thread.join)
            assert asked == [200] * 3
            await send(wire)
            assert len(wire._sessions) <= 4

    asyncio.run(main())
    assert not [each for each in recwarn if issubclass(each.category, ResourceWarning)]


def test_a_forked_child_has_none_of_the_connections() -> None:
    """The descriptors that a child must not use are those of the open sockets."""

    async def main() -> None:
        async with server(WELL) as (wire, _):
            await send(wire)
            [number] = wire.after_fork()
            os.fstat(number)

    asyncio.run(main())


# --- who this process is -----------------------------------------------------------------------


def keys(account: Account) -> tuple[str, str, str | None]:
    """The credentials of an account."""
    return asyncio.run(account.keys())


def test_credentials_come_from_where_aws_has_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Variables, then a profile; a place without any is said so."""
    assert keys(Account()) == ("AKIDEXAMPLE", "hush", None)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    profile = "[other]\naws_access_key_id=A\naws_secret_access_key=B\naws_session_token=C\n"
    (tmp_path / "credentials").write_text(profile)
    with pytest.raises(StoreUnavailable, match="there are no AWS credentials"):
        keys(Account())
    monkeypatch.setenv("AWS_PROFILE", "other")
    account = Account()
    assert keys(account) == ("A", "B", "C")
    (tmp_path / "credentials").write_text(profile.replace("=A", "=Z"))
    assert keys(account) == ("A", "B", "C")
    assert asyncio.run(account.renewed()).access_key == "Z"


def test_credentials_of_a_container_are_renewed_before_they_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As ECS and EKS give them: asked for once, and again before they run out."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")

    def given(name: str, minutes: int) -> bytes:
        ends = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + minutes * 60))
        body = {"AccessKeyId": name, "SecretAccessKey": "s", "Token": "t", "Expiration": ends}
        data = json.dumps(body).encode()
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(data), data)

    async def main() -> None:
        async with server(given("first", 60), given("second", 60)) as (wire, seen):
            monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", wire._url + "/creds")
            account = Account()
            assert (await account.keys()).access_key == "first"
            assert (await account.keys()).access_key == "first"
            account._credentials._expiry_time -= timedelta(minutes=51)
            assert (await account.keys()).access_key == "second"
            assert (await account.keys()).access_key == "second"
            assert len(seen) == 2

    asyncio.run(main())


def test_a_source_of_credentials_that_hangs_holds_up_one_request() -> None:
    """Minutes before they end one thread asks for others, and all others use what still holds."""
    from botocore.credentials import RefreshableCredentials  # noqa: PLC0415

    go = threading.Event()

    def hang() -> dict[str, str]:
        assert go.wait(20)
        raise OSError("nobody answers")

    ends = datetime.now(UTC) + timedelta(minutes=12)
    account = Account()
    account._credentials = RefreshableCredentials("A", "B", "C", ends, hang, "test")

    async def main() -> None:
        asked = [asyncio.ensure_future(account.keys()) for _ in range(4)]
        ended = asyncio.as_completed(asked)
        try:
            for _ in range(3):
                assert (await asyncio.wait_for(next(ended), 5)).access_key == "A"
        finally:
            go.set()
        assert (await next(ended)).access_key == "A"

    asyncio.run(asyncio.wait_for(main(), 15))


@pytest.mark.parametrize("reason", ["refused", "no file", "old"])
def test_credentials_that_cannot_be_renewed_are_an_outage(reason: str) -> None:
    """A role may be refused, its token be gone, what comes be over: no run is harmed."""
    from botocore.credentials import RefreshableCredentials  # noqa: PLC0415
    from botocore.exceptions import ClientError  # noqa: PLC0415

    ends = datetime.now(UTC) - timedelta(minutes=1)

    def renew() -> dict[str, str]:
        if reason == "refused":
            error: Any = {"Error": {"Code": "Throttling", "Message": "later"}}
            raise ClientError(error, "AssumeRoleWithWebIdentity")
        if reason == "no file":
            return {"token": Path("/nowhere/token").read_text()}
        named = {"access_key": "A", "secret_key": "hush", "token": "C"}
        return {**named, "expiry_time": ends.isoformat()}

    account = Account()
    account._credentials = RefreshableCredentials("A", "hush", "C", ends, renew, "test")
    with pytest.raises(StoreUnavailable, match="no AWS credentials now") as caught:
        keys(account)
    assert "hush" not in str(caught.value)


def test_places_come_from_where_aws_has_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """The region names the endpoint, a variable another; without a region that is said."""
    with pytest.raises(ConfigError, match="set AWS_REGION"):
        Account().place("dynamodb")
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    assert Account().place("dynamodb").region == "eu-central-1"
    assert "eu-central-1" in Account().place("dynamodb").url
    monkeypatch.setenv("AWS_REGION", "cn-north-1")
    assert Account().place("dynamodb").url.endswith("cn-north-1.amazonaws.com.cn")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", "http://127.0.0.1:2")
    assert Account().place("dynamodb").url == "http://127.0.0.1:2"
    assert Account().place("s3").url == "http://127.0.0.1:1"


def test_a_proxy_is_asked_as_aws_own_tools_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the same variables, also those that name what it is not asked for."""
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://dynamodb.test")

    async def main() -> None:
        async with server(WELL) as (direct, seen):
            monkeypatch.setenv("http_proxy", direct._url)
            by_proxy = SignedWire(Account(), "dynamodb", Account().place("dynamodb"))
            try:
                assert (await by_proxy.send("POST", "/", {}, b"{}")).status == 200
            finally:
                await by_proxy.close()
            assert seen[0].startswith(b"POST http://dynamodb.test/ HTTP/1.1")

    asyncio.run(main())
    monkeypatch.setenv("no_proxy", "dynamodb.test")
    assert Account().place("dynamodb").proxy is None


def test_the_authorities_that_are_named_are_believed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A certificate of one's own is refused without, as of a stranger; no file is a setting."""
    own = certificate(tmp_path / "own.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(own)
    monkeypatch.setenv("AWS_REGION", "eu-central-1")

    async def main() -> None:
        async with server(WELL, context=context) as (wire, _):
            monkeypatch.setenv("AWS_ENDPOINT_URL", wire._url)
            with pytest.raises(NotSent, match="ertificate"):
                await wire.send("POST", "/", {}, b"{}")
            monkeypatch.setenv("AWS_CA_BUNDLE", str(own))
            believing = SignedWire(Account(), "dynamodb", Account().place("dynamodb"))
            try:
                assert (await believing.send("POST", "/", {}, b"{}")).status == 200
            finally:
                await believing.close()

    asyncio.run(main())
    monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "none.pem"))
    with pytest.raises(ConfigError, match=r"none\.pem"):
        Account().place("dynamodb")


def test_without_boto3_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra is named."""
    monkeypatch.setitem(__import__("sys").modules, "botocore.session", None)
    with pytest.raises(ConfigError, match=r"rewake\[aws\]"):
        Account()
