"""Where the secrets of hooks come from: the environment, read once, or a function of the app."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping

from msgspec import MsgspecError

from rewake.errors import ConfigError, InvalidInput, Unauthentic
from rewake.webhooks.delivery import Delivery
from rewake.webhooks.schemes import Found, Scheme, Secrets, SecretSource

_UNREADABLE = (
    InvalidInput,
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    MsgspecError,
    TypeError,
    ValueError,
)
"""What a function that cannot read a delivery raises. Anybody can send it such a one; while what it
asks may be down, and then a sender has to come again.
"""


def secrets_from(source: str, scheme: Scheme, environ: Mapping[str, str], path: str) -> Secrets:
    """The secrets in the variables that a source names. Raises `ConfigError`, which names them."""
    found: list[bytes] = []
    for name in (each.strip() for each in source.split(",")):
        texts = [each.strip().encode() for each in environ.get(name, "").split(",")]
        texts = [each for each in texts if each]
        if not texts:
            raise ConfigError(f"the secret of the hook {path} is missing: set {name}")
        try:
            found += scheme.secrets_of(texts)
        except ValueError as error:
            raise ConfigError(f"{name} cannot be a secret of the hook {path}: {error}") from None
    return found


async def secrets_for(source: SecretSource, scheme: Scheme, delivery: Delivery) -> Secrets:
    """The secrets that a function of the app names for a delivery, which nobody has verified yet.

    Raises `Unauthentic` if there are none, and if the function cannot read the delivery.
    """
    assert callable(source)
    try:
        found = source(delivery)
        if inspect.isawaitable(found):
            found = await found
        secrets = scheme.secrets_of(each for each in _texts(found) if each)
    except _UNREADABLE as error:
        told = f"the function that names its secret fails: {type(error).__name__}"
        raise Unauthentic(told) from error
    if not secrets:
        raise Unauthentic("the function that names its secret knows none for this delivery")
    return secrets


def _texts(found: Found) -> Iterable[bytes]:
    if found is None:
        return
    for each in [found] if isinstance(found, (str, bytes)) else found:
        yield each.encode() if isinstance(each, str) else each
