"""AWS Lambda on this machine: the real runtime client, driven by a runtime API of our own.

    with Function("handlers.aws_lambda.handler", environ, timeout=10) as function:
        function.client.post("/v1/workflows/total/runs", json={"numbers": [1]})   # its URL
        function.invoke({"sweep": True})                                          # an event

As there, an *instance* (a process with `awslambdaric`) has one invocation at a time, another is
started while all are busy, and one that has answered is frozen (SIGSTOP) until it is used again.
One that takes too long is killed. The URL is a Function URL: its event is of payload format 2.0.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import queue
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx2

from tests.support.server import SECRET, client_of

ROOT = Path(__file__).parents[2]
PATIENCE = 60.0
_DOMAIN = "abc123.lambda-url.eu-west-1.on.aws"


class Failed(Exception):
    """An invocation that ended in an error, was killed, or never began. Has what was said of it."""


class _Quiet(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def answer(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.send_response(status)
        kept = {name: value for name, value in headers.items() if name != "content-length"}
        for name, value in {**kept, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def begin(self) -> int:
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()
        port: int = self.server_address[1]
        return port


class Instance:
    """One process, with the runtime API that it asks for its next invocation."""

    def __init__(self, handler: str, environ: Mapping[str, str], *, freezes: bool = True) -> None:
        self._freezes = freezes
        self._next: queue.Queue[tuple[str, Any, float]] = queue.Queue()
        self._answers: queue.Queue[tuple[str, bytes]] = queue.Queue()
        self.asked = threading.Event()
        """Set once it has nothing to do: it is frozen then."""
        self.invocations = 0
        self._api = _Server(("127.0.0.1", 0), self._endpoint())
        port = self._api.begin()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "awslambdaric", handler],
            cwd=ROOT,
            env={
                **{k: v for k, v in os.environ.items() if "REWAKE" not in k},
                "PYTHONPATH": os.pathsep.join([str(ROOT / "runtime"), str(ROOT)]),
                "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{port}",
                "AWS_LAMBDA_FUNCTION_NAME": "rewake",
                "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
                "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
                "LAMBDA_TASK_ROOT": str(ROOT),
                **environ,
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def logs(self) -> str:
        """What it has said so far."""
        return "".join(self._lines)

    def invoke(self, event: Any, timeout: float) -> Any:
        """Its answer. Raises `Failed`; it is killed if that is because it took too long."""
        name = str(uuid.uuid4())
        self._wait_for(self.asked, "the function does not start")
        self.asked.clear()
        self.invocations += 1
        if self._freezes:
            self.process.send_signal(signal.SIGCONT)
        self._next.put((name, event, time.time() + timeout))
        try:
            kind, body = self._answers.get(timeout=timeout)
        except queue.Empty:
            self.kill()
            raise Failed(f"Task timed out after {timeout:.2f} seconds") from None
        if kind != "response":
            raise Failed(body.decode())
        return json.loads(body)

    def _wait_for(self, event: threading.Event, told: str) -> None:
        until = time.monotonic() + PATIENCE
        while not event.wait(0.05):
            if self.process.poll() is not None or time.monotonic() > until:
                raise Failed(f"{told}:\n{self.logs()}")

    def kill(self) -> None:
        """End it at once, frozen or not."""
        self.process.kill()
        self.process.wait()
        self._reader.join()
        if self.process.stdout is not None:
            self.process.stdout.close()
        self._api.shutdown()
        self._api.server_close()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.append(line)

    def _endpoint(self) -> type[_Quiet]:
        instance = self

        class Endpoint(_Quiet):
            def do_GET(self) -> None:
                if instance._freezes:
                    instance.process.send_signal(signal.SIGSTOP)
                instance.asked.set()
                name, event, deadline = instance._next.get()
                headers = {
                    "Lambda-Runtime-Aws-Request-Id": name,
                    "Lambda-Runtime-Deadline-Ms": str(int(deadline * 1000)),
                    "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:x:0:function:rewake",
                    "Content-Type": "application/json",
                }
                with contextlib.suppress(OSError):  # it was killed
                    self.answer(200, headers, json.dumps(event).encode())

            def do_POST(self) -> None:
                body = self.body()
                self.answer(202, {}, b"")
                instance._answers.put((self.path.rpartition("/")[2], body))

        return Endpoint


class Function:
    """A function with a URL, and as many instances as it needs. `timeout`: of an invocation."""

    def __init__(
        self,
        handler: str,
        environ: Mapping[str, object],
        *,
        timeout: float = 20.0,
        freezes: bool = True,
    ) -> None:
        self._handler = handler
        self._environ = {"REWAKE_SECRET": SECRET, **{k: str(v) for k, v in environ.items()}}
        self._timeout = timeout
        self._freezes = freezes
        self._lock = threading.Lock()
        self._idle: list[Instance] = []
        self.instances: list[Instance] = []

    def __enter__(self) -> Self:
        self._front = _Server(("127.0.0.1", 0), self._endpoint())
        self.url = f"http://127.0.0.1:{self._front.begin()}"
        self._environ.setdefault("REWAKE_URL", self.url)
        self.client: httpx2.Client = client_of(self.url)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.client.close()
        self._front.shutdown()
        self._front.server_close()
        for each in self.instances:
            if each.process.poll() is None:
                each.kill()

    def invoke(self, event: Any, timeout: float | None = None) -> Any:
        """What the function answers to an event. Raises `Failed`."""
        with self._instance() as instance:
            return instance.invoke(event, timeout or self._timeout)

    def logs(self) -> str:
        """What all instances have said so far."""
        return "".join(each.logs() for each in self.instances)

    @contextlib.contextmanager
    def _instance(self) -> Iterator[Instance]:
        with self._lock:
            instance = self._idle.pop() if self._idle else None
        if instance is None:
            instance = Instance(self._handler, self._environ, freezes=self._freezes)
            self.instances.append(instance)
        try:
            yield instance
        finally:
            if instance.process.poll() is None:
                with self._lock:
                    self._idle.append(instance)

    def _endpoint(self) -> type[_Quiet]:
        function = self

        class Endpoint(_Quiet):
            def do_GET(self) -> None:
                event = request_event(self.command, self.path, dict(self.headers), self.body())
                try:
                    found = function.invoke(event)
                except Failed as error:
                    with contextlib.suppress(OSError):
                        self.answer(502, {}, str(error).encode())
                    return
                body = found.get("body", "").encode()
                if found.get("isBase64Encoded"):
                    body = base64.b64decode(body)
                with contextlib.suppress(OSError):  # who asked has gone away
                    self.answer(found["statusCode"], found.get("headers", {}), body)

            do_POST = do_DELETE = do_HEAD = do_GET  # noqa: N815

        return Endpoint


def request_event(
    verb: str, target: str, headers: Mapping[str, str], body: bytes, *, domain: str = _DOMAIN
) -> dict[str, Any]:
    """The event of a request: payload format 2.0. A body that is no text is Base64, as there."""
    path, _, query = target.partition("?")
    event: dict[str, Any] = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": query,
        "headers": {name.lower(): value for name, value in headers.items()},
        "requestContext": {
            "domainName": domain,
            "http": {
                "method": verb,
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": "203.0.113.7",
                "userAgent": "a test",
            },
            "requestId": str(uuid.uuid4()),
            "stage": "$default",
        },
        "isBase64Encoded": False,
    }
    if body:
        try:
            event["body"] = body.decode()
        except UnicodeDecodeError:
            event |= {"body": base64.b64encode(body).decode(), "isBase64Encoded": True}
    return event


def held_in(folder: Path) -> list[str]:
    """What somebody holds in a database, and the processes that have an item in it."""
    with sqlite3.connect(f"file:{folder / 'rewake.db'}?mode=ro", uri=True) as database:
        rows = [str(row) for row in database.execute("SELECT * FROM items")]
    return [row for row in rows if '"owner":"' in row or row.startswith("('P#")]
