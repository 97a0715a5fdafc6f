from __future__ import annotations

import subprocess
import sys

import pytest
from typer.testing import CliRunner

from rewake.cli.commands import app
from tests.cli.shell import Shell, clean_environment

COMMANDS = (
    ("dev",),
    ("init",),
    ("serve",),
    ("token",),
    ("run",),
    ("replay",),
    ("start",),
    *(("runs", name) for name in ("list", "show", "result", "history", "logs", "watch")),
    *(("runs", name) for name in ("cancel", "kill", "resume", "retry", "approve")),
    *(("callbacks", name) for name in ("complete", "fail")),
    *(("deliveries", name) for name in ("list", "show", "replay", "sign")),
)


def imported_by(statement: str) -> set[str]:
    """The modules that a fresh Python has after a statement."""
    code = f"{statement}; import sys; print(*sys.modules)"
    found = subprocess.run(
        [sys.executable, "-c", code],
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    return set(found.stdout.split())


def test_the_library_does_without_what_only_its_faces_need() -> None:
    """`import rewake` in user code, or in a Lambda, does not pay for the CLI or the server."""
    faces = {"typer", "rich", "starlette", "uvicorn", "aiohttp", "http.client"}
    assert not imported_by("import rewake") & faces
    assert not imported_by("from rewake import Client") & (faces - {"http.client"})
    assert "aiohttp" not in imported_by("from rewake import AsyncClient")


def test_help_does_without_what_only_commands_need() -> None:
    """`rewake --help` imports neither the server nor a client, so that it is quick."""
    found = imported_by("import rewake.cli.commands")
    assert not found & {"starlette", "uvicorn", "aiohttp", "watchfiles", "pdb", "sqlite3"}


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_explains_itself(command: tuple[str, ...]) -> None:
    """Each command has a help text that says what it does, and names its options."""
    result = CliRunner().invoke(app, [*command, "--help"])
    assert result.exit_code == 0
    assert "Usage: " in result.stdout
    assert "--help" in result.stdout


def test_the_overview_names_every_command_and_exit_code(shell: Shell) -> None:
    """`rewake --help`, and `rewake` alone, list the commands and what the exit codes mean."""
    help_text = shell.rewake("--help")
    assert help_text.returncode == 0
    assert all(command[0] in help_text.stdout for command in COMMANDS)
    assert "Exit codes: 0 done" in help_text.stdout
    assert shell.rewake().stdout == help_text.stdout


def test_the_version_is_said(shell: Shell) -> None:
    """`rewake --version` answers in one line."""
    result = shell.rewake("--version")
    assert (result.returncode, result.stdout.count("\n")) == (0, 1)
    assert result.stdout.startswith("rewake ")
