"""Approvals for people: whom they are asked of, how their ballots stand, who decided."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from rewake.authoring.binding import call_text
from rewake.cli.columns import when
from rewake.spelled import spelled


def counted_line(found: Mapping[str, Any]) -> str:
    """What came of a vote: a decision, or how many are still missing."""
    about = f"{found['key']} of run {found['run']}"
    if found.get("decided", True):
        return f"{about} is {found['decision']}"
    approvals, quorum = found["approvals"], found["quorum"]
    rejected = f", {found['rejections']} rejected" if found["rejections"] else ""
    return (
        f"the vote on {about} is counted ({found['decision']}); it is not decided yet: "
        f"{approvals} of {quorum} approved{rejected}, {quorum - approvals} more needed"
    )


def open_lines(
    approval: Mapping[str, Any], run: str, record: Mapping[str, Any] | None
) -> Iterator[str]:
    """An approval that is open, with how its ballot stands and what decides it."""
    until = f", until {when(approval['deadline'])}" if approval.get("deadline") else ""
    yield f"waits for a decision on {spelled(approval['key'])}{until}"
    for line in str(approval.get("description") or "").splitlines():
        yield f"  {line}".rstrip()
    if approval.get("binds"):
        yield f"  calls {call_text(approval['binds'])}"
    about = f"{run} {shlex.quote(spelled(approval['key']))}"
    if record is None or not record["personal"]:
        if approval.get("decide"):
            yield f"  rewake runs approve {about}"
        return
    given = record["delegated_by"]
    yield (
        f"  {record['approvals']} of {record['quorum']} approved, {record['rejections']} rejected; "
        f"waits for {', '.join(_named(who, given) for who in record['waits_for'])}"
    )
    # The token of the server has no vote: each is that of whoever casts it.
    for who in record["waits_for"]:
        yield f"  rewake approvals link {about} --approver {shlex.quote(who)}"


def decided_lines(
    key: str, made: Mapping[str, Any], record: Mapping[str, Any] | None
) -> Iterator[str]:
    """What was decided and by whom; where several did, a line of each vote."""
    given = {} if record is None else record["delegated_by"]
    by = f" by {_named(made['approver'], given)}" if made.get("approver") else ""
    comment = f": {made['comment']}" if made.get("comment") else ""
    yield f"{spelled(key)} was {made.get('decision', 'decided')}{by}{comment}"
    votes = [] if record is None else [each for each in record["votes"] if each["action"]]
    for vote in sorted(votes, key=lambda vote: str(vote["at"])) if len(votes) > 1 else ():
        said = f": {vote['comment']}" if vote["comment"] else ""
        yield f"  {_DID[vote['action']]} by {_named(vote['approver'] or 'somebody', given)}{said}"


def holders_of(approval: Mapping[str, Any]) -> list[str]:
    """Who has a vote, each with whom they got it from."""
    given = approval["delegated_by"]
    got = {by: who for who, by in given.items()}
    holders = []
    for asked in approval["approvers"]:
        holder = asked
        while holder in got:
            holder = got[holder]
        holders.append(_named(holder, given))
    return holders


def _named(who: str, given: Mapping[str, str]) -> str:
    """A person, and for whom they have their vote."""
    names = [who]
    while names[-1] in given:
        names.append(given[names[-1]])
    # In brackets, for names stand in lists with commas.
    return who if len(names) == 1 else f"{who} (for {', for '.join(names[1:])})"


_DID = {"approve": "approved", "reject": "rejected"}
