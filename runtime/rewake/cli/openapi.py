"""`rewake openapi`: the HTTP API as a document, of an app here or of a server."""

from __future__ import annotations

from rewake.app import load_app
from rewake.cli.exits import Exit
from rewake.cli.output import pure_stdout, write_json
from rewake.cli.remote.client import Client
from rewake.cli.remote.runs import Server
from rewake.errors import UsageError


def openapi(source: str | None, url: str | None) -> Exit:
    """Print the document. Raises `AppError`, or what a server answers."""
    if source is not None:
        return _here(source, url)

    async def call(client: Client) -> Exit:
        write_json((await client.get_at("openapi.json")).body)
        return Exit.DONE

    return Server(url).ask(call)


def _here(source: str, url: str | None) -> Exit:
    from rewake.hosts.contract import contract_of

    if url is not None:
        raise UsageError("--server asks a server, and --app asks none: give one of them")
    with pure_stdout() as result:  # an app may print as it is imported
        app, _ = load_app(source)
        write_json(contract_of(app), result)
    return Exit.DONE
