"""A signed call of a server to itself, through the address that everybody else uses.

`POST /v1/echo` answers what the app saw of a request that is signed with the app's secret: where it
came from, its path, which headers arrived. What differs is what a proxy on the way has made of it.
What comes back instead of such an answer tells what is in the way. An answer is proved with the
secret, for whoever gives a genuine one is then sent a bearer token.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import msgspec

from rewake.clock import Clock
from rewake.doctor.findings import Finding, failure, warning, well
from rewake.identity.fetching import is_here
from rewake.records import Millis
from rewake.signing.links import Link, Links, LinkUse
from rewake.signing.messages import HEADER, sign
from rewake.signing.secret import Secret

PATH: Final = "/v1/echo"
PATIENCE: Final = 5.0
"""Seconds for an answer."""
SKEW: Final[Millis] = 2_000
"""How far two clocks may differ without a word; signed messages bear five minutes."""
FAR: Final[Millis] = 60_000

SENT: Final[Mapping[str, str]] = {
    "Idempotency-Key": "doctor",
    "Prefer": "wait=0",
    "Last-Event-ID": "0",
    "If-None-Match": '"doctor"',
    "X-Hub-Signature-256": "sha256=0",
    "Stripe-Signature": "t=0,v1=0",
    "X-Slack-Signature": "v0=0",
    "X-Slack-Request-Timestamp": "0",
    "Webhook-Id": "doctor",
    "Webhook-Timestamp": "0",
    "Webhook-Signature": "v1,0",
}
"""What must arrive, for the API and for webhooks."""
NOBODY: Final = "nobody@rewake.invalid"
"""Whom no proxy lets in."""
_NAME = "address"
_PURPOSE = "doctor's echo"


class Seen(msgspec.Struct):
    """What the app saw of the request. `proof`: that this answers it, by who has the secret."""

    scheme: str
    host: str
    path: str
    headers: list[str]
    now: Millis
    proof: str = ""

    def proved(self, secret: Secret, asked: str) -> Seen:
        """This, as the answer to the request with that signature."""
        signature = secret.sign(_PURPOSE, *self._signed(asked))
        return msgspec.structs.replace(self, proof=signature.hex())

    def answers(self, secret: Secret, asked: str) -> bool:
        """Whether it is the genuine answer to the request with that signature."""
        try:
            proof = bytes.fromhex(self.proof)
        except ValueError:
            return False
        return secret.verify(proof, _PURPOSE, *self._signed(asked))

    def _signed(self, asked: str) -> tuple[bytes, bytes]:
        return asked.encode(), msgspec.json.encode(msgspec.structs.replace(self, proof=""))


class Door(NamedTuple):
    """Where the server is for everybody, and what opens it. `header`: in which a proxy says who."""

    url: str
    secret: Secret
    token: str
    header: str = ""


class _Answer(NamedTuple):
    """`asked`: the signature of the request that it answers."""

    asked: str
    status: int
    body: bytes
    place: str


async def front_door(door: Door, clock: Clock, *, running: bool = True) -> Sequence[Finding]:
    """What stands between the world and the app. Not `running`: it need not have begun."""
    if not door.url:
        told = "REWAKE_URL is not set: a run that reads a link waits until it is"
        return [warning(_NAME, told, "set it to the address by which others reach the server")]
    import aiohttp  # noqa: PLC0415 - slow to import, and seldom needed

    url, found = door.url.rstrip("/"), []
    parts = urlsplit(url)
    if parts.scheme == "http" and not is_here(parts.hostname or ""):
        told = f"{url} has no TLS: links and tokens can be overheard"
        found.append(warning("TLS", told, "let a proxy end TLS, and set REWAKE_URL to https://"))
    timeout = aiohttp.ClientTimeout(total=PATIENCE)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as session:
            sent = clock.now()
            answer = await _signed(session, door, url, sent)
            seen = _seen(answer, door.secret)
            if seen is None and not running and answer.status in _NO_SERVER:
                return [*found, _not_begun(f"{url} answers {answer.status}")]
            if seen is None:
                return [*found, _in_the_way(url, answer)]
            found.append(clocks(seen.now, sent, clock.now()))
            found += [_passed(parts.scheme, seen), _headers(seen)]
            found.append(await _authorization(session, door, url))
            if door.header:
                found.append(await _forged_name(session, door, url, clock.now()))
    except TimeoutError:
        told = f"{url} does not answer within {PATIENCE:g} seconds from here"
        return [*found, failure(_NAME, told, "see that the server runs and can be reached")]
    except (aiohttp.ClientError, OSError) as error:
        if not running and getattr(error, "errno", None) == errno.ECONNREFUSED:
            return [*found, _not_begun(url)]
        return [*found, failure(_NAME, *_unreachable(url, error))]
    return found


async def _signed(session: Any, door: Door, url: str, now: Millis) -> _Answer:
    body = b'{"from":"doctor"}'
    signature = sign(door.secret, "POST", PATH, body, now)
    headers = {"Content-Type": "application/json", HEADER: signature, **SENT}
    post = session.post(url + PATH, data=body, headers=headers, allow_redirects=False)
    async with post as answer:
        body, place = await answer.content.read(65_536), answer.headers.get("Location", "")
        return _Answer(signature, answer.status, body, place)


def _seen(answer: _Answer, secret: Secret) -> Seen | None:
    if answer.status != 200:
        return None
    try:
        seen = msgspec.json.decode(answer.body, type=Seen)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    return seen if seen.answers(secret, answer.asked) else None


# --- what is in the way --------------------------------------------------------------------------


class _Problem(msgspec.Struct):
    title: str
    detail: str = ""


_REFUSALS: Sequence[tuple[int, str, str, str]] = (
    (
        401,
        "a bearer token is needed",
        "the app sees another path than was asked for",
        "let the proxy take the prefix away, or serve below it: the path of REWAKE_URL is its own",
    ),
    (
        401,
        "header of the form",
        f"the header {HEADER} does not arrive",
        "let the proxy pass all headers on",
    ),
    (
        401,
        "the signature is wrong",
        "the server there has another REWAKE_SECRET, or a proxy changes bodies",
        "give all servers of this address the same REWAKE_SECRET",
    ),
    (
        401,
        "stale",
        "the clocks of this machine and of the server differ by more than five minutes",
        "set both by NTP",
    ),
)
"""By status and a part of what our own server says: what it means, and what to do."""
_NO_SERVER = (502, 503, 504)
"""What a proxy answers that has none behind it."""
_STATUSES: Sequence[tuple[Callable[[int], bool], str, str]] = (
    (
        lambda status: status in (401, 403),
        "a proxy asks who is there",
        "let it pass /v1, /hooks and /callback on without a login: they check for themselves",
    ),
    (
        lambda status: status in _NO_SERVER,
        "a proxy answers that no server is behind it",
        "start the server, and see that the proxy reaches its REWAKE_HOST and REWAKE_PORT",
    ),
)
_ANOTHER = ("another program answers", "see that REWAKE_URL leads to this server, with its prefix")


def _in_the_way(url: str, answer: _Answer) -> Finding:
    """What an answer means that is not the app's."""
    status = answer.status
    if 300 <= status < 400:
        to = answer.place.removesuffix(PATH)[:200]
        told = f"{url} leads elsewhere ({status} to {to!r}), and posts do not follow"
        return failure(_NAME, told, "set REWAKE_URL to where it leads, if that is the server")
    said = _problem(answer)
    for known, part, meaning, do in _REFUSALS:
        if said is not None and status == known and part in said.detail:
            return failure(_NAME, f"{url}: {meaning}", do)
    for holds, meaning, do in _STATUSES:
        if holds(status):
            return failure(_NAME, f"{url} answers {status}: {meaning}", do)
    meaning, do = _ANOTHER
    return failure(_NAME, f"{url} answers {status}: {meaning}", do)


