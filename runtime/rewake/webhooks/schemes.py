"""How a delivery proves who sent it.

A scheme is told the raw delivery and the secrets that are good, and says nothing or raises
`Unauthentic`. What the error says is for operators: a sender is always told the same, for one who
forges would learn from the difference. What decides, which algorithm, which header, how old, is the
app's choice and never that of the delivery.

Secrets are compared in constant time, each of them, so that the time tells neither how much of
a signature was right nor which of several secrets made it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, NamedTuple, TypeAlias

from rewake.errors import AppError, Unauthentic
from rewake.records import Millis
from rewake.webhooks.delivery import Delivery

TOLERANCE = 300
"""Seconds that the time of a signature may differ from now, in either direction."""
LONGEST_TOLERANCE = 30 * 86_400
"""The most seconds that it may differ: a signature that is good for ever has no time."""
SIGNATURES = 16
"""The most signatures of one delivery that are looked at."""

Secrets: TypeAlias = Sequence[bytes]
Found: TypeAlias = "str | bytes | Sequence[str | bytes] | None"
SecretSource: TypeAlias = "str | Callable[[Delivery], Found | Awaitable[Found]]"
"""The name of an environment variable, or several with commas; or a function of the delivery."""

_DECODERS: dict[str, Callable[[str], bytes]] = {
    "hex": bytes.fromhex,
    "base64": lambda text: base64.b64decode(text, validate=True),
}
_ENCODERS: dict[str, Callable[[bytes], str]] = {
    "hex": bytes.hex,
    "base64": lambda data: base64.b64encode(data).decode(),
}
_ALGORITHMS = ("sha1", "sha256", "sha384", "sha512")
_TIME = re.compile(r"[0-9]{1,12}", re.ASCII)
WRONG = "the signature is wrong: the secret is another one, or the body was changed on the way"
"""What an operator is told of a signature that is wrong, until more is known."""


class Answer(NamedTuple):
    """What a handshake is answered with."""

    text: str
    media_type: str = "text/plain"


class Scheme:
    """How deliveries are verified. `secret`: where its secrets come from.

    `handshake`: where the secrets of a `GET` come from, by which a provider asks whether the hook
    is meant; None: it does not ask.
    """

    def __init__(self, secret: SecretSource, *, handshake: SecretSource | None = None) -> None:
        for source in (secret, handshake) if handshake is not None else (secret,):
            if not (callable(source) or _names_variables(source)):
                raise AppError(
                    "secret= names an environment variable, in capitals, or is a function of the"
                    " delivery; what was given is neither (a secret is not for code)"
                )
        self.secret: SecretSource | None = secret
        self.handshake = handshake

    def secrets_of(self, texts: Iterable[bytes]) -> Secrets:
        """The secrets as they sign, made from how they are written. Raises `ValueError`."""
        return tuple(texts)

    def verify(self, delivery: Delivery, secrets: Secrets, now: Millis) -> None:
        """Raise `Unauthentic`, whose text is for operators, unless it was sent by who may."""
        raise NotImplementedError

    def id_of(self, delivery: Delivery) -> str | None:
        """The provider's id of a delivery that was verified."""
        return None

    def mark_of(self, delivery: Delivery) -> str | None:
        """What a verified delivery is known by if nothing gives it an id: what was signed, if that
        has a time, so that sending it again is not another delivery.
        """
        return None

    def challenge(self, delivery: Delivery) -> Answer | None:
        """The answer to a verified handshake; None if the delivery is none."""
        return None

    def sign(self, body: bytes, secret: bytes, now: Millis) -> dict[str, str]:
        """The headers of a delivery of this body that is sent now."""
        raise NotImplementedError

    def signed_body(self, body: bytes, secret: bytes) -> bytes:
        """The body as it is sent: some senders put the secret into it."""
        return body

    def without_proof(self, body: bytes) -> bytes:
        """The body without what proves in it who sent it: it was checked, and is for nobody else.

        Also of a delivery that was refused, whose proof may be right where the secret is wrong.
        """
        return body


# --- what schemes are made of -------------------------------------------------------------------


def only_header(delivery: Delivery, name: str) -> str:
    """A header that must be there, once. Raises `Unauthentic`."""
    found = delivery.headers.all(name)
    if len(found) != 1:
        told = "missing" if not found else "there more than once"
        raise Unauthentic(f"the header {name} is {told}")
    return found[0]


def is_one_of(secrets: Secrets, given: bytes) -> bool:
    """Whether this is one of the secrets, in constant time."""
    right = False
    for each in secrets:
        right |= hmac.compare_digest(each, given)
    return right


