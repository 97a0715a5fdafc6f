"""`rewake serve`: the production server."""

from __future__ import annotations

from typing import Any, NoReturn

from rewake.cli.exits import Exit
from rewake.hosts.config import ServerConfig
from rewake.hosts.server import end_process
from rewake.hosts.server import serve as serve_until_told_to_end


def serve(*, tags: str | None, **given: Any) -> NoReturn:
    """Serve; settings that are not given come from the environment. Raises `RewakeError`."""
    listed = None if tags is None else tuple(each.strip() for each in tags.split(","))
    serve_until_told_to_end(ServerConfig.from_env(tags=listed, **given))
    end_process(Exit.DONE)
