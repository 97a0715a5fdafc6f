"""`rewake init`: a project for a host that works here as it is."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

from rewake.cli.exits import Exit
from rewake.cli.init_command import NAMES
from rewake.cli.local.init import STAMPS, stamp, text_of
from rewake.hosts.hosts import HOSTS
from tests.cli.shell import Shell, clean_environment
from tests.docs.markdown import ROOT

ENTRIES = {
    "asgi": "asgi:app",
    "wsgi": "wsgi:application",
    "aws-lambda": "handlers.aws_lambda:handler",
    "cloud-functions": "main:rewake",
    "azure-functions": "function_app:app",
    "vercel": "api.index:app",
}
"""What a platform looks for in a project, of those that need a file for it."""
SENT = {
    "container": (".dockerignore",),
    "cloud-run": (".dockerignore", ".gcloudignore"),
    "cloud-functions": (".gcloudignore",),
    "azure-functions": (".funcignore",),
    "vercel": (".vercelignore",),
}
"""What says of the hosts that are sent the whole folder what of it is left out."""


@pytest.mark.parametrize("host", NAMES)
def test_a_project_is_made_and_never_overwritten(host: str, shell: Shell) -> None:
    """Each host has a project; a second one in its place is refused before anything is written."""
    made = shell.rewake("init", "--host", host, "shop")
    assert made.returncode == 0, made.stderr
    assert f"made {Path('shop/app.py')}" in made.stdout
    assert "rewake dev" in (shell.folder / "shop" / "README.md").read_text()

    (shell.folder / "shop" / "app.py").write_text("mine")
    (shell.folder / "shop" / "README.md").unlink()
    again = shell.rewake("init", "--host", host, "shop")
    assert again.returncode == 2
    assert "shop has app.py, " in again.stderr
    assert again.stderr.count("\n") == 1
    assert (shell.folder / "shop" / "app.py").read_text() == "mine"
    assert not (shell.folder / "shop" / "README.md").exists()


@pytest.mark.parametrize("host", ENTRIES)
def test_what_a_platform_looks_for_is_there(host: str, tmp_path: Path) -> None:
    """The file of a host can be imported in its project, and has what the platform calls."""
    assert Shell(tmp_path).rewake("init", "--host", host).returncode == 0
    module, _, name = ENTRIES[host].partition(":")
    code = f"import {module} as made; print(type(made.{name}).__name__)"
    given = clean_environment(
        REWAKE_SECRET="a secret that only tests may know",
        REWAKE_DISPATCHER="http" if host in HOSTS and not HOSTS[host].goes_on else "in-process",
        REWAKE_URL="https://shop.example",
        REWAKE_DB="shop.db",
    )
    given["PYTHONPATH"] = os.pathsep.join([given["PYTHONPATH"], str(tmp_path)])
    found = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=given,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr


def test_the_app_of_a_project_works_at_once(shell: Shell) -> None:
    """`rewake dev`, without any argument, serves what was made."""
    assert shell.rewake("init").returncode == 0
    with shell.begin("dev", "--port", "0") as server:
        server.says("workflows")
        found = re.search(r"on (http://\S+)", server.stdout)
        assert found is not None
        begun = shell.rewake(
            "start", "main", "--input", '{"name": "Ada"}', "--wait", "20", "--server", found[1]
        )
        assert "Hello, Ada!" in begun.stdout, begun.stderr + server.stderr


def test_a_host_that_is_none(shell: Shell) -> None:
    """A name that is none is one line that lists them."""
    found = shell.rewake("init", "--host", "mainframe")
    assert found.returncode == 2
    assert "aws-lambda" in found.stderr
    assert not list(shell.folder.glob("*.py"))


def test_what_is_stamped_is_what_is_deployed() -> None:
    """The files of a project are those of the repository, and every host has its own."""
    assert set(NAMES) == set(STAMPS) == set(HOSTS)
    for file in (ROOT / "handlers").glob("*.py"):
        assert text_of(f"{file.name}.txt") == file.read_text(), file.name
    assert text_of("serverless.yml") == (ROOT / "serverless.yml").read_text()


def test_the_files_of_platforms_are_well_formed() -> None:
    """What a platform reads can be read, and names what is in the project."""
    assert httpx2.Response(200, text=text_of("host.json")).json()["version"] == "2.0"
    assert "/api/index" in text_of("vercel.json")


@pytest.mark.parametrize("host", SENT)
def test_what_development_leaves_is_sent_to_no_platform(host: str, tmp_path: Path) -> None:
    """The secret and the database that `rewake dev` makes stay where they are made."""
    assert stamp(host, tmp_path) is Exit.DONE
    for name in SENT[host]:
        left_out = (tmp_path / name).read_text().split()
        assert {".rewake", ".venv", ".git"} <= set(left_out)


def test_vercel_shows_nobody_the_project(tmp_path: Path) -> None:
    """It shows all files that are not below `api/`, unless there is a folder for those."""
    assert stamp("vercel", tmp_path) is Exit.DONE
    assert [each.name for each in (tmp_path / "public").iterdir()] == ["robots.txt"]


@pytest.mark.parametrize(
    ("host", "program"), [("wsgi", "gunicorn"), ("cloud-functions", "functions-framework")]
)
def test_a_project_installs_what_its_readme_runs(host: str, program: str) -> None:
    """Of what Rewake itself does not bring along."""
    assert f"{program} " in text_of(f"README.{host}.md")
    assert program in text_of(STAMPS[host]["requirements.txt"]).split()


def test_what_a_project_installs_opens_the_database_that_its_readme_names() -> None:
    """Each database is an extra of the package, and each host says which one it takes."""
    for host, project in STAMPS.items():
        told = "".join(map(text_of, (f"README.{host}.md", *project.values())))
        for address, extra in (("postgresql://", "postgres"), ("dynamodb://", "aws")):
            assert address not in told or f"rewake[{extra}" in told, host
