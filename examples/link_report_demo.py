"""The link report, with its server killed in the middle of the work: `make demo`.

    make demo
    make demo URLS='https://example.com https://example.org'

Without addresses of yours, the pages are served from this machine. Everything that it starts ends
with it, and all that it writes is in a folder that it removes.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, NoReturn

from rich.markup import escape

from examples.support.pages import Pages
from examples.support.server import Server
from examples.support.show import Operation, Show, Timeline, count

APP = Path(__file__).with_name("link_report.py")
PAUSE = 2.5
"""Seconds that the workflow sleeps before it asks."""
AWAY = 1.0
"""Seconds for which no server is running."""
PATIENCE = 300.0
"""Seconds after which the demo gives up."""


class Demo:
    """One run, from its start to its result."""

    def __init__(self, show: Show, server: Server, urls: Sequence[str], folder: Path) -> None:
        self._show = show
        self._server = server
        self._urls = urls
        self._rows = folder / "link_report.db"
        self._run: dict[str, Any] = {}
        self._operations: list[Operation] = []
        self._away = (0.0, 0.0)

    def play(self) -> None:
        """The whole of it. Raises `AssertionError` if anything is not as it should be."""
        self._start()
        self._kill()
        self._take_over()
        self._sleep()
        self._approve()
        self._check()

    def _start(self) -> None:
        show, server = self._show, self._server
        server.start()
        show.step("A server runs the workflow of examples/link_report.py on SQLite.")
        show.say(f"process {server.pid}, {server.url}")
        show.step("A request starts a run.")
        show.say(f"POST /v1/workflows/main/runs  with {count(len(self._urls), 'address')}")
        arguments = {"urls": self._urls, "pause": PAUSE}
        self._run = server.post("/v1/workflows/main/runs", arguments)
        show.say(f"202 Accepted: run {self._run['id']}")

    def _kill(self) -> None:
        """End the server when a part of the pages is fetched, and others are in flight."""
        enough = len(self._urls) // 3

        def in_the_middle() -> bool:
            ended = self._number("done") + self._number("failed")
            return ended >= enough and self._number("running") > 0

        self._until(lambda: in_the_middle() or self._is("sleep", "waiting"))
        self._server.kill()
        gone = time.time()  # noqa: TID251 - a demo is no workflow
        done, flying = (count(self._number(state), "task") for state in ("done", "running"))
        self._show.step(f"[red]kill -9 {self._server.pid}[/]: the server is gone.")
        self._show.say(f"{done} done, {flying} in flight")
        self._show.look(self._run, self._operations, "no server")
        time.sleep(AWAY)
        self._server.start()
        self._away = (gone, time.time())  # noqa: TID251 - nor here
        self._show.step("It is started again.")
        self._show.say(
            f"process {self._server.pid}; it knows only what is in the database file",
            "what was in flight is taken over when its lease (5 s) is over",
        )

    def _take_over(self) -> None:
        before = {each["key"]: each["attempts"] for each in self._operations if is_done(each)}
        self._until(lambda: self._is("sleep", "waiting", "done"))
        after = {each["key"]: each["attempts"] for each in self._operations}
        assert before == {key: after[key] for key in before}, "what was done was done again"
        lost = sum(each["lost"] for each in self._operations)
        retried = sum(each["attempts"] - each["lost"] > 1 for each in self._operations)
        self._show.step("The run has gone on where it was.")
        self._show.say(
            f"{count(lost, 'lost attempt')} made again, {count(len(before), 'task')} not",
            f"{count(retried, 'task')} failed and retried",
        )

    def _sleep(self) -> None:
        state, wake = self._run["state"], self._run["wake"]
        self._show.step("The workflow sleeps, and nothing is running.")
        self._show.say(f"the run is {state}, {count(self._number('running'), 'task')} running")
        if wake is not None:
            self._show.say(f"it wakes at {wake}")
        self._until(lambda: self._is("approval", "waiting"))

    def _approve(self) -> None:
        run = self._server.get(f"/v1/runs/{self._run['id']}")
        (approval,) = run["approvals"]
        self._show.step(f"It asks: [bold cyan]{escape(approval['description'])}[/]")
        self._show.say(f"the run is {run['state']} until somebody decides, at most two days")
        time.sleep(1.5)
        wanted = {"run": run["id"], "key": approval["key"], "approver": "ann@example.com"}
        link = self._server.post("/v1/links", wanted)["url"]
        command = ["rewake", "approvals", "link", run["id"], "--approver", wanted["approver"]]
        self._show.step("Ann gets a link, which opens a page with two buttons. She approves.")
        self._show.say(f"the link, as of {shlex.join(command)}", f"{link[:60]}…")
        page = self._server.page(link)
        (nonce,) = re.findall(r'name="nonce" value="([^"]*)"', page)
        self._server.page(link, {"nonce": nonce, "decision": "approve", "comment": "Go ahead"})
        self._until(lambda: self._run["state"] == "done")

    def _check(self) -> None:
        found = self._server.get(f"/v1/runs/{self._run['id']}/result?wait=10")
        result, wanted = found["result"], len(self._urls)
        with closing(sqlite3.connect(self._rows)) as database:
            query = "SELECT url, status, title, links FROM links WHERE report = ?"
            rows = database.execute(query, [result["report"]]).fetchall()
        assert result["saved"] == wanted, f"{result['saved']} links were saved, not {wanted}"
        saved = {row[0] for row in rows}
        assert saved == set(self._urls), "the rows are not those of the pages"
        self._show.step(f"The run is done, and {count(len(rows), 'row')} in the report's database:")
        for url, status, title, links in rows[:3]:
            self._show.say(f"{status}  {url}  {title!r}, {count(links, 'link')}")
        if len(rows) > 3:
            self._show.say("…")
        self._show.step(f"Its result: [green]{escape(json.dumps(result))}[/]")

    def timeline(self) -> None:
        """When what ran."""
        console = self._show.console
        console.print()
        console.print(Timeline(self._operations, self._away, console.width).table())
        console.print(" [red dim]░[/] [dim]no server was running[/]")

    # --- looking ---------------------------------------------------------------------------

    def _until(self, holds: Callable[[], bool]) -> None:
        give_up = time.monotonic() + PATIENCE
        while True:
            found = self._server.get(f"/v1/runs/{self._run['id']}/history")
            self._run, self._operations = found["run"], found["operations"]
            self._show.look(self._run, self._operations)
            if holds():
                return
            state = self._run["state"]
            assert state not in ("failed", "cancelled", "stuck"), f"{state}: {self._run['error']}"
            assert state != "done", "the run is done already"
            assert time.monotonic() < give_up, "the run takes too long"
            time.sleep(0.1)

    def _number(self, state: str) -> int:
        return sum(each["state"] == state for each in self._operations)

    def _is(self, key: str, *states: str) -> bool:
        return any(each["key"] == key and each["state"] in states for each in self._operations)


def is_done(operation: Operation) -> bool:
    return bool(operation["state"] == "done")


def main(urls: Sequence[str]) -> int:
    """Play it. Returns the exit status: 0 only if the result is right."""
    urls = list(dict.fromkeys(urls))
    if strange := [url for url in urls if not url.startswith(("http://", "https://"))]:
        print(f"not the address of a page: {strange[0]}", file=sys.stderr)
        return 2
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _leave)
    try:
        return _play(urls)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _play(urls: Sequence[str]) -> int:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rewake-demo-")))
        pages = None if urls else stack.enter_context(Pages(seconds=0.4))
        urls = urls if pages is None else pages.urls
        server = Server(APP, folder, **_environ(folder))
        stack.callback(server.kill)
        show = stack.enter_context(Show(urls))
        demo = Demo(show, server, urls, folder)
        try:
            demo.play()
        except (AssertionError, RuntimeError, OSError) as error:
            show.step(f"[red]It went wrong: {escape(str(error))}[/]")
            return 1
        show.close()
        demo.timeline()
        return 0


def _environ(folder: Path) -> dict[str, str]:
    known = os.environ.get("no_proxy") or os.environ.get("NO_PROXY")
    direct = ",".join(filter(None, (known, "127.0.0.1")))
    return {
        "LINK_REPORT_DB": str(folder / "link_report.db"),
        "NO_PROXY": direct,
        "no_proxy": direct,
    }


def _leave(*_: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
