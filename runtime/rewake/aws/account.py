"""Who this process is to AWS, and where a service of it is: as botocore finds it.

Credentials, the region and endpoints come from wherever AWS's own tools take them: variables,
profiles, the roles of containers, functions and machines. What runs out is renewed in a thread,
some minutes before, so that no request waits for it.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from rewake.errors import ConfigError, StoreUnavailable

if TYPE_CHECKING:
    from botocore.session import Session

_PATIENCE: dict[str, Any] = {
    "connect_timeout": 3,
    "read_timeout": 20,
    "retries": {"mode": "standard", "total_max_attempts": 3},
}
"""How long a client of botocore waits: somebody waits for it."""
_AGAIN = 1.0
"""Seconds before credentials that were refused are looked for again."""
_INSTALL = "pip install 'rewake[aws]'"


class Keys(NamedTuple):
    """The credentials of a request."""

    access_key: str
    secret_key: str
    token: str | None


class Place(NamedTuple):
    """Where a service is, and for which region its requests are signed."""

    url: str
    region: str
    proxy: str | None = None
    """By which proxy it is reached."""
    authorities: str | None = None
    """The file of the authorities whose certificates are believed; None: those of the system."""


class Account:
    """The credentials of this process, and the places of services. Any thread may use it."""

    def __init__(self) -> None:
        self._session = _session()
        self._lock = threading.Lock()
        self._credentials: Any = None
        self._clients: dict[str, Any] = {}
        self._looked = -_AGAIN

    @property
    def session(self) -> Session:
        """The session of botocore."""
        return self._session

    def place(self, service: str) -> Place:
        """Where a service is. Raises `ConfigError` if no region is named, or a file is missing."""
        from botocore.utils import get_environ_proxies  # noqa: PLC0415

        client = self.client(service)
        url, authorities = client.meta.endpoint_url, self._session.get_config_variable("ca_bundle")
        if authorities is not None and not Path(authorities).is_file():
            raise ConfigError(f"AWS_CA_BUNDLE: there is no file {authorities}")
        proxy = get_environ_proxies(url).get(urlsplit(url).scheme)
        return Place(url, client.meta.region_name, proxy, authorities)

    def client(self, service: str) -> Any:
        """A client of botocore, for what is not done often. Raises `ConfigError`."""
        from botocore.config import Config  # noqa: PLC0415
        from botocore.exceptions import BotoCoreError, NoRegionError  # noqa: PLC0415

        try:
            with self._lock:  # a session is not for several threads at once; its clients are
                if service not in self._clients:
                    self._clients[service] = self._session.create_client(
                        service, region_name=_region(self._session), config=Config(**_PATIENCE)
                    )
                return self._clients[service]
        except NoRegionError as error:
            raise ConfigError("AWS needs a region: set AWS_REGION") from error
        except (BotoCoreError, ValueError) as error:
            raise ConfigError(f"AWS's settings: {error}") from error

    async def keys(self) -> Keys:
        """The credentials for a request that is made now. Raises `StoreUnavailable`."""
        found = self._credentials
        if found is None or getattr(found, "refresh_needed", bool)():
            return await asyncio.to_thread(self._fetched)
        return _frozen(found)

    async def renewed(self) -> Keys:
        """Other credentials, for those there are were refused: a file may have new ones."""
        return await asyncio.to_thread(self._anew)

    def _fetched(self) -> Keys:
        try:
            with self._lock:
                if self._credentials is None:
                    self._credentials = self._session.get_credentials()
                found = self._credentials
            if found is None:
                raise StoreUnavailable("there are no AWS credentials: set a profile, role or keys")
            # Without the lock: one thread renews them, and the others have those that still hold.
            return _frozen(found)
        except StoreUnavailable:
            raise
        except Exception as error:  # a role's service refuses, a token's file is gone, a clock lags
            told = " ".join(str(error).split())
            raise StoreUnavailable(f"no AWS credentials now: {told}") from error

    def _anew(self) -> Keys:
        with self._lock:
            # Many requests are refused at once, and one of them looks for all.
            if time.monotonic() - self._looked > _AGAIN:
                self._session, self._credentials = _session(), None
                self._looked = time.monotonic()
        return self._fetched()


def this_account() -> Account:
    """The account that the environment names, made once as long as that is the same."""
    return _account(tuple(sorted((k, v) for k, v in os.environ.items() if k.startswith("AWS_"))))


@functools.lru_cache(1)
def _account(_: tuple[tuple[str, str], ...]) -> Account:
    return Account()


def _frozen(credentials: Any) -> Keys:
    found = credentials.get_frozen_credentials()
    return Keys(found.access_key, found.secret_key, found.token)


def _session() -> Session:
    try:
        from botocore.session import get_session  # noqa: PLC0415
    except ImportError as error:
        raise ConfigError(f"AWS needs boto3: {_INSTALL}") from error
    logging.getLogger("botocore").setLevel(logging.WARNING)  # it tells of each endpoint it finds
    return get_session()


def _region(session: Session) -> str | None:
    """The region, by the name that AWS's other tools know and botocore does not as well."""
    found: str | None = os.environ.get("AWS_REGION") or session.get_config_variable("region")
    return found
