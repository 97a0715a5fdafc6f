"""Who may do what: the scopes of a token, and who it is that asks.

    start     start runs
    read      look at runs, their results, histories and logs
    decide    decide on approvals
    operate   cancel, kill, resume, retry, hold
    admin     all of these, erasing and purging runs, tokens and the audit log

A *principal* is whoever stands behind a request. It is known by a name (`who`), which is recorded
with what it does: `token:<name>` for an API token, `bootstrap` for the token of the server itself,
`oidc:<name>` for a person or machine that an issuer vouches for.
A token may be limited to some workflows; then runs of others do not exist for it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from rewake.errors import InsufficientScope, InvalidInput
from rewake.records import LATEST, Millis


class Scope(StrEnum):
    """What a token allows. Part of the stored format."""

    START = "start"
    READ = "read"
    DECIDE = "decide"
    OPERATE = "operate"
    ADMIN = "admin"


MOST_WORKFLOWS = 50
"""The most workflows that a token can be limited to."""
LONGEST_WORKFLOW = 64
"""The most characters of the name of one, as of any workflow."""
TENANT = r"[A-Za-z0-9][A-Za-z0-9_.:@-]{0,63}"
"""What a tenant may be called."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks for something, and what they may do. Without `workflows` it is of all of them.

    `identity`: whom an issuer says it is; empty: a token, which anybody may have. `tenant`: whose
    runs it is for; empty: everybody's.
    """

    who: str
    scopes: frozenset[str]
    workflows: frozenset[str] = frozenset()
    identity: str = ""
    tenant: str = ""

    @property
    def person(self) -> str | None:
        """Who decided, where a decision does not say: anybody may have the server's own token."""
        return None if self is BOOTSTRAP else self.identity or self.who

    def require(self, scope: Scope) -> None:
        """Raise `InsufficientScope` unless the scope is given."""
        if not {scope, Scope.ADMIN} & self.scopes:
            told = f"this token lacks the scope {scope}"
            raise InsufficientScope(told, scope=scope)

    def sees(self, workflow: str) -> bool:
        """Whether it may know of this workflow and its runs."""
        return not self.workflows or workflow in self.workflows

    @property
    def is_limited(self) -> bool:
        """Whether there are runs of which it may not know."""
        return bool(self.workflows or self.tenant)

    def owns(self, workflow: str, tenant: str) -> bool:
        """Whether it may know of a run of this workflow and tenant."""
        return self.sees(workflow) and self.tenant in ("", tenant)


BOOTSTRAP = Principal("bootstrap", frozenset({Scope.ADMIN}))
"""Whoever has the token of the server itself, with which the first API token is made."""


def of_token(name: str) -> str:
    """What whoever has the token of this name is called."""
    return f"token:{name}"


def check_tenant(tenant: str) -> None:
    """Raise `InvalidInput` unless `tenant` can be the name of a tenant, or is empty."""
    if tenant and not re.fullmatch(TENANT, tenant):
        what = "1 to 64 of a-z, A-Z, 0-9, '-', '_', '.', ':' and '@', a letter or digit first"
        raise InvalidInput(f"a tenant is {what}", field="tenant")


def check_grant(
    name: str,
    scopes: Sequence[str],
    workflows: Sequence[str],
    expires: Millis | None,
    now: Millis,
    tenant: str = "",
) -> None:
    """Raise `InvalidInput` unless a token like this can be made."""
    if not _NAME.fullmatch(name):
        told = "a token's name has 1 to 64 of a-z, A-Z, 0-9 and ._@+-, a letter or digit first"
        raise InvalidInput(told, field="name")
    known = ", ".join(Scope)
    unknown = [each for each in scopes if each not in list(Scope)]
    if unknown or not scopes:
        told = f"there is no scope {unknown[0]!r}" if unknown else "a token needs a scope"
        raise InvalidInput(f"{told} (there is: {known})", field="scopes")
    if len(workflows) > MOST_WORKFLOWS:
        told = f"a token is limited to at most {MOST_WORKFLOWS} workflows"
        raise InvalidInput(told, field="workflows")
    if not all(0 < len(each) <= LONGEST_WORKFLOW and each.isprintable() for each in workflows):
        told = f"a workflow's name has 1 to {LONGEST_WORKFLOW} printable characters"
        raise InvalidInput(told, field="workflows")
    # It could make itself a token without the limit.
    if workflows and Scope.ADMIN in scopes:
        told = "a token of scope admin cannot be limited to workflows"
        raise InvalidInput(told, field="workflows")
    check_tenant(tenant)
    if tenant and Scope.ADMIN in scopes:
        raise InvalidInput("a token of scope admin cannot be of a tenant", field="tenant")
    if expires is not None and not now < expires <= LATEST:
        raise InvalidInput("a token expires in the future", field="expires")
