"""A server's answers about runs, printed for people."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rewake.cli.columns import Columns, show_facts, when
from rewake.cli.exits import harmless
from rewake.cli.lines import HIDDEN, duration
from rewake.cli.remote.ballots import decided_lines, holders_of, open_lines
from rewake.keyed import TURN
from rewake.kinds import Kind
from rewake.labels import said
from rewake.spelled import spelled

_LONGEST_VALUE = 400
_WAITS = {
    Kind.CALLBACK: "to be called",
    Kind.EVENT: "for the event {name}",
    Kind.SIGNAL: "for the signal {name}",
    Kind.TIMER: "for its moment",
}
"""What a run waits for at an operation of a kind that nothing else tells of."""


def run_details(
    run: Mapping[str, Any],
    history: Mapping[str, Any] | None = None,
    records: Mapping[str, Mapping[str, Any]] = {},
    unread: Sequence[Mapping[str, Any]] = (),
) -> None:
    """One run: its facts, its open operations and approvals, and what was decided.

    `records`: what is known of its approvals, by their keys. `unread`: signals that it was sent and
    has not taken.
    """
    history = history or {}
    show_facts(_facts(run, history, unread))
    for approval in run.get("approvals") or ():
        for line in open_lines(approval, run["id"], records.get(approval["key"])):
            print(harmless(line))
    for operation in history.get("operations", ()):
        for line in _told(operation, records.get(operation["key"])):
            print(harmless(line))
    retries(history)
    _why(run)


def _facts(
    run: Mapping[str, Any], history: Mapping[str, Any], unread: Sequence[Mapping[str, Any]]
) -> list[tuple[str, str]]:
    wake = _timer(run)
    return [
        ("run", run["id"]),
        ("workflow", run["workflow"]),
        ("key", run.get("key") or ""),
        ("tenant", run.get("tenant") or ""),
        (
            "begun by",
            f"{run['parent']['run']} ({spelled(run['parent']['key'])})" if "parent" in run else "",
        ),
        *_shown(run),
        ("input", _value_in(history, "started", "input")),
        ("state", run["state"]),
        ("waiting for a limit", run.get("waits") or ""),
        ("held up", run.get("held_up") or ""),
        ("unread signals", _unread(unread)),
        ("tags", _unserved(run)),
        ("in process", run.get("where") or ""),
        ("created", when(run["created"])),
        ("started by", _started_by(history)),
        ("updated", when(run["updated"])),
        ("next timer", when(wake) if wake else ""),
        ("history", _usage(run)),
        ("kept", _kept(run)),
        ("cost", _cost(run)),
        ("killed" if run.get("killed") else "cancelled", run.get("cancel") or ""),
        ("result", _value_in(history, "finished", "result")),
        ("error", _error(run)),
    ]


def _state(run: Mapping[str, Any]) -> str:
    """Where it stands; of one that is stuck, why."""
    stuck = run["state"] == "stuck" and run.get("reason")
    return f"stuck: {run['reason']['code']}" if stuck else str(run["state"])


def _why(run: Mapping[str, Any]) -> None:
    """Why a run does not go on, what to mend, and the command that follows."""
    if reason := run.get("reason"):
        print(f"{reason['code']}: {reason['fix']}")
        print(f"after that: {reason['command']}")
    elif run["state"] == "paused":
        print(f"it is paused, and goes on with: rewake runs resume {run['id']}")


def retries(history: Mapping[str, Any]) -> None:
    """A line for each retry of a run, which names what was done and is no longer in its history."""
    for each in history.get("entries", ()):
        if each["type"] == "retried":
            forgot = f"; it forgot {', '.join(each['forgot'])}" if each.get("forgot") else ""
            print(harmless(f"retried at {when(each['at'])}, after {_error(each)}{forgot}"))


def _timer(run: Mapping[str, Any]) -> Any:
    """When its next timer is due; None: there is none, or something else tells of it."""
    deadlines = [approval.get("deadline") for approval in run.get("approvals") or ()]
    goes_on = run["state"] != "stuck"  # else not by itself
    return run.get("wake") if goes_on and run.get("wake") not in deadlines else None


def _shown(run: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What its body says of it, and how often that began anew."""
    yield "labels", said(run.get("labels") or {})
    yield "status", _json(run.get("status"))
    yield "progress", _progress(run)
    yield "lap", str(run["lap"]) if run.get("lap", 1) > 1 else ""


