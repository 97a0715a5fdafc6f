"""A small app around the pages of approvals, and a form with every kind of field."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route

from rewake.pages import CSP, Asked, done, page, parse

ASKED_AT = 1_795_687_200_000
EXPIRES = ASKED_AT + 2 * 24 * 3_600_000

EVERY_KIND: dict[str, Any] = {
    "type": "object",
    "title": "Close the month",
    "properties": {
        "amount": {
            "type": "number",
            "title": "Largest amount, EUR",
            "description": "The larger of the two is 412.80 EUR.",
            "minimum": 0,
            "maximum": 500,
        },
        "count": {"type": "integer", "minimum": 1, "default": 2},
        "cost_centre": {
            "type": "string",
            "pattern": "^[A-Z]{2}-[0-9]+$",
            "description": "Two letters, a dash and digits, such as FI-100.",
        },
        "reason": {"type": "string", "maxLength": 2000, "title": "Reason"},
        "carry": {
            "title": "Carry over as",
            "oneOf": [
                {"const": "open", "title": "Open items"},
                {"const": "sum", "title": "One sum"},
            ],
        },
        "account": {
            "title": "Account",
            "enum": ["1000", "1200", "1400", "1600", "1800", "2000", "2400"],
        },
        "urgent": {"type": "boolean", "title": "Post it today"},
        "read": {"const": True, "title": "I have read the list of postings"},
        "seen": {"anyOf": [{"type": "boolean"}, {"type": "null"}], "title": "Seen by audit"},
        "mail": {"type": "string", "format": "email", "title": "Tell whom"},
        "day": {"type": "string", "format": "date", "title": "Posting date"},
        "moment": {"type": "string", "format": "date-time", "title": "Not before"},
        "at": {"type": "string", "format": "time", "title": "Each day at"},
        "ledgers": {
            "type": "array",
            "title": "Ledgers",
            "items": {"enum": ["general", "payable", "receivable"]},
            "minItems": 1,
        },
        "tags": {"type": "array", "title": "Tags", "items": {"type": "string", "maxLength": 12}},
        "contact": {"$ref": "#/$defs/Contact", "title": "Contact"},
        "more": {"type": "object", "title": "Anything else"},
    },
    "required": ["amount", "cost_centre", "carry", "account", "read", "day", "ledgers", "contact"],
    "$defs": {
        "Contact": {
            "type": "object",
            "description": "Whom the bank may call.",
            "properties": {
                "name": {"type": "string", "title": "Name"},
                "phone": {"anyOf": [{"type": "string"}, {"type": "null"}], "title": "Telephone"},
            },
            "required": ["name"],
        }
    },
}


def asked(schema: dict[str, Any] | None = None, **changed: Any) -> Asked:
    """An approval that is asked for."""
    told: dict[str, Any] = {
        "title": "Close the month with 2 accounts left open?",
        "description": (
            "2 of 3,318 postings were refused by the ledger, since the accounts are closed. "
            "They would be carried over to December.\n\n"
            "The list: https://ledger.example.com/closing/2026-11?state=refused"
        ),
        "schema": schema,
        "run": "01a2042b6dae4e0f9d6a33a0c0de0000",
        "workflow": "close_month",
        "approver": "ann@example.com",
        "asked_at": ASKED_AT,
        "expires": EXPIRES,
        "action": "",
        "others": [("bob@example.com", "approved"), ("eve@example.com", "")],
    }
    return Asked(**told | changed)


@dataclass
class Desk:
    """Where decisions arrive. `GET` shows the page, `POST` decides or shows what is wrong."""

    shown: Asked
    posted: list[dict[str, list[str]]] = field(default_factory=list)
    decided: list[tuple[str, Any, str]] = field(default_factory=list)
    address: str = ""

    async def get(self, _request: Request) -> HTMLResponse:
        return self._answer(page(self.shown, post_to="/decide", nonce="n0nce"))

    async def post(self, request: Request) -> HTMLResponse:
        form = parse_qs((await request.body()).decode(), keep_blank_values=True)
        self.posted.append(form)
        decision = form["decision"][0]
        value, errors = parse(self.shown.schema, form) if decision == "approve" else (None, {})
        if errors:
            again = page(self.shown, post_to="/decide", nonce="n1", values=form, errors=errors)
            return self._answer(again, 422)
        comment = form["comment"][0]
        self.decided.append((decision, value, comment))
        word = "approved" if decision == "approve" else "rejected"
        by, at = self.shown.approver, ASKED_AT + 3_600_000
        return self._answer(done(self.shown, decision=word, by=by, at=at, comment=comment))

    @staticmethod
    def _answer(html: str, status: int = 200) -> HTMLResponse:
        headers = {"Content-Security-Policy": CSP, "Referrer-Policy": "no-referrer"}
        return HTMLResponse(html, status, headers)


@contextmanager
def served(desk: Desk) -> Iterator[Desk]:
    """Serves a desk on a free port of this machine."""
    app = Starlette(
        routes=[
            Route("/decide", desk.get, methods=["GET"]),
            Route("/decide", desk.post, methods=["POST"]),
        ]
    )
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        while not server.started:
            thread.join(0.01)
            assert thread.is_alive()
        port = server.servers[0].sockets[0].getsockname()[1]
        desk.address = f"http://127.0.0.1:{port}/decide"
        yield desk
    finally:
        server.should_exit = True
        thread.join()
