"""Archives of removed runs, by their addresses, and who fills them.

path/to/folder           on a disk that stays
s3://BUCKET[/PREFIX]     ?encryption=aws:kms, or none for a store that has none
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator

from msgspec import UNSET

from rewake.app import App
from rewake.engine.engine import Engine
from rewake.engine.keeping.archiving import Archiving
from rewake.engine.turns.bounds import usage_of
from rewake.errors import ConfigError
from rewake.hosts.config import ServerConfig, expanded
from rewake.keep import DEFAULT
from rewake.records import Header
from rewake.signing.secret import Secret
from rewake.stores.archive import Archive
from rewake.stores.folder import FolderShelf
from rewake.views.runs import UsageView, run_view
from rewake.views.whole import told_whole

_S3 = "s3://"


def open_archive(address: str, blobs: str = "") -> Archive:
    """The archive at an address. Raises `ConfigError`.

    `blobs`: where large values are, which are not to lie among what is archived.
    """
    if address.startswith(_S3):
        return _in_bucket(address, blobs)
    if "://" in address:
        raise ConfigError("REWAKE_ARCHIVE is a folder, s3://BUCKET or s3://BUCKET/PREFIX")
    folder = expanded(address)
    if not folder.is_dir():
        raise ConfigError(f"there is no folder {folder} for the archive: make it")
    place = folder.absolute()  # a task may change the current folder
    return Archive(lambda day: FolderShelf(place / day, place))


def _in_bucket(address: str, blobs: str) -> Archive:
    from rewake.aws.account import this_account  # noqa: PLC0415 - with its extra
    from rewake.aws.wire import SignedWire  # noqa: PLC0415
    from rewake.hosts.dynamodb import bucket_of  # noqa: PLC0415
    from rewake.stores.s3.shelf import S3Shelf  # noqa: PLC0415

    place = bucket_of(address, "REWAKE_ARCHIVE")
    if blobs and _overlap(place[:2], bucket_of(blobs, "REWAKE_BLOBS")[:2]):
        told = "a run of such a name would take the others along: give it a bucket of its own"
        raise ConfigError(f"REWAKE_ARCHIVE and REWAKE_BLOBS lie in one another: {told}")
    bucket, prefix, encryption = place
    account = this_account()
    wire = SignedWire(account, "s3", account.place("s3"), large=True)

    def shelf_of(day: str) -> S3Shelf:
        within = "/".join(filter(None, (prefix, day)))
        return S3Shelf(wire, bucket, within, encryption=encryption)

    return Archive(shelf_of)


async def wrong_with_archive(address: str, blobs: str = "") -> list[str]:
    """What does not fit of the archive at an address, a line each. Raises `ConfigError`."""
    archive = open_archive(address, blobs)
    try:
        return [f"the archive: {told}" for told in await archive.tried(secrets.token_hex(8))]
    finally:
        await archive.close()


def _overlap(one: tuple[str, str], other: tuple[str, str]) -> bool:
    """Whether what lies below one of two prefixes may lie below the other."""
    short, long = sorted((f"{one[1]}/".lstrip("/"), f"{other[1]}/".lstrip("/")), key=len)
    return one[0] == other[0] and long.startswith(short)


def archives_of(app: App, config: ServerConfig) -> list[str]:
    """The names of workflows of which runs are to be archived."""
    usual = config.keep.after(DEFAULT)
    kept = {
        name: usual if each.keep is None else each.keep.after(usual)
        for name, each in app.workflows.items()
    }
    return sorted(name for name, keep in kept.items() if keep.archived)


def check_archive(app: App, config: ServerConfig) -> None:
    """Raise `ConfigError` if runs are to be archived, and it is not said where."""
    named = archives_of(app, config)
    if named and not config.archive:
        told = "set REWAKE_ARCHIVE to a folder, or s3://BUCKET/PREFIX"
        raise ConfigError(f"runs of {named[0]} are to be archived (keep), and nowhere: {told}")
    if config.archive and not config.archive.startswith(_S3) and not config.runs_on.keeps_files:
        title = config.runs_on.title
        raise ConfigError(f"{title}: each instance has a disk of its own: archive to s3://BUCKET")


def fill(archive: Archive, engine: Engine, secret: Secret) -> None:
    """Let an engine archive the runs that it removes."""
    engine.services.keeping.archiving = archiving_of(archive, engine, secret)


def archiving_of(archive: Archive, engine: Engine, secret: Secret) -> Archiving:
    """What archives the runs of an engine."""

    async def tell(ended: Header) -> AsyncGenerator[bytes]:
        outcome = await engine.outcome(ended)
        usage = UsageView(*usage_of(ended, engine.settings))
        view = run_view(ended, outcome, [], UNSET, secret, usage)
        async for part in told_whole(engine.services.store, ended, view, secret):
            yield part

    return Archiving(archive, tell, secret)
