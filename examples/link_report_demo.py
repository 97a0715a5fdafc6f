"""The link report, with its server killed in the middle of the work: `make demo`.

    make demo
    make demo URLS='https://example.com https://example.org'

Without addresses of yours, the pages are served from this machine. Everything that it starts ends
with it, and all that it writes is in a folder that it removes.
"""

from __future__ import annotations

import os
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

from examples.support.pages import Pages
from examples.support.server import Server
from examples.support.show import Operation, Show, Timeline

APP = Path(__file__).with_name("link_report.py")
PAUSE = 2.5
"""Seconds that the workflow sleeps before it asks."""
LEASE = 5.0
"""Seconds after which a dead server's work is taken over; 5 by default."""
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
        show.step("A server runs the workflow of examples/link_report.py, on SQLite.")
        show.say(f"[dim]process {server.pid}, {server.url}[/]")
        show.step("A request starts a run.")
        show.say(f"[dim]POST /v1/workflows/main/runs   ({len(self._urls)} urls)[/]")
        arguments = {"urls": self._urls, "pause": PAUSE}
        self._run = server.post("/v1/workflows/main/runs", arguments)
        show.say(f"[dim]202 Accepted, run {self._run['id']}[/]")

    def _kill(self) -> None:
        """End the server when a part of the pages is fetched, and others are in flight."""
        enough = len(self._urls) // 3

        def in_the_middle() -> bool:
            fetched, flying = self._count("done"), self._count("running")
            return fetched >= enough and flying > 0

        self._until(in_the_middle)
        self._server.kill()
        gone = time.time()
        flying, done = self._count("running"), self._count("done")
        self._show.step(f"[red]kill -9 {self._server.pid}[/]: the server is gone.")
        self._show.say(f"[dim]{done} tasks had ended, {flying} were in flight[/]")
        self._show.look(self._run, self._operations, "no server")
        time.sleep(1)
        self._server.start()
        self._away = (gone, time.time())
        self._show.step("It is started again.")
        self._show.say(f"[dim]process {self._server.pid}; it knows what is in the file[/]")

    def _take_over(self) -> None:
        self._until(lambda: self._is("sleep", "waiting", "done"))
        lost = sum(each["lost"] for each in self._operations)
        retried = sum(each["attempts"] - each["lost"] > 1 for each in self._operations)
        self._show.step(f"The run went on where it was: {lost} lost attempts were made again.")
        self._show.say(f"[dim]what had ended was not run again; {retried} task was retried[/]")

    def _sleep(self) -> None:
        self._until(lambda: self._run["state"] == "suspended" or self._is("approval", "waiting"))
        running = self._count("running")
        self._show.step(f"The workflow sleeps: {running} tasks are running, no thread waits.")
        self._show.say(f"[dim]state {self._run['state']}, wakes at {self._run['wake']}[/]")
        self._until(lambda: self._is("approval", "waiting"))

    def _approve(self) -> None:
        run = self._server.get(f"/v1/runs/{self._run['id']}")
        (approval,) = run["approvals"]
        self._show.step(f"It asks: [bold cyan]{approval['description']}[/]")
        self._show.say(f"[dim]until {approval['deadline']}, and suspended until then[/]")
        time.sleep(1.5)
        command = ["rewake", "runs", "approve", self._run["id"], approval["key"]]
        self._show.step("Somebody approves.")
        self._show.say(
            f"[dim]POST {approval['decide']}  {{\"approved\": true}}[/]",
            f"[dim]the same as: {shlex.join(command)}[/]",
        )
        answer = {"approved": True, "approver": "the demo"}
        self._server.post(approval["decide"], answer)
        self._until(lambda: self._run["state"] == "done")

    def _check(self) -> None:
        found = self._server.get(f"/v1/runs/{self._run['id']}/result?wait=10")
        result, wanted = found["result"], len(self._urls)
        with closing(sqlite3.connect(self._rows)) as database:
            query = "SELECT url, status, title, links FROM links WHERE report = ?"
            rows = database.execute(query, [result["report"]]).fetchall()
        assert result["saved"] == wanted, f"{result['saved']} links were saved, not {wanted}"
        assert sorted(row[0] for row in rows) == sorted(self._urls), "not every page is in the file"
        self._show.step(f"The run is done, and {len(rows)} rows are in the database:")
        for url, status, title, links in rows[:3]:
            self._show.say(f"[dim]{status}  {url}  {title!r}, {links} links[/]")
        if len(rows) > 3:
            self._show.say("[dim]…[/]")
        self._show.say(f"[green]{result}[/]")

    def timeline(self) -> None:
        """When what ran."""
        console = self._show.console
        console.print()
        console.print(Timeline(self._operations, self._away, console.width).table())
        console.print("[dim] ░ no server was running[/]")

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

    def _count(self, state: str) -> int:
        return sum(each["state"] == state for each in self._operations)

    def _is(self, key: str, *states: str) -> bool:
        return any(each["key"] == key and each["state"] in states for each in self._operations)


def main(urls: Sequence[str]) -> int:
    """Play it. Returns the exit status: 0 only if the result is right."""
    urls = list(dict.fromkeys(urls))
    if strange := [url for url in urls if not url.startswith(("http://", "https://"))]:
        print(f"not the address of a page: {strange[0]}", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, _leave)
    try:
        return _play(urls)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _play(urls: Sequence[str]) -> int:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rewake-demo-")))
        pages = None if urls else stack.enter_context(Pages(seconds=0.4))
        urls = urls or pages.urls
        show = stack.enter_context(Show(urls))
        server = Server(APP, folder, "--lease", str(LEASE), **_environ(folder))
        stack.callback(server.kill)
        demo = Demo(show, server, urls, folder)
        try:
            demo.play()
        except (AssertionError, RuntimeError) as error:
            show.step(f"[red]It went wrong: {error}[/]")
            return 1
        show.close()
        demo.timeline()
        if pages is not None:
            show.console.print(f"[dim] {pages.requests.total()} requests reached the pages[/]")
        return 0


def _environ(folder: Path) -> dict[str, str]:
    direct = ",".join(filter(None, (os.environ.get("NO_PROXY"), "127.0.0.1")))
    return {
        "LINK_REPORT_DB": str(folder / "link_report.db"),
        "NO_PROXY": direct,
        "no_proxy": direct,
    }


def _leave(number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
