"""What is stored beside runs: who is let in, what they did, and what is numbered.

Where each of these items lives is in `rewake.stores.keys`.
"""

from __future__ import annotations

import msgspec

Millis = int
"""A moment, as in `rewake.records`."""


class Token(msgspec.Struct, frozen=True, omit_defaults=True):
    """An API token: what it allows, and enough to tell it again. The token itself is kept nowhere.

    Scopes are text: one that a process does not know allows nothing there.
    """

    name: str
    digest: str
    """Of the token's text (`rewake.signing.api_tokens`)."""
    scopes: list[str]
    created: Millis
    by: str
    """Who made it."""
    workflows: list[str] = []
    """The workflows that it is limited to; empty: it is for all."""
    expires: Millis | None = None
    used: Millis | None = None
    """When it was last used, to the minute."""


class Audited(msgspec.Struct, frozen=True, omit_defaults=True):
    """An entry of the audit log: what somebody did, or was refused."""

    at: Millis
    who: str
    """A principal (`rewake.access`); empty: nobody that was recognised."""
    action: str
    status: int
    """As HTTP tells it: below 400 it was done."""
    run: str = ""
    about: str = ""
    """What else it was about: a workflow, an approval's key, a token's name."""
    client: str = ""
    """The address that it came from."""
    more: int = 0
    """How many before it were refused likewise and have no entry of their own."""


class Seen(msgspec.Struct, omit_defaults=True):
    """How often the page of an approval was looked at, about."""

    first: Millis
    last: Millis = 0
    times: int = 0


class Counter(msgspec.Struct, omit_defaults=True):
    """The number of the newest item of a series. It only rises."""

    last: int = 0