def _progress(run: Mapping[str, Any]) -> str:
    """How far it is, as its body says."""
    progress = run.get("progress") or {}
    if "done" not in progress:
        return ""
    done, total = progress["done"], progress.get("total")
    if total is None:
        return f"{done:g}"
    share = f" ({100 * done / total:.0f} %)" if total else ""
    return f"{done:g} of {total:g}{share}"


def _json(value: Any) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return json.dumps(value, ensure_ascii=False)


def _kept(run: Mapping[str, Any]) -> str:
    """Until when it is there: of one that has ended, or is held."""
    if run.get("hold"):
        return "it is held, until `rewake runs unhold`"
    return f"until {when(run['kept_until'])}" if run.get("kept_until") else ""


def _usage(run: Mapping[str, Any]) -> str:
    """How long its history is, and that it becomes too long."""
    if (usage := run.get("usage")) is None:
        return ""
    told = f"{usage['entries']:,} entries of at most {usage['most_entries']:,}"
    passed = usage["passed"]
    return f"{told}, more than {passed} %: continue_as_new() in time" if passed else told


def _cost(run: Mapping[str, Any]) -> str:
    """What it has used so far, where requests are billed."""
    if (cost := run.get("cost")) is None:
        return ""
    used = f"{cost['write_units']} write and {cost['read_units']} read units"
    return f"${cost['dollars']:.6f} ({used}, {cost['message_requests']} message requests)"


def _unread(signals: Sequence[Mapping[str, Any]]) -> str:
    """How many there are of each name."""
    counts = Counter(each["name"] for each in signals)
    return ", ".join(f"{name} ({count})" for name, count in counts.items())


def _unserved(run: Mapping[str, Any]) -> str:
    tags = ",".join(run.get("unserved_tags") or ())
    return f"tasks wait for a server: rewake serve --tags {tags}" if tags else ""


def _value_in(history: Mapping[str, Any], kind: str, name: str) -> str:
    """A value of the first entry of a kind, as JSON on one line."""
    found = [each for each in history.get("entries", ()) if each["type"] == kind and name in each]
    return json.dumps(found[0][name], ensure_ascii=False)[:_LONGEST_VALUE] if found else ""


def _started_by(history: Mapping[str, Any]) -> str:
    entries = history.get("entries", ())
    by = next((each["by"] for each in entries if each.get("by")), "")
    return "bootstrap, the server's own token" if by == "bootstrap" else str(by)


def _told(operation: Mapping[str, Any], record: Mapping[str, Any] | None) -> Iterator[str]:
    """What is to be said of an operation: while it is open, and of a decision who made it."""
    key, state = spelled(operation["key"]), operation["state"]
    if operation.get("child"):
        child = operation["child"]
        waits = operation["kind"] != Kind.CHILD_START and state == "waiting"
        yield f"waits for run {child}: {key}" if waits else f"{key} is about run {child}: {state}"
        return
    if state == "running":
        tries = operation.get("tries")
        number = tries[-1]["attempt"] if tries else operation["attempts"]
        yield f"{key} is running (attempt {number})"
    elif state == "retrying":
        then = f", again at {when(operation['due'])}" if operation.get("due") else ""
        yield f"{key} is being retried (attempt {operation['attempts']} failed{then})"
        yield f"  {_error(operation)}"
    elif operation.get("waits") and state == "waiting":
        yield f"waits for the limit {operation['waits']}: {key}"
    elif operation.get("tag") and state == "waiting":
        yield f"waits for a server of the tag {operation['tag']}: {key}"
    elif operation["kind"] in _WAITS and state == "waiting" and key not in HIDDEN:
        yield _wait(operation)
    elif operation["kind"] == "approval" and isinstance(operation.get("result"), dict):
        yield from decided_lines(key, operation["result"], record)
    if "progress" in operation:
        of = "  progress" if state in ("running", "retrying") else f"progress of {key}"
        yield f"{of}: {_json(operation['progress'])[:_LONGEST_VALUE]}"
    yield from _tried(operation)


