"""A reader who follows a page to the letter, in a folder of their own.

    python        run; a block whose first line is `# app.py` is written to that file first
    console       the lines after `$` are run by bash, the others must be what they print, where
                  `…` stands for anything. What ends in `&`, and servers, go on beside the page.
                  `exit=5` behind the language is the exit code of the last command.
    sh            not run: every command must be one that there is, and so must files of `infra/`
    json          must be JSON
    ini           must be a unit of systemd whose command is one that there is
    env           must be settings that a server can begin with
    nginx         must set the headers by which a proxy is believed
    dockerfile    its last line must start a command that there is
    text, none    what is shown; not run

The next block of a page finds what the last left behind: files, shell variables, Python names.
"""

from __future__ import annotations

import configparser
import json
import os
import re
import secrets
import shlex
import signal
import socket
import subprocess
import sys
import time
import types
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Self

import rewake
from rewake.hosts.config import ServerConfig
from tests.docs.markdown import ROOT, Block
from tests.support.postgres import cluster

PATIENCE = 60.0
POSTGRES = "postgresql://app:secret@db.example/shop"
"""The database of the pages, in the place of which is a real one."""
_PATIENT = 'sleep() { case $1 in *.*) command sleep "$1";; *) command sleep $(($1 * 3));; esac; }'
"""What a reader waits for takes longer on a loaded machine than a page says."""
_SERVER = re.compile(r"^(?:\w+=\S+ )*rewake (dev|serve)\b")
_TARGET = re.compile(r"^(\w+):.*?##", re.MULTILINE)
_INSTALLS = ("python -m venv ", "pip install ", "git clone ", "cd ", "uvicorn ", ". ")
_DEPLOYS = ("npx osls@", "kubectl ", "docker ", "aws ", "export ", "rewake ")
_OURS = re.compile(r"\binfra/\S+")


