"""`rewake doctor`, from here and by a server that runs."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from rewake.cli.findings import show_findings
from rewake.doctor.findings import Finding, Status, failure, well
from tests.cli.shell import Shell
from tests.support.server import SECRET, TOKEN, ServerProcess

APP_FILE = Path(__file__).parents[1] / "support" / "app.py"


def findings(text: str) -> dict[str, Finding]:
    """What was found, the worst of each check."""
    order = [Status.OK, Status.WARN, Status.FAIL]
    found = msgspec.convert(json.loads(text)["findings"], list[Finding])
    return {each.check: each for each in sorted(found, key=lambda each: order.index(each.status))}


def test_wrong_settings_hide_nothing(shell: Shell) -> None:
    """Each setting that is wrong is told, and an app that cannot be loaded; all else goes on."""
    shell.write("app.py", "import nothing_of_this_name\n")
    shell.settings = {
        "REWAKE_SECRET": "short",
        "REWAKE_LEASE": "soon",
        "REWAKE_GRACE": "-1",
        "REWAKE_OIDC_ISSUER": "http://login.example",
        "REWAKE_OIDC_AUDIENCE": "x",
    }
    done = shell.rewake("doctor")
    assert done.returncode == 1, done.stderr
    for told in (
        "fail  settings",
        "REWAKE_LEASE cannot be read",
        "REWAKE_GRACE must be",
        "REWAKE_OIDC_ISSUER must be",
        "needs at least 16",
        "nothing_of_this_name",
        "REWAKE_SECRET is not set",
        "ok    versions",
        "disk",
        "there is no .rewake/rewake.db yet",
    ):
        assert told in done.stdout, done.stdout
    assert not (shell.folder / ".rewake").exists()


def test_before_the_first_start(shell: Shell) -> None:
    """It is a gate before a deploy: what is there only once the server runs fails nothing."""
    shell.write("app.py", APP_FILE.read_text())
    shell.settings = {
        "REWAKE_SECRET": "q9yXn2J0wVt3mB7cZ5kLrD8sHfG1aPuE",
        "REWAKE_URL": "http://127.0.0.1:1",
    }
    done = shell.rewake("doctor", "--json")
    found = findings(done.stdout)
    assert done.returncode == 0, done.stdout
    assert {found[each].status for each in ("address", "database")} == {Status.WARN}
    assert (found["encryption"].status, found["encryption"].told[:3]) == (Status.OK, "off")
    shell.settings["REWAKE_ENCRYPTION_KEYS"] = ""
    assert "warn  encryption" in shell.rewake("doctor").stdout
    mistyped = shell.rewake("doctor", "--db", "gone/a.db", "--json")
    assert mistyped.returncode == 1
    assert findings(mistyped.stdout)["database"].status is Status.FAIL


def test_what_a_running_server_finds(shell: Shell, tmp_path: Path) -> None:
    """From here and by the server itself, all is well; wrong use is one line and exit code 2."""
    shell.write("app.py", APP_FILE.read_text())
    file = tmp_path / "served.db"
    with ServerProcess(APP_FILE, file, url="http://127.0.0.1:1") as server:
        shell.settings = {
            "REWAKE_TOKEN": TOKEN,
            "REWAKE_SECRET": SECRET,
            "REWAKE_URL": server.url,
            "REWAKE_DB": str(file),
        }
        here = shell.rewake("doctor", "--json")
        found = findings(here.stdout)
        assert here.returncode == 0, here.stdout
        assert {"app", "settings", "database", "keys of links", "address", "clock"} <= set(found)
        assert found["secret"].status is Status.WARN  # it reads like one that was typed
        there = shell.rewake("doctor", "--server", server.url, "--json")
        assert there.returncode == 1
        assert findings(there.stdout)["address"].status is Status.FAIL  # its REWAKE_URL
        assert findings(there.stdout)["your clock"].status is Status.OK
        assert SECRET not in here.stdout + there.stdout
    both = shell.rewake("doctor", "app.py", "--server", server.url)
    assert (both.returncode, both.stderr.count("\n")) == (2, 1)
    gone = shell.rewake("doctor", "--server", server.url)
    assert (gone.returncode, gone.stderr.count("\n")) == (6, 1)


def test_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever is in a finding is one line, in which nothing moves a terminal's cursor."""
    found = [well("a", "good"), failure("bc", "not\nso \x1b[2J good", "mend it")]
    assert show_findings(found, json=False) == 1
    lines = ["ok    a   good", "fail  bc  not so \\x1b[2J good: mend it"]
    assert capsys.readouterr().out.splitlines() == lines
    assert show_findings(found[:1], json=True) == 0


def test_what_the_host_cannot_carry(shell: Shell) -> None:
    """A server that would not start on its platform is told so before, with the reason."""
    shell.write("app.py", APP_FILE.read_text())
    shell.settings = {"REWAKE_SECRET": SECRET, "REWAKE_PLATFORM": "vercel"}
    done = shell.rewake("doctor", "--json")
    found = findings(done.stdout)
    assert done.returncode == 1
    assert found["host"].status is Status.FAIL
    assert "Vercel stands still once it has answered" in found["host"].told
    shell.settings |= {"REWAKE_DISPATCHER": "http", "REWAKE_URL": "http://127.0.0.1:1"}
    assert "host" not in findings(shell.rewake("doctor", "--json").stdout)
