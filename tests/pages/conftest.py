"""A real browser: the system's Chromium, driven by Playwright."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.support.deciding import Desk, served

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
FLAGS = ("--no-sandbox", "--disable-background-networking", "--disable-component-update")

PHONE = {"width": 360, "height": 740}
DESKTOP = {"width": 1280, "height": 800}

expect.set_options(timeout=30_000)  # a machine may be busy

Opens = Callable[..., Page]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser, where one is installed."""
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS])
        yield launched
        launched.close()


@pytest.fixture
def opens(browser: Browser) -> Iterator[Opens]:
    """Opens pages, and fails if one of them logs an error or asks for anything but itself."""
    complaints: list[str] = []
    with ExitStack() as stack:

        def opened(viewport: Any = DESKTOP, **options: Any) -> Page:
            context = browser.new_context(viewport=viewport, locale="en-US", **options)
            stack.callback(context.close)
            page = context.new_page()
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.on("console", lambda said: _heard(said, complaints))
            page.on("request", lambda sent: _asked_for(sent, complaints))
            return page

        yield opened
    assert complaints == []


def _heard(said: Any, complaints: list[str]) -> None:
    # That an answer has status 422 is an error for the console, and meant here.
    if said.type in {"error", "warning"} and "status of 422" not in said.text:
        complaints.append(said.text)


def _asked_for(sent: Any, complaints: list[str]) -> None:
    if not sent.is_navigation_request() and not sent.url.endswith("/favicon.ico"):
        complaints.append(sent.url)


@pytest.fixture
def desk(request: pytest.FixtureRequest) -> Iterator[Desk]:
    """A desk that shows the question which the test is parametrized with."""
    with served(Desk(request.param)) as open_desk:
        yield open_desk