def _not_begun(told: str) -> Finding:
    do = (
        "once the server runs, ask again with --server: what a proxy makes of requests is seen then"
    )
    return warning(_NAME, f"{told}: not asked, for no server is there yet", do)


def _problem(answer: _Answer) -> _Problem | None:
    try:
        return msgspec.json.decode(answer.body, type=_Problem)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


def _unreachable(url: str, error: Exception) -> tuple[str, str]:
    kind = type(error).__name__
    if "Certificate" in kind or "SSL" in kind:
        return f"the certificate of {url} is not accepted here", "see its name, its date and issuer"
    if "DNS" in kind:
        return f"the name in {url} is not known here", "see that the name is in the DNS"
    return f"{url} cannot be reached from here", "start the server; see ports, and REWAKE_URL"


# --- what came through ---------------------------------------------------------------------------


def clocks(there: Millis, sent: Millis, now: Millis) -> Finding:
    """How far the server's clock is from ours, by an answer to what was sent."""
    # What the way took is no difference of the clocks.
    skew = max(sent - there, there - now, 0)
    told = f"the clocks of this machine and of the server differ by {skew / 1000:.1f} s"
    if skew > FAR:
        return failure("clock", told, "set both by NTP")
    if skew > SKEW:
        return warning("clock", told, "set both by NTP")
    return well("clock", "this machine and the server have the same time")


def _passed(scheme: str, seen: Seen) -> Finding:
    tls = "; TLS ends before it" if scheme == "https" and seen.scheme == "http" else ""
    told = f"a signed call arrives as {seen.path} at {seen.host or 'no host'}{tls}"
    return well(_NAME, told)


def _headers(seen: Seen) -> Finding:
    lost = [name for name in SENT if name.lower() not in seen.headers]
    if lost:
        do = "let the proxy pass them on: webhooks, long polls and idempotency keys need them"
        return failure("headers", f"these do not arrive: {', '.join(lost)}", do)
    return well("headers", f"all {len(SENT)} arrive that the API and webhooks need")


async def _forged_name(session: Any, door: Door, url: str, now: Millis) -> Finding:
    """Whether the name that a browser sends is believed: by a genuine link of a run there is not.

    It is a 410 for whom it was made for, and for nobody else.
    """
    links = Links(door.secret)
    about = (f"doctor-{now}", "doctor", 0, NOBODY, "", now + FAR, "0")
    link = links.url(url, Link(LinkUse.APPROVE, *about, links.signer))
    get = session.get(link, headers={door.header: NOBODY}, allow_redirects=False)
    async with get as answer:
        if answer.status == 410:
            told = f"anybody can say who they are: {door.header} arrives as a browser sends it"
            do = "let the proxy set this header on every request that has the secret"
            return failure("names", told, do)
        return well("names", f"what a browser sends in {door.header} is not believed")


async def _authorization(session: Any, door: Door, url: str) -> Finding:
    headers = {"Authorization": f"Bearer {door.token}"}
    get = session.get(f"{url}/v1/workflows", headers=headers, allow_redirects=False)
    async with get as answer:
        if answer.status == 200:
            return well("authorization", "bearer tokens arrive")
        told = f"with a good bearer token, {url}/v1/workflows answers {answer.status}"
        do = "let the proxy pass the Authorization header on, and use none of its own for /v1"
        return failure("authorization", told, do)
