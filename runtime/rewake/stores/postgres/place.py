"""Where a PostgreSQL database is: libpq's address, and the schema that keeps one app apart.

    postgresql://USER:PASSWORD@HOST:PORT/DATABASE?schema=NAME

All but `schema` is libpq's: several hosts, `sslmode`, a service, a password file, the `PG...`
variables. Whatever is told of a place is told without its password.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from itertools import zip_longest
from urllib.parse import parse_qsl, quote, urlencode

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from rewake.errors import ConfigError

SCHEMA = "rewake"
"""The schema where none is named."""

_NAME = re.compile(r"[a-z_][a-z0-9_]{0,55}")
_FORM = (
    "postgresql://USER:PASSWORD@HOST/DATABASE?schema=NAME"
    " (in a password @ is %40, / is %2F and ? is %3F)"
)
_DEFAULTS = {
    "fallback_application_name": "rewake",
    "connect_timeout": "5",
    # A server that is gone without a word is noticed while an answer is waited for.
    "tcp_user_timeout": "10000",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
}
_VARIABLES = {
    "connect_timeout": "PGCONNECT_TIMEOUT",
    "target_session_attrs": "PGTARGETSESSIONATTRS",
}
"""What the environment may say of these instead."""

_ANY = {"target_session_attrs": "any"}
_WRITABLE = {"target_session_attrs": "read-write"}
"""Of several hosts the one that is the primary now, whoever was; and a name may lead to a replica
for a while. What that answers is old, and reads have to be of now."""


@dataclass(frozen=True)
class Place:
    """A schema of a database. `conninfo` has the password in it."""

    conninfo: str = field(repr=False)
    schema: str

    def __str__(self) -> str:
        """For people and logs."""
        about = conninfo_to_dict(self.conninfo)
        hosts = _texts(about.get("host") or about.get("hostaddr"))
        ports = _texts(about.get("port"))
        database = about.get("dbname") or about.get("service") or ""
        ports = ports * len(hosts) if len(ports) == 1 else ports
        ends = [f":{port}" if port else "" for port in ports]
        where = ",".join(map("".join, zip_longest(hosts, ends, fillvalue="")))
        return f"postgresql://{where}/{database}?schema={self.schema}"


def _texts(listed: object) -> list[str]:
    return str(listed or "").split(",")


def place_of(rest: str, *, writes: bool = True) -> Place:
    """The place that an address names; `rest` is what follows its scheme. Raises `ConfigError`.

    Unless the address says which hosts will do, it must be one to write to, if `writes`, or if
    there are several: whoever only reads may else have a replica alone.
    """
    if not rest.startswith("//"):
        raise ConfigError(f"this is no address of PostgreSQL: {_FORM}")
    try:
        place, _, query = rest.partition("?")
        _refuse_password_as_it_is(place)
        # To libpq a + is no space.
        given = parse_qsl(query.replace("+", "%2B"), keep_blank_values=True)
        kept = urlencode([pair for pair in given if pair[0] != "schema"], quote_via=quote)
        found = conninfo_to_dict(f"postgresql:{place}?{kept}")
        if not all(port.isdecimal() or not port for port in _texts(found.get("port"))):
            raise ValueError(_FORM)
    except (ValueError, psycopg.Error):
        # What is wrong is left out: it may be in the password.
        raise ConfigError(f"this is no address of PostgreSQL: {_FORM}") from None
    schema = dict(given).get("schema", SCHEMA)
    if not _NAME.fullmatch(schema):
        told = f"{schema!r} is no name of a schema: lower-case letters, digits and _, 56 at most"
        raise ConfigError(told)
    several = any("," in str(found.get(each, "")) for each in ("host", "hostaddr"))
    wanted = _WRITABLE if writes or several else _ANY
    ours = {**_DEFAULTS, **wanted}
    for said in [name for name, variable in _VARIABLES.items() if os.environ.get(variable)]:
        del ours[said]
    return Place(make_conninfo("", **{**ours, **found}), schema)


def _refuse_password_as_it_is(place: str) -> None:
    """Raise `ValueError` where libpq would take a part of a password for a host or a database."""
    credentials, _, path = place.removeprefix("//").partition("/")
    if "@" in path or credentials.count("@") > 1:
        raise ValueError(_FORM)
