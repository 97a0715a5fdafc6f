"""`rewake serve`: the production server."""

from __future__ import annotations

from typing import Any, NoReturn

from rewake.cli.exits import Exit
from rewake.hosts.config import ServerConfig
from rewake.hosts.server import end_process
from rewake.hosts.server import serve as serve_until_told_to_end


def serve(**given: Any) -> NoReturn:
    """Serve; settings that are not given come from the environment. Raises `RewakeError`."""
    serve_until_told_to_end(ServerConfig.from_env(**given))
    end_process(Exit.DONE)
