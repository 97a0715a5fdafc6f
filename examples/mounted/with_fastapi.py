"""A FastAPI app with Rewake below /runs, and a lifespan of its own.

REWAKE_APP=examples/mounted/order.py REWAKE_SECRET=… ORDER_TOKEN=… \
    REWAKE_URL=http://127.0.0.1:8000/runs uvicorn examples.mounted.with_fastapi:app
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from rewake.embed import app_from_env, running

runs = app_from_env()


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    async with running(runs):  # a server runs the lifespan of the outer app only
        yield  # what the shop needs is opened and closed here, too


app = FastAPI(lifespan=lifespan)
app.mount("/runs", runs)


@app.get("/")
async def home() -> str:
    return "the shop"
