"""Ask in a channel of Microsoft Teams, by a card that is rewritten once it is decided.

    TEAMS_SERVICE=https://smba.trafficmanager.net/emea TEAMS_CHANNEL=19:...@thread.tacv2 \\
    TEAMS_APP=... TEAMS_SECRET=... rewake dev examples/approval_in_teams.py

It posts as a bot, since an incoming webhook can post a card and not change it. There is one link,
for whoever can read the channel. Teams has no idempotency keys, and nothing to look messages up by:
so what may have been posted is not tried again, and the next reminder is. Only where the process
dies between the post and its record is there a second card, and that one is rewritten.
"""

from __future__ import annotations

import json
import os
import urllib.parse
import urllib.request
from datetime import timedelta
from typing import Any
from urllib.error import HTTPError, URLError

from rewake import NonRetryable, Notice, RetryAfter, approval, task, workflow

LOGIN = "https://login.microsoftonline.com/botframework.com/oauth2/v2.0/token"


class NotSent(Exception):
    """Nobody was there to take it."""


@task(retries=5, delay=1.0, timeout=timedelta(minutes=1), retry_on=NotSent)
def tell(notice: Notice) -> str:
    """Post the card, or rewrite it. Returns its id."""
    activity = {"type": "message", "attachments": [card(notice)]}
    if notice.over:
        send("PUT", f"/{notice.previous}", {**activity, "id": notice.previous})
        return str(notice.previous)
    return str(send("POST", "", activity)["id"])  # a reminder is a new card, which people see


def card(notice: Notice) -> dict[str, Any]:
    if notice.over:
        by = f" by {notice.approver}" if notice.approver else ""
        state = f"{notice.decision or 'no longer needed'}{by}"
    else:
        state = f"until {notice.until:%d %B %Y, %H:%M} UTC"
    texts = [notice.description or notice.name, notice.call, state]
    content: dict[str, Any] = {
        "type": "AdaptiveCard",
        "version": "1.4",
        # Runs of text, unlike text blocks, are no Markdown.
        "body": [
            {"type": "RichTextBlock", "inlines": [{"type": "TextRun", "text": text}]}
            for text in texts
            if text
        ],
    }
    if not notice.over:
        content["actions"] = [{"type": "Action.OpenUrl", "title": "Decide", "url": notice.link}]
    return {"contentType": "application/vnd.microsoft.card.adaptive", "content": content}


def send(method: str, path: str, activity: dict[str, Any]) -> dict[str, Any]:
    """Send an activity to the channel."""
    channel = urllib.parse.quote(os.environ["TEAMS_CHANNEL"], safe="")
    url = f"{os.environ['TEAMS_SERVICE']}/v3/conversations/{channel}/activities{path}"
    headers = {"Authorization": f"Bearer {token()}", "Content-Type": "application/json"}
    return _ask(method, url, json.dumps(activity).encode(), headers)


def token() -> str:
    given = {
        "grant_type": "client_credentials",
        "client_id": os.environ["TEAMS_APP"],
        "client_secret": os.environ["TEAMS_SECRET"],
        "scope": "https://api.botframework.com/.default",
    }
    body = urllib.parse.urlencode(given).encode()
    return str(_ask("POST", os.environ.get("TEAMS_LOGIN", LOGIN), body, {})["access_token"])


def _ask(method: str, url: str, body: bytes, headers: dict[str, str]) -> dict[str, Any]:
    request = urllib.request.Request(url, body, headers, method=method)  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=20) as response:  # noqa: S310
            return json.loads(response.read() or b"{}")  # type: ignore[no-any-return]
    except HTTPError as error:
        error.close()
        if error.code in (429, 503):
            raise RetryAfter(float(error.headers.get("Retry-After", 2))) from error
        raise
    except URLError as error:
        if isinstance(error.reason, ConnectionRefusedError):
            raise NotSent(str(error.reason)) from error
        raise
    except TimeoutError as error:  # time-outs are retried otherwise
        raise NonRetryable("nobody knows whether it was posted") from error


@workflow
async def main(order: str, remind_every: timedelta = timedelta(days=1)) -> str:
    answer = await approval(
        "refund",
        description=f"Refund order {order}?",
        timeout=7 * remind_every,
        notify=tell,
        remind_every=remind_every,
    )
    return f"{order}: {answer.decision} by {answer.approver}"
