"""A Starlette app with Rewake below /runs.

REWAKE_APP=examples/mounted/order.py REWAKE_SECRET=… ORDER_TOKEN=… \
    REWAKE_URL=http://127.0.0.1:8000/runs uvicorn examples.mounted.with_starlette:app
"""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from rewake.embed import app_from_env, running

runs = app_from_env()


def home(_: Request) -> PlainTextResponse:
    return PlainTextResponse("the shop")


app = Starlette(
    routes=[Route("/", home), Mount("/runs", runs)],
    lifespan=lambda _: running(runs),
)
