"""The settings of a server: from the command line, and otherwise from the environment."""

from __future__ import annotations

import importlib
import ipaddress
import os
import re
import secrets
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from rewake.dispatchers.http import checked_url
from rewake.errors import ConfigError
from rewake.hosts.hosts import HOSTS, Host
from rewake.hosts.log_formats import LOG_FORMATS
from rewake.identity.oidc import Grants, read_grants
from rewake.identity.settings import IdentitySettings, identity_settings
from rewake.keep import DEFAULT, Keep, keep_in
from rewake.signing.aes_gcm import AesGcm, keys_in
from rewake.signing.payloads import PayloadCodec
from rewake.signing.secret import Secret
from rewake.stores.folder import write_once
from rewake.tags import Served, checked_tag, served

DISPATCHERS = ("in-process", "http", "sqs", "lambda")
"""How messages may travel."""

_ORIGIN = re.compile(r"https?://[a-z0-9.-]+(:[0-9]{1,5})?|https?://\[[0-9a-f:]+\](:[0-9]{1,5})?")
_LEVELS = ("debug", "info", "warning", "error")


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """The settings of a server. Durations are in seconds."""

    app: str = "app.py"
    """A file or a module."""
    host: str = "127.0.0.1"
    """Where to listen."""
    port: int = 8000
    """The port; 0 takes any."""
    db: str = ".rewake/rewake.db"
    """The address of the database: a SQLite file, or another that `databases` knows."""
    blobs: str = ""
    """Where large values are, if not in the database."""
    dispatcher: str = "in-process"
    """How messages travel. `http`: they go to `url`, and any replica takes any message. `sqs`: they
    wait in `queue`. `lambda`: they invoke `function`; those that have to wait do so in `queue`."""
    queue: str = ""
    """The name or URL of an SQS queue."""
    dead_letters: str = ""
    """The same of the queue of messages that cannot be handled; empty: `queue` with `-dead`."""
    function: str = ""
    """The name or ARN of a Lambda function."""
    consume: bool = True
    """Whether this process takes messages from the queue; not where Lambda brings them."""
    url: str = ""
    """The one address of all replicas."""
    tags: tuple[str, ...] = ()
    """What is served: tasks of these tags, and what has none if `default` is among them; without
    any, what has none."""
    routes: Mapping[str, str] = field(default_factory=dict)
    """By tag: the address to which messages for its tasks go."""
    platform: str = "container"
    """Where it runs: a name of `rewake.hosts.hosts`."""
    deadline: float = 0.0
    """How long a request may take there; 0: as long as is usual there."""
    lease: float = 5.0
    """After how long a dead replica is noticed."""
    cached: int = 256
    """How many suspended runs stay in memory."""
    tasks: int = 100
    """How many attempts run at once."""
    waiting: int = 500
    """How many requests may wait for results at once."""
    backlog: int = 1_000
    entries: int = 200_000
    value: int = 256 * 1024 * 1024
    """How many turns of runs may wait for this process before starts are refused."""
    grace: float = 5.0
    """How long work may go on at the end."""
    blocked: float = 30.0
    """How long one task, step or body may block the event loop before it is given up."""
    keep: Keep = DEFAULT
    """How long runs are kept once they have ended, where their workflow does not say."""
    archive: str = ""
    """Where runs are archived before they are removed, if they are: a folder, or a bucket."""
    events_kept: float = 7 * 86_400.0
    """How many seconds events are kept, for waits that are asked for after them."""
    proxies: tuple[str, ...] = ()
    """The addresses or networks of proxies that are believed where a request comes from."""
    cors: tuple[str, ...] = ()
    """The origins whose pages may read streams by links; `*`: any."""
    log_level: str = "info"
    """One of debug, info, warning, error."""
    log_format: str = "text"
    """`text` for people, or `json`: an object a line."""
    secret: Secret | None = None
    """The secret that signs, and with it the payload codec."""
    codec: PayloadCodec | None = None
    """What users' data passes on its way to the store and back."""
    keys: dict[str, bytes] = field(default_factory=dict, repr=False)
    """The keys that encrypt it, by id; the first one encrypts, all of them decrypt."""
    tokens: tuple[str, ...] = field(default=(), repr=False)
    """The bearer tokens; by default one that is derived from the secret."""
    oidc_issuer: str = ""
    """Whose bearer tokens are accepted too."""
    oidc_audience: str = ""
    """For whom these must be."""
    oidc_scopes: Grants = field(default_factory=dict)
    """What they allow."""
    oidc_name: str = ""
    """The claim that says who has one."""
    identity_proofs: tuple[str, ...] = ()
    """What a person must prove who decides: see `rewake.identity.settings`."""
    identity_header: str = ""
    """The header in which a proxy says who is logged in."""
    identity_secrets: tuple[str, ...] = field(default=(), repr=False)
    """What it must send beside it."""

    @property
    def served(self) -> Served | None:
        """What is served; None if that is not said. Raises `ConfigError`."""
        try:
            return served(self.tags) if self.tags else None
        except ValueError as error:
            raise ConfigError(f"REWAKE_TAGS: {error}") from None

    @property
    def identity(self) -> IdentitySettings:
        """Whom the server believes who somebody is. Raises `ConfigError`."""
        return identity_settings(
            issuer=self.oidc_issuer,
            audience=self.oidc_audience,
            name=self.oidc_name,
            grants=self.oidc_scopes,
            proofs=self.identity_proofs,
            header=self.identity_header,
            secrets=self.identity_secrets,
        )

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ, **given: Any) -> ServerConfig:
        """The settings in the environment; a `given` one that is not None replaces its variable.

        Raises `ConfigError`, which names the variable.
        """
        known = {each.name for each in fields(cls)}
        values = {
            name: _read(variable, environ[variable], reader)
            for name, (variable, reader) in SETTINGS.items()
            if _is_set(environ, variable)
        }
        values |= {k: v for k, v in given.items() if v is not None and k in known}
        config = cls(**_usual(environ) | _of_platform(values))
        for wrong in _misfits(config):
            raise wrong
        return config._complete()

    @property
    def runs_on(self) -> Host:
        """The host that it runs on, with what is set of it."""
        host = HOSTS[self.platform]
        return replace(host, deadline=self.deadline) if self.deadline else host

    def _complete(self) -> ServerConfig:
        """The settings with the codec of their keys, which a secret that is given takes along."""
        made = replace(self, codec=AesGcm(self.keys)) if self.keys else self
        return made if made.secret is None else made.with_secret(made.secret)

    @classmethod
    def as_far_as_it_goes(
        cls, environ: Mapping[str, str] = os.environ, **given: Any
    ) -> tuple[ServerConfig, list[ConfigError]]:
        """The settings that can be read, and what is wrong with the others: their defaults stand.

        It is for telling all that is wrong at once; a server does not begin with any of it.
        """
        values: dict[str, Any] = {}
        wrong: list[ConfigError] = []
        for name, (variable, reader) in SETTINGS.items():
            try:
                if _is_set(environ, variable):
                    values[name] = _read(variable, environ[variable], reader)
            except ConfigError as error:
                wrong.append(error)
        values |= {k: v for k, v in given.items() if v is not None}
        config = cls(**_usual(environ) | _of_platform(values))
        wrong += _misfits(config)
        return config if wrong else config._complete(), wrong

    def with_secret(self, secret: Secret) -> ServerConfig:
        """The settings with this secret, unless they have one already, and its codec."""
        return replace(self, secret=(self.secret or secret).with_codec(self.codec))


