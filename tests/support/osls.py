"""`osls`, which packages and deploys a `serverless.yml`: installed beside, once, and on demand."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import Distribution, distribution
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from tests.docs.markdown import ROOT
from tests.support.aws import SETTINGS, alone

VERSION = "4.3.1"
LINTER = "1.58.0"
"""The version of cfn-lint, which wants others of what we have, and is installed beside too."""
TOOLS = ROOT / ".venv-osls"
STAGE = "dev"
_COMPILED = shutil.ignore_patterns("__pycache__")
_QUIET = {
    "SLS_TELEMETRY_DISABLED": "1",
    "SLS_NOTIFICATIONS_MODE": "off",
    "NODE_NO_WARNINGS": "1",
    "CI": "1",
}


def package(project: Path, **params: str) -> dict[str, Any]:
    """Package a project, with no credentials and nobody to ask. Returns its template."""
    options = [f"--param={name}={text}" for name, text in params.items()]
    _run(project, "package", {"AWS_CONFIG_FILE": os.devnull}, *options)
    return template_of(project)


def deploy(project: Path, endpoint: str) -> None:
    """Deploy a project to what answers there."""
    given = {**SETTINGS, "AWS_ENDPOINT_URL": endpoint}
    _run(project, "deploy", given, "--region", SETTINGS["AWS_REGION"])


def template_of(project: Path) -> dict[str, Any]:
    """The template that a project was packaged to."""
    found: dict[str, Any] = json.loads(template_file(project).read_text())
    return found


def template_file(project: Path) -> Path:
    """Where that is."""
    return project / ".serverless" / "cloudformation-template-update-stack.json"


def vendor(project: Path) -> None:
    """Put what the functions need into the project, as `pip install --target lib` does.

    That is installed here already, so nothing is fetched or built.
    """
    lib = project / "lib"
    shutil.copytree(ROOT / "runtime" / "rewake", lib / "rewake", ignore=_COMPILED)
    for found in _needed("rewake", "aws"):
        for file in found.files or ():
            if ".." not in file.parts and "__pycache__" not in file.parts and file.suffix != ".pth":
                target = lib / file
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file.locate(), target)


def _needed(name: str, extra: str) -> Iterator[Distribution]:
    """A distribution with an extra, and all that it requires."""
    left, seen = [(name, extra)], set[str]()
    while left:
        name, extra = left.pop()
        if name in seen:
            continue
        seen.add(name)
        found = distribution(name)
        yield found
        for text in found.requires or ():
            wanted = Requirement(text)
            if wanted.marker is None or wanted.marker.evaluate({"extra": extra}):
                left.append((wanted.name, ",".join(wanted.extras)))


def lint(file: Path) -> str:
    """What cfn-lint finds in a template; what osls itself writes twice is none of it."""
    program = TOOLS / "lint" / "bin" / "cfn-lint"
    with alone():
        if not program.exists():
            _install(
                [sys.executable, "-m", "venv", "--clear", str(TOOLS / "lint")],
                [str(program.with_name("pip")), "install", "-q", f"cfn-lint=={LINTER}"],
            )
    found = subprocess.run(
        [program, "--ignore-checks", "W3005", "--", file],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return found.stdout + found.stderr


def _program() -> Path:
    program = TOOLS / "node_modules" / ".bin" / "osls"
    with alone():
        if not program.exists():
            if shutil.which("npm") is None:
                pytest.skip("npm is not installed, and osls is for Node")
            TOOLS.mkdir(exist_ok=True)
            quiet = ("--silent", "--no-audit", "--no-fund")
            _install(["npm", "install", *quiet, "--prefix", str(TOOLS), f"osls@{VERSION}"])
    return program


def _install(*commands: list[str]) -> None:
    try:
        for command in commands:
            subprocess.run(command, check=True, capture_output=True, timeout=600)
    except (OSError, subprocess.SubprocessError) as error:
        pytest.skip(f"what deploys cannot be installed: {error}")


def _run(project: Path, command: str, more: Mapping[str, str], *options: str) -> None:
    kept = {name: text for name, text in os.environ.items() if not re.match("AWS_|REWAKE_", name)}
    done = subprocess.run(
        [_program(), command, "--stage", STAGE, *options],
        cwd=project,
        env={**kept, **_QUIET, **more},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    told = done.stdout + done.stderr
    assert done.returncode == 0, told
    assert "Warning" not in told, told
