"""A transfer of money between two banks: it happens whole, or not at all.

    rewake run examples/money_transfer.py --input '{"source":"alice","target":"bob","amount":30}'
    rewake run examples/money_transfer.py --input '{"source":"alice","target":"eve","amount":30}'

A withdrawal and a deposit carry the idempotency key of their operation, so that a bank that has
seen one already does not do it twice, however often an attempt is repeated. Where the deposit fails
for good, the money goes back.
"""

from __future__ import annotations

from rewake import NonRetryable, TaskError, task, task_context, workflow

ACCOUNTS = {"alice": 100, "bob": 0}
SEEN: dict[str, int] = {}
"""What the bank has done, by idempotency key. A real one keeps this for you."""


def move(account: str, amount: int) -> int:
    """Change a balance once, and return it."""
    key = task_context().idempotency_key
    if key not in SEEN:
        if account not in ACCOUNTS:
            raise NonRetryable(f"there is no account {account!r}")
        if ACCOUNTS[account] + amount < 0:
            raise NonRetryable(f"{account!r} has not enough money")
        ACCOUNTS[account] += amount
        SEEN[key] = ACCOUNTS[account]
    return SEEN[key]


@task(retries=20, max_delay=3600)
def withdraw(account: str, amount: int) -> int:
    return move(account, -amount)


@task(retries=20, max_delay=3600)
def deposit(account: str, amount: int) -> int:
    return move(account, amount)


@workflow
async def transfer(source: str, target: str, amount: int) -> str:
    """Move an amount; say so, or why not."""
    try:
        await withdraw(source, amount)
    except TaskError as error:
        return f"nothing was moved: {error.message}"
    try:
        await deposit(target, amount)
    except TaskError as error:
        await deposit(source, amount)
        return f"the money went back: {error.message}"
    return f"{amount} moved from {source} to {target}"