def _wait(operation: Mapping[str, Any]) -> str:
    """What is waited for."""
    if operation["name"].startswith(TURN):
        return "waits for its turn at a state: `rewake state list` names the run that has it"
    until = f", until {when(operation['due'])}" if operation.get("due") else ""
    return (
        f"waits {_WAITS[operation['kind']].format(**operation)}: {spelled(operation['key'])}{until}"
    )


def _tried(operation: Mapping[str, Any]) -> Iterator[str]:
    """The attempts at an operation, a line each, if one was not enough."""
    tries = operation.get("tries") or ()
    if len(tries) < 2 and not any(each["lost"] for each in tries):
        return
    ended = operation["state"] not in ("running", "retrying", "waiting")
    yield f"attempts at {spelled(operation['key'])}:" if ended else "  so far:"
    for each in tries:
        began = f" {when(each['began'])}" if each.get("began") else ""
        where = f" on {each['where']}" if each.get("where") else ""
        yield f"  attempt {each['attempt']}{began}{where}: {_end_of(each, operation)}"


def _end_of(attempt: Mapping[str, Any], operation: Mapping[str, Any]) -> str:
    """How an attempt ended."""
    if attempt.get("ended") is None:
        return "it goes on"
    if attempt["lost"] and (attempt.get("error") or {}).get("type") == "silent":
        return f"lost: {_error(attempt)}"
    if attempt["lost"]:
        return f"lost with its process {_error(attempt)}".rstrip()
    if attempt.get("error"):
        return _error(attempt)
    newest = attempt is operation["tries"][-1]
    return "it worked" if newest and operation["state"] == "done" else "interrupted"


def log_lines(lines: Iterable[Mapping[str, Any]]) -> None:
    """The log of a run: of its workflow, and of the attempts at its tasks and steps."""
    for line in lines:
        where = f"{spelled(line['key'])}#{line['attempt']}" if line["key"] else "workflow"
        said = f"{when(line['at'])} {line['level']:<7} {where}  {line['message']}"
        print(harmless(said))


def _error(about: Mapping[str, Any]) -> str:
    error = about.get("error")
    return f"{error['type']}: {error['message']}".partition("\n")[0] if error else ""


def _says(run: Mapping[str, Any]) -> str:
    """Why it did not succeed; of one that goes on, the status that its body has set."""
    over = run["state"] in ("done", "failed", "cancelled")
    return _error(run) or ("" if over else _json(run.get("status")))


RUNS: Columns = (
    ("RUN", lambda run: run["id"]),
    ("WORKFLOW", lambda run: run["workflow"]),
    ("STATE", _state),
    ("CREATED", lambda run: when(run["created"])),
    ("", _says),
)
APPROVALS: Columns = (
    ("RUN", lambda each: each["run"]),
    ("KEY", lambda each: spelled(each["key"])),
    ("WORKFLOW", lambda each: each["workflow"]),
    ("UNTIL", lambda each: when(each["deadline"]) if each["deadline"] else ""),
    ("OF", lambda each: ", ".join(holders_of(each))),
    ("", lambda each: str(each["description"] or "").partition("\n")[0]),
)
SIGNALS: Columns = (
    ("ID", lambda each: each["id"]),
    ("NAME", lambda each: each["name"]),
    ("STATE", lambda each: each["state"]),
    ("SENT", lambda each: when(each["sent"])),
    ("", lambda each: str(each.get("reason") or "").partition("\n")[0]),
)
EVENTS: Columns = (
    ("ID", lambda each: each["id"]),
    ("PUBLISHED", lambda each: when(each["published"])),
    ("BY", lambda each: each.get("by") or ""),
    ("TOLD", lambda each: "yes" if each["told"] else "not yet"),
    ("DATA", lambda each: json.dumps(each["data"], ensure_ascii=False)[:_LONGEST_VALUE]),
)
OPERATIONS: Columns = (
    ("KEY", lambda each: spelled(each["key"])),
    ("KIND", lambda each: each["kind"]),
    ("STATE", lambda each: each["state"].replace("_", " ")),
    ("ASKED", lambda each: when(each["asked"])),
    ("TOOK", lambda each: "" if each.get("duration") is None else duration(each["duration"])),
    ("ATTEMPTS", lambda each: str(each["attempts"] or "")),
    ("", _error),
)
