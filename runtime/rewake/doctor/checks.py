"""The checks, by name: of a server that runs, and of the settings that one would run with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rewake.clock import Clock
from rewake.doctor.encryption import encryption
from rewake.doctor.findings import Checks, Finding, failure, warning, well
from rewake.doctor.front import Door, front_door
from rewake.doctor.machine import room, secret_strength, token_strength, versions
from rewake.doctor.stored import archive, growth, keys_of_links, late, round_trip, tags
from rewake.engine.runs.runs import Runs
from rewake.errors import IssuerUnavailable
from rewake.identity.jwks import Jwks
from rewake.identity.settings import IdentitySettings
from rewake.signing.secret import Secret
from rewake.webhooks.hooks import Hook


def checks_of_machine(secret: Secret | None, folder: Path | None) -> Checks:
    """What can be checked without an app or a database."""
    return {
        "versions": versions,
        "secret": lambda: secret_strength(secret),
        "disk": lambda: room(folder),
    }


def checks_of_database(engine: Runs) -> Checks:
    """What can be checked in the database."""
    return {
        "database": lambda: round_trip(engine),
        "archive": lambda: archive(engine),
        "encryption": lambda: encryption(engine.services.secret, engine),
        "growth": lambda: growth(engine),
        "keys of links": lambda: keys_of_links(engine),
        "overdue": lambda: late(engine),
        "tags": lambda: tags(engine),
    }


def checks_of_surroundings(
    door: Door, identity: IdentitySettings, clock: Clock, *, running: bool = True
) -> Checks:
    """What can be checked over the network. Not `running`: the server need not have begun."""
    return {
        "address": lambda: front_door(door, clock, running=running),
        "token": lambda: token_strength(door.token),
        "identity": lambda: _identity(identity, clock),
    }


def hooks_found(hooks: Mapping[str, Hook]) -> Sequence[Finding]:
    """Whether the webhooks of the app have their secrets."""
    shut = {path: hook.shut for path, hook in hooks.items() if hook.shut}
    if not hooks:
        return [well("webhooks", "the app has none")]
    if not shut:
        return [well("webhooks", f"all {len(hooks)} have their secrets")]
    do = "set the environment variable that it names"
    return [failure("webhooks", f"/hooks/{path} is shut: {why}", do) for path, why in shut.items()]


async def _identity(identity: IdentitySettings, clock: Clock) -> Sequence[Finding]:
    proofs = " or ".join(sorted(identity.proofs)) or "the link alone"
    found = [well("identity", f"who decides is known by: {proofs}")]
    oidc = identity.oidc
    if oidc is None:
        return found
    try:
        count = await Jwks(oidc.issuer, clock).check()
    except IssuerUnavailable as error:
        do = "see REWAKE_OIDC_ISSUER, and that this machine reaches it; its tokens are refused"
        return [*found, failure("issuer", str(error), do)]
    if not any(oidc.grants.values()):
        told = f"{oidc.issuer} has {_keys(count)}, and its tokens allow nothing"
        do = "say in REWAKE_OIDC_SCOPES what they do, unless people only decide by links"
        return [*found, warning("issuer", told, do)]
    return [*found, well("issuer", f"{oidc.issuer} has {_keys(count)} that can be used")]


def _keys(count: int) -> str:
    return f"{count} key" if count == 1 else f"{count} keys"
