"""Whom an approval is asked of: people and groups, how many of them, and who of them may not.

A group is who is in it when the approval is asked for, and that is recorded: links are made for
people, a quorum is checked against them, and whether it can still be reached depends on them. Who
joins later is not asked, and who leaves is still: withdraw the approval where that matters.

Which people a group has says one function of the app. It is called by the workflow's body, once,
and never on replay; like all of a body it does no I/O. What needs some is read by a step, and given
as a list.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from contextvars import ContextVar
from typing import Any, Final, NamedTuple

import msgspec

from rewake.authoring.ballots import (
    LONGEST_APPROVER,
    Reject,
    Terms,
    folded,
    is_name,
    person_in,
)
from rewake.errors import UsageError
from rewake.records import Millis

MOST_APPROVERS: Final = 100
"""How many people one approval can be asked of, those of its escalation among them."""

Members = Callable[[str], Iterable[str]]


class Group(msgspec.Struct, frozen=True):
    """People who are asked together, by the name of their group."""

    name: str


def group(name: str) -> Group:
    """The people of a group, among the `approvers` of an approval.

        ask = approval("pay", approvers=[group("finance"), "ann@example.com"], quorum=2)

    Who is in it says the function of the app that is marked with `@groups`.
    """
    if not is_name(name):
        raise UsageError(f"a group has a name of one line, and not {name!r}")
    return Group(name)


class Groups:
    """The function of an app that says who is in a group; made by `groups`."""

    def __init__(self, function: Members) -> None:
        self.function = function

    def __call__(self, name: str) -> Iterable[str]:
        """Who is in the group of this name."""
        return self.function(name)


def groups(function: Members) -> Groups:
    """Mark the one function of an app that says who is in a group.

        @groups
        def members(name: str) -> list[str]:
            return DIRECTORY[name]

    It is called when an approval is asked for, inside of the workflow, and what it gives is
    recorded. Raises `UsageError` for a coroutine function.
    """
    if inspect.iscoroutinefunction(function):
        told = "read what needs I/O in a step, and give the people as a list"
        raise UsageError(f"the function of @groups is a plain function: {told}")
    return Groups(function)


class Setting(NamedTuple):
    """What a run has around it: who started it, the app's groups, and for which time it is."""

    starter: str = ""
    members: Members | None = None
    scheduled: Millis | None = None


setting: ContextVar[Setting] = ContextVar("rewake_setting", default=Setting())  # noqa: B039 frozen


def terms_asked(
    approvers: Sequence[str | Group], quorum: int, reject: str, *, self_approval: bool
) -> Terms:
    """The terms of an approval that is asked for now. Raises `UsageError`."""
    _check_kinds(approvers, quorum, reject)
    here = setting.get()
    starter = "" if self_approval else here.starter
    people, in_groups = dict[str, str](), dict[str, list[str]]()
    for each in approvers:
        if isinstance(each, str):
            if folded(each) in people:
                raise UsageError(_NO_NAMES)
            people[folded(each)] = each
            continue
        in_groups[each.name] = _members(each.name, here.members)
        for person in in_groups[each.name]:
            people.setdefault(folded(person), person)
    bars = Terms(starter=starter).bars
    asked = [person for person in people.values() if not bars(person)]
    if len(asked) > MOST_APPROVERS:
        raise UsageError(f"an approval can be asked of at most {MOST_APPROVERS} people")
    _check_enough(asked, quorum, reject, approvers, self_approval=self_approval, starter=starter)
    return Terms(asked, quorum, Reject(reject), in_groups, starter)


_NO_NAMES = "approvers is a list of texts, such as addresses, none of them twice, and of groups"


def _check_kinds(approvers: Sequence[Any], quorum: Any, reject: Any) -> None:
    given = [] if isinstance(approvers, str) else list(approvers)
    right = all(isinstance(each, Group) or (isinstance(each, str) and each) for each in given)
    if isinstance(approvers, str) or not right:
        raise UsageError(_NO_NAMES)
    long = [each for each in given if isinstance(each, str) and not is_name(each)]
    if long:
        told = f"a line of at most {LONGEST_APPROVER} bytes, such as an address"
        raise UsageError(f"an approver is {told}, and not {long[0][:80]!r}")
    if type(quorum) is not int or quorum < 1:
        raise UsageError(f"quorum={quorum!r}: it is how many must approve, 1 or more")
    if reject not in list(Reject):
        raise UsageError(f"reject={reject!r}: it is 'any' or 'majority'")


def _check_enough(
    asked: list[str],
    quorum: int,
    reject: str,
    approvers: Sequence[str | Group],
    *,
    self_approval: bool,
    starter: str,
) -> None:
    """Raise `UsageError` where too few are asked by name."""
    if not self_approval and not approvers:
        told = "without names nobody can tell who started the run from others"
        raise UsageError(f"self_approval=False needs approvers: {told}")
    if reject == Reject.MAJORITY and not approvers:
        raise UsageError("reject='majority' needs approvers")
    if quorum > max(1, len(asked)) or (approvers and not asked):
        but = f" but {person_in(starter)}, who started the run" if starter else ""
        raise UsageError(f"quorum={quorum}, and it is asked of {len(asked)} people{but}")


def _members(name: str, members: Members | None) -> list[str]:
    if members is None:
        told = "mark the function that says who is in a group with @groups"
        raise UsageError(f"the app does not say who is in {name!r}: {told}")
    found = members(name)
    people = [] if isinstance(found, str) else list(dict.fromkeys(found))
    if isinstance(found, str) or not people or not all(map(is_name, people)):
        told = "a list of texts, such as addresses, and not of none"
        raise UsageError(f"the people of the group {name!r} are {told}")
    return people
