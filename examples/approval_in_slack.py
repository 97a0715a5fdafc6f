"""Ask in Slack, by direct messages that are rewritten once it is decided.

    SLACK_TOKEN=xoxb-... rewake dev examples/approval_in_slack.py
    rewake start main --input '{"order": "o1", "approvers": ["U012AB3CD"]}'

The approvers are ids of Slack's members, and each gets a link of their own. The app needs the
scopes `chat:write`, `im:history` and `im:write`. Slack has no idempotency keys, so each message
carries one in its metadata, and an attempt that is not the first looks for what an earlier one has
posted.
"""

from __future__ import annotations

import json
import os
import urllib.request
from datetime import timedelta
from typing import Any, TypedDict
from urllib.error import HTTPError

from rewake import NonRetryable, Notice, RetryAfter, approval, task, task_context, workflow


class Posted(TypedDict):
    """A message that a person has got."""

    channel: str
    ts: str


@task(retries=5, delay=1.0, timeout=timedelta(minutes=1))
def tell(notice: Notice) -> dict[str, Posted]:
    """Post, remind in the message's thread, or rewrite it. Returns each person's message."""
    posted: dict[str, Posted] = dict(notice.previous or {})
    for person in notice.people:
        first = posted.get(person)
        if first is not None and notice.over:
            slack("chat.update", **first, **shown(notice, person))  # twice is as good as once
        elif first is None and not notice.over:
            opened = slack("conversations.open", users=person)
            posted[person] = post(opened["channel"]["id"], person, **shown(notice, person))
        elif first is not None:
            slack("chat.update", **first, **shown(notice, person))  # it may say that it was over
            reminder = {"text": "This still waits for you.", "thread_ts": first["ts"]}
            post(first["channel"], person, **reminder)
    return posted


def shown(notice: Notice, person: str) -> dict[str, Any]:
    asks = notice.description or notice.name
    text = f"{asks}\n{notice.call}".strip()
    blocks: list[dict[str, Any]] = [
        {"type": "section", "text": {"type": "plain_text", "text": text[:3000]}}
    ]
    if person in notice.links:
        word = {"type": "plain_text", "text": "Decide"}
        button = {"type": "button", "text": word, "url": notice.links[person], "style": "primary"}
        blocks.append({"type": "actions", "elements": [button]})
    elif notice.over:
        by = f" by {notice.approver}" if notice.approver else ""
        ended = f"{notice.decision or 'no longer needed'}{by}"
        text = f"{ended}: {asks}"
        word = {"type": "plain_text", "text": ended[:3000]}
        blocks.append({"type": "context", "elements": [word]})
    return {"text": text[:3000], "blocks": blocks}


def post(channel: str, person: str, **message: Any) -> Posted:
    """Post a message, unless an earlier attempt has."""
    key = f"{task_context().idempotency_key}/{person}"
    if task_context().attempt > 1:
        where = {"channel": channel, "include_all_metadata": True, "limit": 100}
        if thread := message.get("thread_ts"):
            found = slack("conversations.replies", **where, ts=thread)
        else:
            found = slack("conversations.history", **where)
        for each in found["messages"]:
            if each.get("metadata", {}).get("event_payload", {}).get("key") == key:
                return {"channel": channel, "ts": each["ts"]}
    metadata = {"event_type": "rewake_notice", "event_payload": {"key": key}}
    made = slack("chat.postMessage", channel=channel, metadata=metadata, **message)
    return {"channel": made["channel"], "ts": made["ts"]}


def slack(method: str, **arguments: Any) -> dict[str, Any]:
    """Call a method of Slack's API."""
    request = urllib.request.Request(  # noqa: S310
        f"{os.environ.get('SLACK_API', 'https://slack.com/api')}/{method}",
        data=json.dumps(arguments).encode(),
        headers={
            "Authorization": f"Bearer {os.environ['SLACK_TOKEN']}",
            "Content-Type": "application/json; charset=utf-8",
        },
    )
    try:
        with urllib.request.urlopen(request, timeout=20) as response:  # noqa: S310
            answer: dict[str, Any] = json.load(response)
    except HTTPError as error:
        error.close()
        if error.code == 429:
            raise RetryAfter(float(error.headers.get("Retry-After", 1))) from error
        raise
    if not answer["ok"]:
        raise NonRetryable(f"Slack refuses {method}: {answer['error']}")
    return answer


@workflow
async def main(
    order: str, approvers: list[str], remind_every: timedelta = timedelta(days=1)
) -> str:
    answer = await approval(
        "refund",
        description=f"Refund order {order}?",
        approvers=approvers,
        timeout=7 * remind_every,
        notify=tell,
        remind_every=remind_every,
    )
    return f"{order}: {answer.decision} by {answer.approver}"