def signature(secret: bytes, content: bytes, algorithm: str = "sha256") -> bytes:
    """The HMAC of a content."""
    return hmac.digest(secret, content, algorithm)


def check_signature(
    given: Sequence[bytes], secrets: Secrets, content: bytes, algorithm: str = "sha256"
) -> None:
    """Raise `Unauthentic` unless one of the signatures is by one of the secrets."""
    right = False
    for secret in secrets:
        made = signature(secret, content, algorithm)
        for each in given[:SIGNATURES]:
            right |= hmac.compare_digest(made, each)
    if not right:
        raise Unauthentic(WRONG)


def decoded(text: str, encoding: str = "hex") -> bytes:
    """The bytes of a signature. Raises `Unauthentic`."""
    try:
        return _DECODERS[encoding](text)
    except (ValueError, binascii.Error):
        raise Unauthentic(f"the signature is not {encoding}") from None


def encoded(data: bytes, encoding: str = "hex") -> str:
    """A signature as it is written."""
    return _ENCODERS[encoding](data)


def whole_seconds(text: str) -> int:
    """The time of a signature, in seconds. Raises `Unauthentic`."""
    if not _TIME.fullmatch(text):
        raise Unauthentic("the time of the signature is no whole number of seconds")
    return int(text)


def tolerance_of(seconds: Any) -> float:
    """The tolerance of a scheme. Raises `AppError`: nothing is too old for NaN, nor for ever."""
    if not isinstance(seconds, int | float) or not 0 < seconds <= LONGEST_TOLERANCE:
        raise AppError(f"tolerance= is a number of seconds, up to {LONGEST_TOLERANCE:,}")
    return seconds


def check_fresh(time: int, now: Millis, tolerance: float) -> None:
    """Raise `Unauthentic` unless a signature was made just now."""
    age = now / 1000 - time
    if abs(age) > tolerance:
        told = f"{age:.0f} s ago" if age > 0 else f"{-age:.0f} s in the future"
        raise Unauthentic(
            f"the signature was made {told}, and {tolerance:g} s are allowed: it was sent again,"
            " or a clock is wrong"
        )


def mark(*parts: str | bytes) -> str:
    """A short name of what was signed."""
    whole = hashlib.sha256()
    for each in parts:
        whole.update(each.encode() if isinstance(each, str) else each)
        whole.update(b"\0")
    return f"sha256:{whole.hexdigest()}"


def new_id(now: Millis, body: bytes) -> str:
    """An id for a delivery that is made up."""
    return mark(str(now), body)[-32:]


def _names_variables(source: object) -> bool:
    if not isinstance(source, str):
        return False
    # In capitals, as such names are: a secret that was written here would be shown as missing.
    return all(re.fullmatch(r"\s*[A-Z_][A-Z0-9_]*\s*", each) for each in source.split(","))


# --- schemes of nobody in particular ------------------------------------------------------------


class Anyone(Scheme):
    """Verifies nothing."""

    def __init__(self) -> None:
        self.secret = self.handshake = None

    def verify(self, delivery: Delivery, secrets: Secrets, now: Millis) -> None:
        return

    def sign(self, body: bytes, secret: bytes, now: Millis) -> dict[str, str]:
        return {}


class _Bearer(Scheme):
    def __init__(self, secret: SecretSource, header: str, prefix: str) -> None:
        super().__init__(secret)
        self._header, self._prefix = header, prefix

    def verify(self, delivery: Delivery, secrets: Secrets, now: Millis) -> None:
        given = only_header(delivery, self._header)
        if given[: len(self._prefix)].lower() != self._prefix.lower():
            raise Unauthentic(f"the header {self._header} does not begin with {self._prefix!r}")
        if not is_one_of(secrets, given[len(self._prefix) :].strip().encode("latin-1")):
            raise Unauthentic(f"the token in {self._header} is another one")

    def sign(self, body: bytes, secret: bytes, now: Millis) -> dict[str, str]:
        return {self._header: self._prefix + secret.decode("latin-1")}


class _Basic(Scheme):
    def verify(self, delivery: Delivery, secrets: Secrets, now: Millis) -> None:
        scheme, _, given = only_header(delivery, "Authorization").partition(" ")
        if scheme.lower() != "basic":
            raise Unauthentic("the header Authorization is not of the scheme Basic")
        if not is_one_of(secrets, decoded(given.strip(), "base64")):
            raise Unauthentic("the user or the password is another one")

    def sign(self, body: bytes, secret: bytes, now: Millis) -> dict[str, str]:
        return {"Authorization": f"Basic {encoded(secret, 'base64')}"}


