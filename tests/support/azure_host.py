"""What Azure's host does for a Python function app: HTTP in, the function called in one loop.

    python -m tests.support.azure_host MODULE PORT

The function, its route and its trigger are those that `azure-functions` makes of the app.
"""

from __future__ import annotations

import asyncio
import importlib
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import azure.functions as func


class Handler(BaseHTTPRequestHandler):
    function: Any
    loop: asyncio.AbstractEventLoop
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        request = func.HttpRequest(
            method=self.command,
            url=f"http://127.0.0.1{self.path}",
            headers=dict(self.headers.items()),
            params={},
            route_params={},
            body=body,
        )
        context = SimpleNamespace(function_directory="/srv", function_name="rewake")
        asked = type(self).function(request, context)
        found = asyncio.run_coroutine_threadsafe(asked, type(self).loop).result()
        self.send_response(found.status_code)
        for name, value in found.headers.items():
            if name.lower() != "content-length":
                self.send_header(name, value)
        self.send_header("content-length", str(len(found.get_body())))
        self.end_headers()
        self.wfile.write(found.get_body())

    do_POST = do_GET  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:
        pass


def main() -> None:
    app = importlib.import_module(sys.argv[1]).app
    made = {each.get_function_name(): each.get_user_function() for each in app.get_functions()}
    Handler.function = staticmethod(made["http_app_func"])
    Handler.loop = asyncio.new_event_loop()
    threading.Thread(target=Handler.loop.run_forever, daemon=True).start()
    # A timer may come before any request.
    asyncio.run_coroutine_threadsafe(made["sweep"](None), Handler.loop).result()
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2])), Handler).serve_forever()


if __name__ == "__main__":
    main()
