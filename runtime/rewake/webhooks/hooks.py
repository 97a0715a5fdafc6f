"""The hooks of a server: its webhooks, with the secrets that its environment has for them.

Secrets are read when the server begins, not when an app is imported. A server with a hook whose
secret is missing does not begin; in development that hook alone is shut. A hook is never open for
want of a secret.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from rewake.errors import ConfigError
from rewake.records import Millis
from rewake.webhooks.delivery import Delivery
from rewake.webhooks.schemes import Anyone, Scheme, Secrets, SecretSource
from rewake.webhooks.secrets import secrets_for, secrets_from
from rewake.webhooks.trigger import Webhook

log = logging.getLogger("rewake.hooks")


@dataclass(frozen=True, slots=True)
class Hook:
    """A webhook of a workflow, with its secrets by source. `shut`: why it takes nothing."""

    webhook: Webhook
    workflow: str
    secrets: Mapping[SecretSource, Secrets] = field(repr=False)
    shut: str = ""

    @property
    def scheme(self) -> Scheme:
        """How its deliveries are verified."""
        return self.webhook.verify

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods that it answers."""
        return ("POST",) if self.scheme.handshake is None else ("GET", "POST")

    async def verify(self, delivery: Delivery, now: Millis) -> None:
        """Raise `Unauthentic`, whose text is for operators, unless it was sent by who may."""
        scheme = self.scheme
        source = scheme.secret if delivery.method == "POST" else scheme.handshake
        secrets: Secrets = ()
        if isinstance(source, str):
            secrets = self.secrets[source]
        elif source is not None:
            secrets = await secrets_for(source, scheme, delivery)
        scheme.verify(delivery, secrets, now)


def hooks_of(
    webhooks: Iterable[tuple[Webhook, str]],
    environ: Mapping[str, str],
    *,
    development: bool = False,
) -> dict[str, Hook]:
    """The hooks by path, of webhooks and the names of their workflows.

    Raises `ConfigError` for a secret that is missing or wrong; in development it is a warning.
    """
    found: dict[str, Hook] = {}
    for each, workflow in webhooks:
        try:
            hook = Hook(each, workflow, _secrets(each, environ))
        except ConfigError as error:
            if not development:
                raise
            log.warning("%s; until then it answers 503", error)
            hook = Hook(each, workflow, {}, shut=str(error))
        if isinstance(each.verify, Anyone) and not development:
            log.warning("anyone may start %s at /hooks/%s", workflow, each.path)
        found[each.path] = hook
    return found


def _secrets(webhook: Webhook, environ: Mapping[str, str]) -> dict[SecretSource, Secrets]:
    scheme = webhook.verify
    # What a provider's question is answered by is a text as it is.
    sources = ((scheme.secret, scheme), (scheme.handshake, Anyone()))
    return {
        source: secrets_from(source, by, environ, webhook.path)
        for source, by in sources
        if isinstance(source, str)
    }
