"""For Google Cloud Functions, as `main.py`: the entry point is `rewake`.

Configured by the environment alone, as any server; `REWAKE_DISPATCHER` must be one that sends
messages, and `REWAKE_DB` a database that all instances share.
"""

import functions_framework
from flask import Request
from werkzeug import Response

from rewake.hosts.wsgi import WsgiApp

application = WsgiApp.from_env(platform="cloud-functions")


@functions_framework.http
def rewake(request: Request) -> Response:
    return Response.from_app(application, request.environ, buffered=True)
