"""A project as `rewake init --host aws-lambda` makes it."""

from __future__ import annotations

from pathlib import Path

from rewake.cli.exits import Exit
from rewake.cli.local.init import stamp


def made(folder: Path) -> Path:
    """The folder, with the project in it."""
    folder.mkdir()
    assert stamp("aws-lambda", folder) is Exit.DONE
    return folder