def _is_set(environ: Mapping[str, str], variable: str) -> bool:
    """Whether a variable says something. Kubernetes has one that is called as the port is, in which
    it tells pods the address of a service `rewake`.
    """
    text = environ.get(variable, "")
    return text != "" and not (variable == "REWAKE_PORT" and text.startswith(("tcp://", "udp://")))


def _usual(environ: Mapping[str, str]) -> dict[str, Any]:
    """The port that many platforms say in `PORT`."""
    text = environ.get("PORT", "")
    return {"port": int(text)} if text.isdecimal() else {}


def _of_platform(values: dict[str, Any]) -> dict[str, Any]:
    """The settings, with what is usual on their platform."""
    host = HOSTS.get(values.get("platform", ""))
    return values if host is None else {"lease": host.lease, **values}


def _texts(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _routes(text: str) -> Mapping[str, str]:
    """Addresses by tag. The address is left out of an error: a password may be in it."""
    found: dict[str, str] = {}
    for part in _texts(text):
        tag, sign, address = (each.strip() for each in part.partition("="))
        try:
            checked_tag(tag)
        except ValueError as error:
            raise ConfigError(f"REWAKE_ROUTES: {error}") from None
        if not sign or not address or tag in found:
            raise ConfigError(f"REWAKE_ROUTES: {tag} needs one address: TAG=ADDRESS,TAG=ADDRESS")
        found[tag] = address
    return found


def _secret(text: str) -> Secret:
    current, *previous = _texts(text)
    return Secret(current, *previous)


def _codec(text: str) -> PayloadCodec:
    """The codec that `module:name` names. Raises `ConfigError`."""
    module, _, name = text.partition(":")
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        found = getattr(importlib.import_module(module), name)
    except Exception as error:  # whatever a module of users raises
        told = f"REWAKE_CODEC names no module:name that can be imported ({type(error).__name__})"
        raise ConfigError(told) from error
    if isinstance(found, type) or not all(callable(getattr(found, each, 0)) for each in _CODERS):
        raise ConfigError(f"REWAKE_CODEC: {name} is no object with the methods encode and decode")
    codec: PayloadCodec = found
    return codec


_CODERS = ("encode", "decode")


def _networks(text: str) -> tuple[str, ...]:
    return tuple(str(ipaddress.ip_network(part)) for part in _texts(text))


def _origins(text: str) -> tuple[str, ...]:
    """Origins as a browser says them: a scheme, a host, perhaps a port, and nothing more."""
    found = tuple(each.lower() for each in _texts(text))
    if not all(each == "*" or _ORIGIN.fullmatch(each) for each in found):
        raise ValueError(text)
    return found


def _keep(text: str) -> Keep:
    """How long runs are kept. Raises `ConfigError`, which says how that is written."""
    try:
        return keep_in(text)
    except ValueError:
        told = "REWAKE_KEEP is 30d (or s, m, h), forever, or by state: done=7d,failed=90d+archive"
        raise ConfigError(told) from None


def _kept(text: str) -> float:
    """How many seconds events are kept. Raises `ConfigError`, which says how that is written."""
    found: int | None = None
    with suppress(ValueError):
        found = None if "=" in text else next(iter(keep_in(text).spans.values()))
    if not found:
        raise ConfigError("REWAKE_EVENTS_KEPT is 7d (or s, m, h)")
    return found / 1000


def _yes_or_no(text: str) -> bool:
    return {"yes": True, "no": False}[text.lower()]


SETTINGS: Mapping[str, tuple[str, Callable[[str], Any]]] = {
    "app": ("REWAKE_APP", str),
    "host": ("REWAKE_HOST", str),
    "port": ("REWAKE_PORT", int),
    "db": ("REWAKE_DB", str),
    "blobs": ("REWAKE_BLOBS", str),
    "dispatcher": ("REWAKE_DISPATCHER", str),
    "queue": ("REWAKE_QUEUE", str),
    "dead_letters": ("REWAKE_DEAD_LETTERS", str),
    "function": ("REWAKE_FUNCTION", str),
    "consume": ("REWAKE_CONSUME", _yes_or_no),
    "url": ("REWAKE_URL", str),
    "tags": ("REWAKE_TAGS", _texts),
    "routes": ("REWAKE_ROUTES", _routes),
    "platform": ("REWAKE_PLATFORM", str),
    "deadline": ("REWAKE_DEADLINE", float),
    "lease": ("REWAKE_LEASE", float),
    "cached": ("REWAKE_CACHED", int),
    "tasks": ("REWAKE_TASKS", int),
    "waiting": ("REWAKE_WAITING", int),
    "backlog": ("REWAKE_BACKLOG", int),
    "entries": ("REWAKE_MOST_ENTRIES", int),
    "value": ("REWAKE_LARGEST_VALUE", int),
    "grace": ("REWAKE_GRACE", float),
    "blocked": ("REWAKE_BLOCKED", float),
    "keep": ("REWAKE_KEEP", _keep),
    "archive": ("REWAKE_ARCHIVE", str),
    "events_kept": ("REWAKE_EVENTS_KEPT", _kept),
    "proxies": ("REWAKE_PROXIES", _networks),
    "cors": ("REWAKE_CORS", _origins),
    "log_level": ("REWAKE_LOG_LEVEL", str.lower),
    "log_format": ("REWAKE_LOG_FORMAT", str.lower),
    "secret": ("REWAKE_SECRET", _secret),
    "codec": ("REWAKE_CODEC", _codec),
    "keys": ("REWAKE_ENCRYPTION_KEYS", keys_in),
    "tokens": ("REWAKE_TOKEN", _texts),
    "oidc_issuer": ("REWAKE_OIDC_ISSUER", str),
    "oidc_audience": ("REWAKE_OIDC_AUDIENCE", str),
    "oidc_scopes": ("REWAKE_OIDC_SCOPES", read_grants),
    "oidc_name": ("REWAKE_OIDC_NAME", str),
    "identity_proofs": ("REWAKE_IDENTITY", _texts),
    "identity_header": ("REWAKE_IDENTITY_HEADER", str),
    "identity_secrets": ("REWAKE_IDENTITY_SECRET", _texts),
}
"""By setting: its environment variable, and the function that reads its text."""


def _read(variable: str, text: str, reader: Callable[[str], Any]) -> Any:
    try:
        return reader(text)
    except (ValueError, KeyError):
        # The text is left out: a secret may have ended up in the wrong variable.
        raise ConfigError(f"{variable} cannot be read as {reader.__name__.strip('_')}") from None


_NEEDED = (
    ("http", "url", "the address of all replicas"),
    ("sqs", "queue", "the name or URL of a queue"),
    ("lambda", "function", "the name or ARN of a function"),
)
"""What a dispatcher cannot do without."""


def _misfits(config: ServerConfig) -> Iterator[ConfigError]:
    """What is wrong with settings that could be read."""
    for name, holds, wanted in (
        ("port", 0 <= config.port <= 65535, "0 to 65535"),
        ("lease", 0.1 <= config.lease <= 3600, "0.1 to 3600 seconds"),
        ("grace", 0 <= config.grace <= 3600, "0 to 3600 seconds"),
        ("blocked", 1 <= config.blocked <= 3600, "1 to 3600 seconds"),
        ("cached", config.cached >= 0, "0 or more"),
        ("tasks", config.tasks >= 1, "1 or more"),
        ("waiting", config.waiting >= 0, "0 or more"),
        ("backlog", config.backlog >= 1, "1 or more"),
        ("entries", config.entries >= 100, "100 or more"),
        ("value", config.value >= 1024, "1024 or more"),
        ("platform", config.platform in HOSTS, ", ".join(HOSTS)),
        ("deadline", 0 <= config.deadline <= 86_400, "0 to 86400 seconds"),
        ("dispatcher", config.dispatcher in DISPATCHERS, " or ".join(DISPATCHERS)),
        ("log_level", config.log_level in _LEVELS, ", ".join(_LEVELS)),
        ("log_format", config.log_format in LOG_FORMATS, " or ".join(LOG_FORMATS)),
    ):
        if not holds:
            yield ConfigError(f"{SETTINGS[name][0]} must be {wanted}")
    if config.codec is not None and config.keys:
        yield ConfigError("set REWAKE_CODEC or REWAKE_ENCRYPTION_KEYS, not both")
    try:
        _ = config.identity, config.served
        if config.url:
            checked_url(config.url)
    except ConfigError as error:
        yield error
    for dispatcher, setting, told in _NEEDED:
        if config.dispatcher == dispatcher and not getattr(config, setting):
            yield ConfigError(
                f"the {dispatcher} dispatcher needs {told}: set {SETTINGS[setting][0]}"
            )


# --- the secret of a development server ----------------------------------------------------------


def dev_secret(folder: Path) -> Secret:
    """The secret in `folder`, made if there is none, readable by its owner only.

    Among processes that start at once, the first decides for all.
    """
    make_home(folder)
    path = folder / "secret"
    if not path.exists():
        write_once(path, secrets.token_urlsafe(32).encode())
    return Secret(path.read_text().strip())


def expanded(path: str) -> Path:
    """The path, with somebody's folder for its `~`. Raises `ConfigError` if he has none."""
    try:
        return Path(path).expanduser()
    except RuntimeError:  # in a container a user may have neither a name nor HOME
        raise ConfigError(f"there is no folder of a user for the ~ of {path}: name it") from None


def make_home(folder: Path) -> None:
    """Make the folder of an app's own files: for its owner only, and not for a repository."""
    folder.mkdir(parents=True, exist_ok=True)
    with suppress(PermissionError):  # it is somebody else's, who has shared it
        folder.chmod(0o700)
    ignored = folder / ".gitignore"
    if not ignored.exists():
        ignored.write_text("*\n")
