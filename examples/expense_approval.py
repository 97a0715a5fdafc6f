"""An expense is approved by whoever is asked first, or by the next one if that takes too long.

    REWAKE_URL=http://127.0.0.1:8000 rewake dev examples/expense_approval.py
    rewake start expense --input '{"what": "a desk", "amount": 400}'

Temporal's `expense` sample, with the escalation that users of Windmill and Camunda build. Each
person has links of their own (`docs/how-to/approvals.md`); the one who was too slow is told that it
is over.
"""

from __future__ import annotations

from datetime import timedelta

from rewake import Decision, approval, task, workflow

CHAIN = ("lead@example.com", "head@example.com", "finance@example.com")
PATIENCE = timedelta(days=2)


@task
def pay(what: str, amount: int, approver: str) -> str:
    return f"paid {amount} for {what}, approved by {approver}"


@task(retries=5)
def tell(person: str, text: str) -> None:
    """In truth a mail: `examples/approval_by_mail.py`."""


@workflow
async def expense(what: str, amount: int) -> str:
    if amount < 50:
        return await pay(what, amount, "the rule for small ones")
    for person in CHAIN:
        asked = approval(
            description=f"{amount} EUR for {what}", approvers=[person], timeout=PATIENCE
        )
        await tell(person, f"{what}: {asked.links[person]}")
        answer = await asked
        if answer.decision is Decision.APPROVED:
            return await pay(what, amount, person)
        if answer.decision is Decision.REJECTED:
            return f"{person} has rejected {what}: {answer.comment}"
    return f"nobody has decided on {what}"
