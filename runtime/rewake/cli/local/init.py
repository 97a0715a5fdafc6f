"""`rewake init`: stamps a small project for one host, from the files that come with Rewake."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

from rewake.cli.exits import Exit
from rewake.errors import UsageError

_NOT_SHIPPED = "dockerignore"
"""What is sent to no platform: `.rewake` too, with the secret and the database of `rewake dev`."""
_IMAGE = {"Dockerfile": "Dockerfile", ".dockerignore": _NOT_SHIPPED}

STAMPS: Mapping[str, Mapping[str, str]] = {
    "container": {**_IMAGE, "requirements.txt": "requirements.txt"},
    "asgi": {"asgi.py": "asgi.py.txt", "requirements.txt": "requirements.txt"},
    "wsgi": {"wsgi.py": "wsgi.py.txt", "requirements.txt": "requirements.wsgi.txt"},
    "aws-lambda": {
        "handlers/aws_lambda.py": "aws_lambda.py.txt",
        "serverless.yml": "serverless.yml",
        "requirements.txt": "requirements.aws.txt",
    },
    "cloud-run": {
        **_IMAGE,
        "Dockerfile": "Dockerfile.cloud-run",
        ".gcloudignore": _NOT_SHIPPED,
        "requirements.txt": "requirements.postgres.txt",
    },
    "cloud-functions": {
        "main.py": "cloud_functions.py.txt",
        ".gcloudignore": _NOT_SHIPPED,
        "requirements.txt": "requirements.cloud-functions.txt",
    },
    "azure-functions": {
        "function_app.py": "azure_functions.py.txt",
        "host.json": "host.json",
        ".funcignore": _NOT_SHIPPED,
        "requirements.txt": "requirements.azure-functions.txt",
    },
    "vercel": {
        "api/index.py": "vercel.py.txt",
        "vercel.json": "vercel.json",
        ".vercelignore": _NOT_SHIPPED,
        "public/robots.txt": "robots.txt",
        "requirements.txt": "requirements.postgres.txt",
    },
}
"""By host: its files, and what each is a copy of in `rewake/stamps`. All have an app as well."""


def stamp(host: str, folder: Path) -> Exit:
    """Make the project of a host. Raises `UsageError` if one of its files is there already."""
    project = {"app.py": "app.py.txt", **STAMPS[host], "README.md": f"README.{host}.md"}
    there = [name for name in project if (folder / name).exists()]
    if there:
        raise UsageError(f"{folder} has {', '.join(there)} already: nothing was written")
    for name, source in project.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text_of(source))
        print(f"made {file}")
    begin = "rewake dev" if folder == Path() else f"cd {folder}; rewake dev"
    print(f"see {folder / 'README.md'}; to begin here: {begin}")
    return Exit.DONE


def text_of(name: str) -> str:
    """One of the files that come with Rewake."""
    return (files("rewake") / "stamps" / name).read_text(encoding="utf-8")
