"""The command line's files in the working directory, and the secret and token that it uses.

.rewake/rewake.db   the embedded database
.rewake/secret      the secret if REWAKE_SECRET is not set, made once (mode 0600)
"""

from __future__ import annotations

import os
from pathlib import Path

from rewake.errors import ConfigError
from rewake.hosts.config import ServerConfig, dev_secret
from rewake.hosts.databases import Address
from rewake.signing.secret import Secret
from rewake.signing.tokens import app_token

HOME = Path(".rewake")
DATABASE = HOME / "rewake.db"
SECRET = HOME / "secret"


def given_secret() -> Secret | None:
    """The secret in REWAKE_SECRET, if it is set. Raises `ConfigError`."""
    return ServerConfig.from_env().secret


def make_secret() -> Secret:
    """The secret in `.rewake`, which is made if there is none."""
    return _with_codec(dev_secret(HOME))


def _with_codec(secret: Secret) -> Secret:
    return secret.with_codec(ServerConfig.from_env().codec)


def find_secret() -> Secret:
    """The secret in REWAKE_SECRET, else in `.rewake`. Raises `ConfigError`."""
    given = given_secret()
    if given is not None:
        return given
    if not SECRET.is_file():
        raise ConfigError(f"there is no secret: set REWAKE_SECRET (there is no {SECRET} here)")
    return _with_codec(dev_secret(HOME))


def find_token() -> str:
    """REWAKE_TOKEN, or the token derived from the secret. Raises `ConfigError`."""
    given = ServerConfig.from_env().tokens
    if given:
        return given[0]
    try:
        return app_token(find_secret())
    except ConfigError:
        raise ConfigError(
            f"there is no token: set REWAKE_TOKEN or REWAKE_SECRET (there is no {SECRET} here)"
        ) from None


def decider(given: str | None) -> str | None:
    """Who decides: as given, else USER; an issuer's token (a JWT) says it, so nobody else does."""
    names_its_holder = os.environ.get("REWAKE_TOKEN", "").count(".") == 2
    return given or (None if names_its_holder else os.environ.get("USER"))


def database(given: str | None) -> Address:
    """The database's address: as given, else REWAKE_DB, else the file in `.rewake`."""
    db = given or os.environ.get("REWAKE_DB") or str(DATABASE)
    return Address(db, os.environ.get("REWAKE_BLOBS", ""))
