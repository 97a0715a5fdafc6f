"""A Django site with Rewake beside it, below /runs. Django knows no lifespan, so Starlette has it.

REWAKE_APP=examples/mounted/order.py REWAKE_SECRET=… ORDER_TOKEN=… \
    REWAKE_URL=http://127.0.0.1:8000/runs uvicorn examples.mounted.with_django:app
"""

from __future__ import annotations

import secrets

from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import path
from starlette.applications import Starlette
from starlette.routing import Mount

from rewake.embed import app_from_env, running

settings.configure(  # a site has them in a file
    ALLOWED_HOSTS=["127.0.0.1"],
    ROOT_URLCONF=__name__,
    SECRET_KEY=secrets.token_hex(),
)


def home(_: HttpRequest) -> HttpResponse:
    return HttpResponse("the shop")


urlpatterns = [path("", home)]

runs = app_from_env()
app = Starlette(
    routes=[Mount("/runs", runs), Mount("/", get_asgi_application())],
    lifespan=lambda _: running(runs),
)
