"""A proxy that logs people in, and says in a header who it was.

Anybody can send such a header. It is believed where the request also has the secret that the proxy
and the server share, in `Rewake-Identity-Secret`: so whoever reaches the server by another way than
the proxy is nobody. The address that a request comes from would not do. It is that of the proxy for
all that share its machine or its pod, and what `X-Forwarded-For` makes of it is up to who sends it.
The proxy must set both headers, whatever the browser sent; two of one are none.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from rewake.errors import ConfigError
from rewake.identity.names import is_name

PROOF: Final = "rewake-identity-secret"
FEWEST: Final = 16
"""The fewest characters of the secret."""

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]{1,64}", re.ASCII)
_OTHERS: Final = frozenset({"authorization", "cookie", "host", PROOF})


@dataclass(frozen=True, slots=True)
class ProxySettings:
    """The header, in small letters, and the secrets that are accepted (several, to change one)."""

    header: str
    secrets: tuple[str, ...] = field(repr=False)


def check_proxy(settings: ProxySettings) -> None:
    """Raise `ConfigError` unless a proxy can be believed by these settings."""
    if not _TOKEN.fullmatch(settings.header) or settings.header in _OTHERS:
        told = "the header in which the proxy says who is logged in, such as X-Forwarded-Email"
        raise ConfigError(f"REWAKE_IDENTITY_HEADER must be {told}")
    good = [each.isascii() and each.isprintable() for each in settings.secrets]
    if not good or not all(good) or any(len(each) < FEWEST for each in settings.secrets):
        told = (
            f"at least {FEWEST} ASCII characters, which the proxy sends in Rewake-Identity-Secret"
        )
        raise ConfigError(f"REWAKE_IDENTITY_SECRET must be {told}")


def name_in(settings: ProxySettings, headers: Sequence[tuple[bytes, bytes]]) -> str | None:
    """Who is logged in, as the proxy says by these headers of a request; None: it does not."""
    secret = _only(headers, PROOF)
    genuine = False
    for each in settings.secrets:
        genuine |= hmac.compare_digest(each.encode(), secret or b"")
    name = _only(headers, settings.header)
    if not genuine or name is None:
        return None
    try:
        text = name.decode().strip(" \t")
    except UnicodeDecodeError:
        return None
    return text if is_name(text) else None


def _only(headers: Sequence[tuple[bytes, bytes]], name: str) -> bytes | None:
    found = [value for each, value in headers if each.lower() == name.encode()]
    return found[0] if len(found) == 1 else None