class Reader:
    """Reads one page."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._servers: list[subprocess.Popen[bytes]] = []
        self._database = ""
        self._names = types.ModuleType("page").__dict__
        self.port = _free_port()
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("REWAKE", "PYTEST"))}
        self._environ = {
            **kept,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(Path(rewake.__file__).parents[1]),
            "REWAKE_PORT": str(self.port),
            "REWAKE_SERVER": f"http://127.0.0.1:{self.port}",
            "no_proxy": "127.0.0.1",
            # a plugin of a dependency of ours, which takes long to import
            "PYTEST_ADDOPTS": "-p no:langsmith_plugin",
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
        for name, module in list(sys.modules.items()):
            if str(getattr(module, "__file__", "")).startswith(str(self.folder)):
                del sys.modules[name]

    def stop(self) -> None:
        """End the servers that the page has started."""
        for server in self._servers:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()
        self._servers.clear()

    def read(self, block: Block) -> None:
        """Do what a block says. Fails where it is not so."""
        {
            "python": self._python,
            "console": self._console,
            "sh": self._known,
            "json": self._json,
            "ini": self._unit,
            "env": self._environment,
            "nginx": self._proxy,
            "dockerfile": self._image,
            "text": self._shown,
            "": self._shown,
        }[block.language](block)

    def _python(self, block: Block) -> None:
        if block.name is not None:
            (self.folder / block.name).write_text(self._here(block.text))
            # whatever test has loaded another file of this name, which is imported from here on
            sys.modules.pop(Path(block.name).stem, None)
        padding = "\n" * block.line
        code = compile(padding + self._here(block.text), str(block.page), "exec", dont_inherit=True)
        before = Path.cwd()
        os.chdir(self.folder)
        sys.path.insert(0, str(self.folder))
        try:
            exec(code, self._names)
        finally:
            sys.path.remove(str(self.folder))
            os.chdir(before)

    def _console(self, block: Block) -> None:
        commands, expected = _session(self._here(block.text))
        if _SERVER.match(commands[-1]):
            self._serve(commands[-1])
            return
        keep = "trap 'export -p > .shell' EXIT"
        script = "\n".join(["set -ae", "[ ! -f .shell ] || . ./.shell", keep, _PATIENT, *commands])
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=self.folder,
            env=self._environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        wanted = re.search(r"exit=(\d+)", block.info)
        assert done.returncode == int(wanted[1] if wanted else 0), f"{block}:\n{done.stdout}"
        assert not expected or _pattern(expected).fullmatch(done.stdout.strip()), (
            f"{block} prints:\n{done.stdout}\nand not:\n{expected}"
        )

    def _serve(self, command: str) -> None:
        self.stop()
        server = subprocess.Popen(
            ["bash", "-c", f"[ ! -f .shell ] || . ./.shell; {command}"],
            cwd=self.folder,
            env=self._environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._servers.append(server)
        give_up = time.monotonic() + PATIENCE
        while not self._is_ready():
            assert server.poll() is None, f"{command} ends"
            assert time.monotonic() < give_up, f"{command} does not serve"
            time.sleep(0.05)

    def _is_ready(self) -> bool:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(f"http://127.0.0.1:{self.port}/readyz", timeout=5):
                return True
        except OSError:
            return False

    def _known(self, block: Block) -> None:
        targets = set(_TARGET.findall((ROOT / "Makefile").read_text()))
        for line in _joined(block.text):
            words = shlex.split(line, comments=True)
            if words and words[0] == "make":
                assert words[1] in targets, f"{block}: there is no `make {words[1]}`"
            elif words and words[0] != ".ci/run":
                assert line.startswith(_INSTALLS + _DEPLOYS), f"{block}: what is `{line}`?"
                missing = [each for each in _OURS.findall(line) if not (ROOT / each).is_file()]
                assert not missing, f"{block}: there is no {missing}"

    def _json(self, block: Block) -> None:
        json.loads(block.text)

    def _unit(self, block: Block) -> None:
        unit = configparser.ConfigParser(interpolation=None)
        unit.optionxform = str  # type: ignore[assignment,method-assign]
        unit.read_string(block.text)
        program, command, _ = unit["Service"]["ExecStart"].split()
        assert (Path(program).name, command) == ("rewake", "serve"), block

    def _environment(self, block: Block) -> None:
        ServerConfig.from_env(dict(line.split("=", 1) for line in block.text.splitlines()))

    def _proxy(self, block: Block) -> None:
        named = {line.split()[1] for line in block.text.splitlines() if "proxy_set_header" in line}
        assert {"X-Forwarded-Email", "Rewake-Identity-Secret"} <= named, block

    def _image(self, block: Block) -> None:
        last = block.text.rstrip().splitlines()[-1]
        assert json.loads(last.removeprefix("CMD "))[:2] == ["rewake", "serve"], block

    def _shown(self, block: Block) -> None:
        assert "$ " not in block.text, f"{block} has commands: make it a console block"

    def _here(self, text: str) -> str:
        if POSTGRES in text:
            text = text.replace(POSTGRES, self._postgres())
        return text.replace("127.0.0.1:8000", f"127.0.0.1:{self.port}")

    def _postgres(self) -> str:
        """The address of a database of this page's own."""
        if not self._database:
            name = f"page_{secrets.token_hex(6)}"
            with cluster().connected() as connection:
                connection.execute(f'CREATE DATABASE "{name}"')
            self._database = cluster().address("", name).partition("?")[0]
        return self._database


def _session(text: str) -> tuple[list[str], str]:
    """The commands of a console block, and what they print."""
    commands, expected = [], []
    for line in _joined(text):
        if line.startswith("$ "):
            commands.append(line[2:])
        else:
            expected.append(line)
    return commands, "\n".join(expected)


def _pattern(expected: str) -> re.Pattern[str]:
    """What was printed, however many spaces there are between columns."""
    text = re.escape(expected.strip()).replace("…", ".*")
    return re.compile(re.sub(r"(?:\\ )+", r"\\ +", text), re.DOTALL)


def _joined(text: str) -> list[str]:
    return re.sub(r"\\\n\s*", "", text).splitlines()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