class _SharedHmac(Scheme):
    """`signed` has the parts `{body}`, `{timestamp}` and `{id}`, each at most once."""

    def __init__(
        self,
        secret: SecretSource,
        header: str,
        algorithm: str,
        encoding: str,
        prefix: str,
        timestamp: str | None,
        id: str | None,
        signed: str,
        tolerance: float,
    ) -> None:
        super().__init__(secret)
        if algorithm not in _ALGORITHMS:
            raise AppError(f"algorithm= is one of {', '.join(_ALGORITHMS)}")
        if encoding not in _DECODERS:
            raise AppError(f"encoding= is one of {', '.join(_DECODERS)}")
        self._header, self._prefix, self._timestamp, self._id = header, prefix, timestamp, id
        self._algorithm, self._encoding = algorithm, encoding
        self._tolerance = tolerance_of(tolerance)
        self._parts = re.split(r"(\{[a-z]+\})", signed)
        named = [each for each in self._parts if each.startswith("{")]
        allowed = {"{body}", "{timestamp}" if timestamp else "", "{id}" if id else ""}
        if "{body}" not in named or len(set(named)) != len(named) or not set(named) <= allowed:
            raise AppError(
                f"signed={signed!r} has {{body}}, and {{timestamp}} and {{id}} where their headers"
                " are named, each once"
            )
        if timestamp and "{timestamp}" not in named:
            raise AppError("a time that is not signed proves nothing: name {timestamp} in signed=")

    def verify(self, delivery: Delivery, secrets: Secrets, now: Millis) -> None:
        given = only_header(delivery, self._header)
        if not given.startswith(self._prefix):
            raise Unauthentic(f"the header {self._header} does not begin with {self._prefix!r}")
        time = only_header(delivery, self._timestamp) if self._timestamp else ""
        seconds = whole_seconds(time) if self._timestamp else 0
        name = only_header(delivery, self._id) if "{id}" in self._parts and self._id else ""
        found = decoded(given[len(self._prefix) :], self._encoding)
        content = self._content(delivery.body, time, name)
        check_signature([found], secrets, content, self._algorithm)
        if self._timestamp:
            check_fresh(seconds, now, self._tolerance)

    def id_of(self, delivery: Delivery) -> str | None:
        return delivery.headers.get(self._id) if self._id else None

    def mark_of(self, delivery: Delivery) -> str | None:
        if not self._timestamp:
            return None
        return mark(self._content(delivery.body, delivery.headers[self._timestamp], ""))

    def sign(self, body: bytes, secret: bytes, now: Millis) -> dict[str, str]:
        time, name, made = str(now // 1000), new_id(now, body), dict[str, str]()
        if self._timestamp:
            made[self._timestamp] = time
        if self._id:
            made[self._id] = name
        digest = signature(secret, self._content(body, time, name), self._algorithm)
        return made | {self._header: self._prefix + encoded(digest, self._encoding)}

    def _content(self, body: bytes, time: str, name: str) -> bytes:
        parts = {
            "{body}": body,
            "{timestamp}": time.encode(),
            "{id}": name.encode("latin-1"),
        }
        return b"".join(parts.get(each, each.encode()) for each in self._parts)


def anyone() -> Scheme:
    """No verification: whoever reaches the server starts runs."""
    return Anyone()


def bearer(secret: SecretSource, *, header: str = "Authorization", prefix: str = "") -> Scheme:
    """A token in a header: `Authorization: Bearer …`, or another header as it is.

    `bearer("GITLAB_TOKEN", header="X-Gitlab-Token")` is for GitLab.
    """
    is_standard = header.lower() == "authorization" and not prefix
    return _Bearer(secret, header, "Bearer " if is_standard else prefix)


def basic(secret: SecretSource) -> Scheme:
    """HTTP basic authentication; the secret is `user:password`."""
    return _Basic(secret)


def shared_hmac(
    secret: SecretSource,
    *,
    header: str,
    algorithm: str = "sha256",
    encoding: str = "hex",
    prefix: str = "",
    timestamp: str | None = None,
    id: str | None = None,
    signed: str | None = None,
    tolerance: float = TOLERANCE,
) -> Scheme:
    """An HMAC of the body in a header, as most providers send it.

    `timestamp` and `id` name the headers of when it was signed and of the delivery's id; `signed`
    is what the HMAC is of, by default `{body}`, or with a timestamp `{timestamp}.{body}`.
    """
    written = signed or ("{timestamp}.{body}" if timestamp else "{body}")
    return _SharedHmac(
        secret, header, algorithm, encoding, prefix, timestamp, id, written, tolerance
    )
