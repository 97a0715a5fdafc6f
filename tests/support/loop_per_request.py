"""A server that makes an event loop for each request, as some platforms do, and no lifespan.

python -m tests.support.loop_per_request MODULE:APP PORT
"""

from __future__ import annotations

import asyncio
import importlib
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


def answer_of(app: Any, scope: dict[str, Any], body: bytes) -> tuple[int, list[Any], bytes]:
    """What an ASGI app answers: status, headers, body."""
    status, headers, parts = 0, list[Any](), list[bytes]()
    given = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> dict[str, Any]:
        if given:
            return given.pop()
        await asyncio.sleep(3600)
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
            headers.extend(message["headers"])
        else:
            parts.append(message.get("body", b""))

    asyncio.run(app(scope, receive, send))
    return status, headers, b"".join(parts)


class Handler(BaseHTTPRequestHandler):
    app: Any
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": self.command,
            "scheme": "http",
            "path": path,
            "root_path": "",
            "query_string": query.encode(),
            "headers": [(k.lower().encode(), v.encode()) for k, v in self.headers.items()],
            "server": ("127.0.0.1", 80),
            "client": ("127.0.0.1", 1),
        }
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        status, headers, answer = answer_of(type(self).app, scope, body)
        self.send_response(status)
        for name, value in headers:
            self.send_header(name.decode(), value.decode())
        self.end_headers()
        self.wfile.write(answer)

    do_POST = do_GET  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:
        pass


def main() -> None:
    module, _, name = sys.argv[1].partition(":")
    Handler.app = staticmethod(getattr(importlib.import_module(module), name))
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2])), Handler).serve_forever()


if __name__ == "__main__":
    main()
