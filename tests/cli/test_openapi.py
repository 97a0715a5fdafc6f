"""`rewake openapi` without a server; what a server answers is tested in `tests/http`."""

import json

from tests.cli.apps import APP
from tests.cli.shell import Shell


def test_the_document_of_an_app(shell: Shell) -> None:
    """It is alone on stdout, with the workflows of the app, though the app prints as it begins."""
    shell.write("app.py", f"print('hello')\n{APP}")
    told = shell.rewake("openapi", "--app", "app.py")

    assert told.returncode == 0, told.stderr
    document = json.loads(told.stdout)
    assert document["openapi"] == "3.1.0"
    assert "/v1/workflows/paused/runs" in document["paths"]


def test_an_app_or_a_server(shell: Shell) -> None:
    """What cannot be meant both ways is refused in one line, and so is an app that there is not."""
    both = shell.rewake("openapi", "--app", "app.py", "--server", "http://127.0.0.1:1")
    none = shell.rewake("openapi", "--app", "none.py")

    for told in (both, none):
        assert (told.returncode, told.stdout, told.stderr.count("\n")) == (2, "", 1)
