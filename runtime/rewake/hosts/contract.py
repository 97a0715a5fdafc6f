"""The contract of an app: its HTTP API as an OpenAPI document, without a server."""

from __future__ import annotations

from typing import Any

from rewake.app import App
from rewake.http.app import ROUTES
from rewake.http.openapi import document


def contract_of(app: App) -> Any:
    """The OpenAPI 3.1 document of a server of this app."""
    return document(app.workflows.values(), ROUTES)
