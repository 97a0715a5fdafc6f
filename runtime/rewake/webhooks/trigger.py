"""`webhook`: that, and how, deliveries to a path start runs of a workflow."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rewake.errors import AppError
from rewake.webhooks.delivery import Delivery
from rewake.webhooks.schemes import Scheme

LONGEST_PATH = 100
LONGEST_WAIT = 60.0
"""Seconds that a delivery may wait for a result."""

Arguments = Callable[[Delivery], "Mapping[str, Any] | Awaitable[Mapping[str, Any] | None] | None"]
Key = Callable[[Delivery], "str | Awaitable[str | None] | None"]

_PATH = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*(/[A-Za-z0-9_-][A-Za-z0-9_.-]*)*", re.ASCII)


@dataclass(frozen=True, slots=True, eq=False)
class Webhook:
    """A path below `/hooks/`, and what becomes of what is sent there. Made by `webhook`."""

    path: str
    verify: Scheme
    arguments: Arguments | None
    key: Key | None
    wait: float
    strict: bool


def webhook(
    path: str,
    *,
    verify: Scheme,
    arguments: Arguments | None = None,
    key: Key | None = None,
    wait: float | None = None,
    strict: bool = False,
) -> Webhook:
    """A webhook: `@workflow(webhook=webhook("github/push", verify=github("GITHUB_SECRET")))`.

    `arguments` makes the arguments of a run of a delivery, or says None: not for us. Without it
    the fields of the body are the arguments, and what the workflow does not take is ignored unless
    `strict`. `key` names a delivery, instead of the provider's id. `wait`: how many seconds a
    delivery waits for the result. Functions may be async.

    Raises `AppError` for a path that cannot be one, and for what is no scheme.
    """
    if len(path) > LONGEST_PATH or not _PATH.fullmatch(path):
        raise AppError(
            f"{path!r} is no path of a webhook, such as 'github/push': up to {LONGEST_PATH} of"
            " a-z, A-Z, 0-9, '-', '_' and '.', with a slash between parts"
        )
    if not isinstance(verify, Scheme):
        raise AppError(
            f"webhook {path}: verify= is how its deliveries are verified, such as"
            " github(secret=...); to let anybody in, say anyone()"
        )
    for name, given in (("arguments", arguments), ("key", key)):
        if given is not None and not callable(given):
            raise AppError(f"webhook {path}: {name}= is a function of the delivery")
    if wait is not None and not 0 <= wait <= LONGEST_WAIT:
        raise AppError(f"webhook {path}: wait= is 0 to {LONGEST_WAIT:g} seconds")
    return Webhook(path, verify, arguments, key, wait or 0, strict)
