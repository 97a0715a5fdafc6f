"""The reference is complete: nothing public is missing from it."""

import inspect
import re
from typing import Any

import pytest
from typer.main import get_command

import rewake
from rewake import errors, webhooks
from rewake.authoring.task import TaskOptions
from rewake.cli.commands import app
from rewake.hosts.config import SETTINGS
from rewake.http.app import ROUTES
from rewake.http.needs import NEEDS, SELF_CHECKED
from rewake.http.problems import PROBLEMS
from tests.docs.markdown import ROOT

REFERENCE = (ROOT / "docs" / "reference.md").read_text()


@pytest.mark.parametrize("name", [*rewake.__all__, *webhooks.__all__])
def test_every_public_name_is_there(name: str) -> None:
    """What `rewake` and `rewake.webhooks` export is in the reference."""
    assert re.search(rf"\b{name}\b", REFERENCE)


ERRORS = [name for name in errors.__all__ if issubclass(getattr(errors, name), errors.RewakeError)]


@pytest.mark.parametrize("name", ERRORS)
def test_every_error_is_there(name: str) -> None:
    """The tree of errors is whole, and each is where it is in the code."""
    depth = len(inspect.getmro(getattr(errors, name))) - 4
    assert re.search(rf"^[│├└─ ]{{{4 * depth}}}{name}(  |$)", REFERENCE, re.MULTILINE)


def test_every_option_of_a_task_is_there() -> None:
    """The table of options has each of them."""
    for name in TaskOptions.__annotations__:
        assert f"| `{name}` |" in REFERENCE


@pytest.mark.parametrize("variable", [variable for variable, _ in SETTINGS.values()])
def test_every_setting_is_there(variable: str) -> None:
    """The table of settings has each variable."""
    assert f"| `{variable}` |" in REFERENCE


@pytest.mark.parametrize(("method", "path"), [route[:2] for route in ROUTES])
def test_every_route_is_there(method: str, path: str) -> None:
    """The table of requests has each route."""
    assert f"| `{method} {path.replace(':path', '')}` |" in REFERENCE


def test_every_action_is_there() -> None:
    """What the audit log calls what is done is in the reference, each by one name."""
    needs = [*NEEDS.values(), *SELF_CHECKED.values()]
    for action in {need.action for need in needs if need.acts}:
        assert f"`{action}`" in REFERENCE, action


def test_every_problem_is_there() -> None:
    """The table of errors has each type, with its status."""
    for kind in PROBLEMS.values():
        assert f"| {kind.status} | `urn:rewake:problem:{kind.name}` |" in REFERENCE


def test_every_command_and_option_is_there() -> None:
    """The table of commands has each of them, and no option that there is not."""
    known = set()
    for path, command in _commands(get_command(app), "rewake"):
        assert f"| `{path}" in REFERENCE, path
        for parameter in command.params:
            options = [option for option in parameter.opts if option.startswith("--")]
            known |= {*options, *parameter.secondary_opts}
            assert not options or any(f"`{each}`" in REFERENCE for each in options), options
    told = set(re.findall(r"`(--[a-z-]+)`", REFERENCE))
    assert told <= known


def test_the_server_to_ask_is_one_option() -> None:
    """Commands take the server that they ask as `--server`; `--url` is a deployment's own."""
    options = {
        (option, path)
        for path, command in _commands(get_command(app), "rewake")
        for parameter in command.params
        for option in parameter.opts
    }

    assert [path for option, path in sorted(options) if option == "--url"] == ["rewake serve"]
    assert ("--server", "rewake start") in options


def _commands(command: Any, path: str) -> list[tuple[str, Any]]:
    inner = getattr(command, "commands", None)
    if inner is None:
        return [(path, command)]
    return [found for name, each in inner.items() for found in _commands(each, f"{path} {name}")]
