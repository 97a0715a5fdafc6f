"""The commands of approvals: `rewake approvals ...`."""

from __future__ import annotations

import os
from typing import Annotated, Any

import typer

from rewake.cli.inputs import json_value
from rewake.cli.options import ApprovalKey, Comment, Json, RunId, Url, Value
from rewake.errors import UsageError

approvals = typer.Typer(
    help="What the runs of a server wait for: look, decide, make links.", no_args_is_help=False
)

Decider = Annotated[str | None, typer.Option("--approver", help="Who decides (USER).")]


@approvals.command("list")
def approvals_list(
    workflow: Annotated[str | None, typer.Option(help="Of this workflow only.")] = None,
    approver: Annotated[str | None, typer.Option(help="That wait for this person.")] = None,
    group: Annotated[str | None, typer.Option(help="Asked of this group.")] = None,
    asked_before: Annotated[str | None, typer.Option(help="Asked before this time.")] = None,
    limit: Annotated[int | None, typer.Option(help="Of so many runs (50, at most 200).")] = None,
    cursor: Annotated[str | None, typer.Option(help="The next page, as the last one said.")] = None,
    url: Url = None,
    json: Json = False,
) -> None:
    """List the approvals that are open, of all runs."""
    from rewake.cli.remote.approvals import listing
    from rewake.cli.remote.runs import Server

    query = {"workflow": workflow, "approver": approver, "limit": limit, "cursor": cursor}
    query |= {"group": group, "asked_before": asked_before}
    raise typer.Exit(listing(Server(url, json), query))


@approvals.command("show")
def approvals_show(
    run: RunId,
    key: ApprovalKey = None,
    trail: Annotated[bool, typer.Option("--trail", help="What happened, a line each.")] = False,
    url: Url = None,
) -> None:
    """Show what a run waits for, as JSON: form, deadline, who has voted and what happened."""
    from rewake.cli.remote.approvals import show
    from rewake.cli.remote.runs import Server

    raise typer.Exit(show(Server(url), run, key, trail=trail))


@approvals.command("link")
def approvals_link(
    run: RunId,
    key: ApprovalKey = None,
    approver: Annotated[str, typer.Option(help="For whom.")] = "",
    action: Annotated[str | None, typer.Option(help="approve or reject: only that.")] = None,
    url: Url = None,
    json: Json = False,
) -> None:
    """Make a fresh link to an approval that is open."""
    from rewake.cli.remote.approvals import link
    from rewake.cli.remote.runs import Server

    if action not in (None, "approve", "reject"):
        raise UsageError("--action must be approve or reject")
    raise typer.Exit(link(Server(url, json), run, key, approver, action))


@approvals.command("approve")
def approvals_approve(
    run: RunId,
    key: ApprovalKey = None,
    value: Value = None,
    comment: Comment = None,
    approver: Decider = None,
    url: Url = None,
    json: Json = False,
) -> None:
    """Approve what a run waits for."""
    _decide(True, run, key, json_value(value), comment, approver, url, json)


@approvals.command("reject")
def approvals_reject(
    run: RunId,
    key: ApprovalKey = None,
    comment: Comment = None,
    approver: Decider = None,
    url: Url = None,
    json: Json = False,
) -> None:
    """Reject it."""
    _decide(False, run, key, None, comment, approver, url, json)


@approvals.command("delegate")
def approvals_delegate(
    run: RunId,
    key: ApprovalKey = None,
    to: Annotated[str, typer.Option(help="Who shall decide instead.")] = "",
    comment: Comment = None,
    url: Url = None,
    json: Json = False,
) -> None:
    """Hand your vote on to somebody else, and print their link."""
    from rewake.cli.remote.approvals import delegate
    from rewake.cli.remote.runs import Server

    if not to:
        raise UsageError("say to whom: --to ann@example.com")
    raise typer.Exit(delegate(Server(url, json), run, key, to, comment))


def _decide(
    approved: bool,
    run: str,
    key: str | None,
    value: Any,
    comment: str | None,
    approver: str | None,
    url: str | None,
    json: bool,
) -> None:
    from rewake.cli.home import decider
    from rewake.cli.remote.runs import Server, approve

    by = decider(approver)
    answer = {"approved": approved, "value": value, "approver": by, "comment": comment}
    raise typer.Exit(approve(Server(url, json), run, key, answer))


def runs_approve(
    run: RunId,
    key: ApprovalKey = None,
    reject: Annotated[bool, typer.Option("--reject", help="Reject instead.")] = False,
    value: Value = None,
    comment: Comment = None,
    approver: Decider = None,
    db: Annotated[
        str | None, typer.Option(help="Decide in this database, for a `rewake run`: no server.")
    ] = None,
    url: Url = None,
    json: Json = False,
) -> None:
    """Decide on what a run waits for."""
    from rewake.cli.home import decider

    filled_in = json_value(value)
    if db is not None:
        approver = approver or os.environ.get("USER")
        from rewake.authoring.approval import Approval, Decision
        from rewake.cli.home import database
        from rewake.cli.local.approve import approve as decide_here

        decision = Decision.REJECTED if reject else Decision.APPROVED
        raise typer.Exit(
            decide_here(database(db), run, key, Approval(decision, filled_in, approver, comment))
        )
    from rewake.cli.remote.runs import Server, approve

    by = decider(approver)
    answer = {"approved": not reject, "value": filled_in, "approver": by, "comment": comment}
    raise typer.Exit(approve(Server(url, json), run, key, answer))
