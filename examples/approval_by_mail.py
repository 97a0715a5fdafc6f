"""Ask by e-mail, remind, ask somebody else after a while, and say what was decided.

    SMTP=127.0.0.1:1025 rewake dev examples/approval_by_mail.py
    rewake start main --input '{"order": "o1", "approvers": ["ann@example.com"]}'

Each person has a message with a link of their own. All messages about one approval are one thread,
and a message that is sent again, since nobody knows whether it was sent, has the same id: mail
programs show it once.
"""

from __future__ import annotations

import os
import smtplib
from datetime import timedelta
from email.message import EmailMessage

from rewake import Notice, approval, task, task_context, workflow

SUBJECTS = {
    "asked": "Please decide: {}",
    "reminder": "Reminder {number}: {}",
    "escalated": "Nobody has decided yet: {}",
    "decided": "Decided: {}",
    "withdrawn": "No longer needed: {}",
}


@task(retries=5, delay=2.0, timeout=timedelta(minutes=1))
def mail(notice: Notice) -> str:
    """A message for each person of the notice. Returns the id of the thread."""
    thread: str = notice.previous or f"<{notice.run}.{task_context().idempotency_key}@rewake>"
    host, _, port = os.environ.get("SMTP", "127.0.0.1:25").partition(":")
    with smtplib.SMTP(host, int(port or 25), timeout=20) as server:
        for number, person in enumerate(notice.people):
            server.send_message(_message(notice, person, number, thread))
    return thread


def _message(notice: Notice, person: str, number: int, thread: str) -> EmailMessage:
    asks = " ".join((notice.description or notice.name).split())  # a header is one line
    message = EmailMessage()
    message["From"] = os.environ.get("MAIL_FROM", "approvals@example.com")
    message["To"] = person
    message["Subject"] = SUBJECTS[notice.kind].format(asks, number=notice.number)
    message["Message-ID"] = f"<{notice.run}.{task_context().idempotency_key}.{number}@rewake>"
    message["In-Reply-To"] = message["References"] = thread
    if person in notice.links:
        until = f"{notice.until:%d %B %Y, %H:%M} UTC"
        told = f"Open this to decide, until {until}:\n\n{notice.links[person]}"
    elif notice.decision:
        told = f"{notice.decision} by {notice.approver or 'nobody'}. {notice.comment or ''}"
    else:
        told = "It was taken back. Nothing is left to do."
    message.set_content(f"{notice.description or notice.name}\n\n{told}\n")
    return message


@workflow
async def main(
    order: str,
    approvers: list[str],
    deputies: list[str] | None = None,
    remind_every: timedelta = timedelta(days=1),
) -> str:
    answer = await approval(
        "refund",
        description=f"Refund order {order}?",
        approvers=approvers,
        timeout=7 * remind_every,
        notify=mail,
        remind_every=remind_every,
        escalate_after=2.5 * remind_every if deputies else None,
        escalate_to=deputies or [],
    )
    return f"{order}: {answer.decision} by {answer.approver}"
