"""The views of API tokens and of the audit log."""

from __future__ import annotations

import msgspec

from rewake.ledger import Audited, Token
from rewake.views.moments import moment, moment_or_none


class TokenView(msgspec.Struct, frozen=True):
    """What a token allows. `used`: when it last was, to the minute; `by`: who made it. `tenant`: of
    whose runs.
    """

    name: str
    scopes: list[str]
    workflows: list[str]
    tenant: str | None
    expires: str | None
    created: str
    used: str | None
    by: str


class AuditedView(msgspec.Struct, frozen=True, omit_defaults=True):
    """An entry of the audit log. `outcome`: `done`, `refused`, or `failed` through no fault of who
    asked. `more`: so many before it were refused likewise and have no entry. `who` is null for a
    stranger.
    """

    at: str
    who: str | None
    action: str
    outcome: str
    status: int
    run: str = ""
    about: str = ""
    client: str = ""
    more: int = 0


def token_view(token: Token) -> TokenView:
    """The view of a token."""
    return TokenView(
        token.name,
        token.scopes,
        token.workflows,
        token.tenant or None,
        moment_or_none(token.expires),
        moment(token.created),
        moment_or_none(token.used),
        token.by,
    )


def audited_view(entry: Audited) -> AuditedView:
    """The view of an entry of the audit log."""
    outcome = "done" if entry.status < 400 else "refused" if entry.status < 500 else "failed"
    return AuditedView(
        moment(entry.at),
        entry.who or None,
        entry.action,
        outcome,
        entry.status,
        entry.run,
        entry.about,
        entry.client,
        entry.more,
    )
