"""What a link to an approval opens: a page that shows it, and the decision.

Showing decides nothing, uses nothing up and writes nothing, however often previews and scanners
ask. A form is taken from the page alone: its nonce was signed for this link. JSON needs none, for
no page of others can send it. What a link is for is in the link: who decides is its holder (whom
the server may also ask to prove it, `http/people.py`), and one that is for an action allows that
only.

**A link that is not genuine is a 404**, always the same one: nobody is asked who they are, as no
credentials would help, and what a stranger tries to guess is told apart in nothing. One that was
made here and is over is a 410.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qs

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from rewake import pages
from rewake.authoring.approval import Approval
from rewake.authoring.ballots import Action, Ballot, Delegation, Vote
from rewake.authoring.binding import call_text
from rewake.engine.outside.approvals import Approvals, Standing
from rewake.engine.turns.matters import DECIDED, decided_by
from rewake.errors import InvalidInput, LinkExpired, RewakeError, RunConflict, Unauthentic
from rewake.http.admission import act_of, note_holder
from rewake.http.ballots import (
    DelegationBody,
    counted,
    handed_on,
    is_delegation,
    others_of,
    own_vote,
    progress_of,
)
from rewake.http.bodies import media_type_of, read_body, read_object, shaped
from rewake.http.parts import Parts, parts_of, reply
from rewake.http.problems import Problem, log_failure, plain, problem, problem_of
from rewake.signing.links import Link, Links, LinkUse
from rewake.signing.nonces import is_fresh, new_nonce
from rewake.views.moments import millis_at

log = logging.getLogger("rewake.http")

LIMIT: Final = 1_048_576
"""The largest body, in bytes: a browser sends twelve for one character of a comment."""
MOST_FIELDS: Final = 2_000
"""The most fields of a form."""
_FORM: Final = "application/x-www-form-urlencoded"
_PREVIEWS: Final = {"purpose", "sec-purpose", "x-moz", "x-purpose"}
"""Headers that a browser sends with what nobody has opened yet."""
_DELEGATE: Final = "delegate"
_STALE: Final = "This page was open for too long. Please send it once more."
_NO_PAGE: Final = (
    "This was not sent from this page. Decide here, or send JSON (Content-Type: application/json)."
)


class Answer(msgspec.Struct, forbid_unknown_fields=True):
    """A decision as JSON. `value` is the filled-in form."""

    approved: bool
    value: Any = None
    comment: str | None = None


class _Opened:
    """A genuine link, and what it is of."""

    def __init__(self, request: Request) -> None:
        """Raises `Unauthentic`, `LinkExpired`."""
        self.parts: Parts = parts_of(request)
        self.token: str = request.path_params["token"]
        self.now = self.parts.clock.now()
        services = self.parts.engine.services
        self.secret = services.secret
        self.link: Link = Links(services.secret).read(LinkUse.APPROVE, self.token, self.now)
        self._approvals = Approvals(self.parts.engine)
        self.holder = self.link.holder
        note_holder(request, self.link)

    async def know(self, request: Request) -> None:
        """Find out who opens it. Raises a 401 or 403 for whom it is not, and `RewakeError`."""
        people = self.parts.people
        try:
            found = await people.opener(request.scope)
        except HTTPException as error:
            if isinstance(error.__cause__, Unauthentic):
                act_of(request).why = error.__cause__.why
            raise
        if found is not None:
            act_of(request).who = found.who
            self.holder = people.as_holder(found, self.link.holder)

    async def look(self) -> Standing:
        """What it is of. Raises `LinkExpired`."""
        return await self._approvals.look(self.link)

    def check(self, action: Action) -> None:
        """Raise a 403 for what the link does not allow."""
        if self.link.action not in ("", action):
            raise HTTPException(403, f"this link can only {self.link.action}")

    async def decide(self, action: Action, value: Any, comment: str | None) -> Ballot:
        """Vote. Raises `InvalidInput`, `RunConflict`, `LinkExpired`, `DecisionForbidden`."""
        link = self.link
        answer = Approval(DECIDED[action], value, self.holder or None, comment or None)
        return await self._approvals.decide(link.run, link.key, answer, round=link.round)

    async def delegate(self, to: str, comment: str | None) -> tuple[Delegation, str]:
        """Hand the vote on. Returns that, and the delegate's link. Raises as `decide` does."""
        link = self.link
        if link.action:
            raise HTTPException(403, f"this link can only {link.action}")
        said = Delegation(self.holder, to, comment or None)
        about = (link.run, link.key, self.holder, to, comment or None)
        url = await self._approvals.delegate(*about, round=link.round)
        return said, url

    def page(
        self,
        found: Standing,
        status: int = 200,
        values: Mapping[str, Any] = {},
        errors: Mapping[str, str] = {},
    ) -> Response:
        """The page on which one decides."""
        nonce = new_nonce(self.secret, self.token, self.holder, self.now)
        # Relative, so that it leads back here below any prefix.
        post_to = self.token
        shown = pages.page(
            self.asked(found), post_to=post_to, nonce=nonce, values=values, errors=errors
        )
        return HTMLResponse(shown, status)

    def done(self, found: Standing, decided: Approval, at: int, status: int = 200) -> Response:
        """The page that says what was decided."""
        by, comment = found.ballot.named(decided.approver or ""), decided.comment or ""
        decision = str(decided.decision)
        asked = self.asked(found, decided.value)
        shown = pages.done(asked, decision=decision, by=by, at=at, comment=comment)
        return HTMLResponse(shown, status)

    def counted(self, found: Standing, mine: Vote, status: int = 200) -> Response:
        """The page of who has voted, where that decides nothing yet."""
        shown = pages.done(
            self.asked(found),
            decision=str(DECIDED[mine.action]),
            by=found.ballot.named(mine.approver or ""),
            at=millis_at(mine.at),
            comment=mine.comment or "",
            is_open=True,
        )
        return HTMLResponse(shown, status)

    def asked(self, found: Standing, edited: Any = None) -> pages.Asked:
        """What the pages say of it."""
        mine, ballot = self.holder, found.ballot
        return pages.Asked(
            title=found.name,
            description=found.description,
            schema=found.schema,
            run=self.link.run,
            workflow=found.workflow,
            approver=mine,
            asked_at=found.asked_at,
            expires=self.link.expires,
            action=self.link.action,
            others=others_of(ballot, mine, found.decided),
            call="" if found.binds is None else call_text(found.binds, edited),
            progress=progress_of(ballot),
            can_delegate=mine in ballot.holders and not self.link.action,
            given_by=ballot.named(mine).removeprefix(mine).removeprefix(", for "),
        )


# --- what is answered where something is wrong ---------------------------------------------------

_NOT_GENUINE = "There is nothing here. The link may have been cut off: copy it as a whole."


def _as_page(error: Exception) -> Response:
    match error:
        case Unauthentic():
            return HTMLResponse(pages.refused("Not found", _NOT_GENUINE), 404)
        case LinkExpired():
            return HTMLResponse(pages.gone(str(error)), 410)
        case HTTPException():
            status, told, headers = error.status_code, error.detail, error.headers
        case _:
            found = _as_problem(error)
            told = msgspec.json.decode(found.body, type=Problem).detail
            status, headers = found.status_code, {}
            if "retry-after" in found.headers:
                headers = {"Retry-After": found.headers["retry-after"]}
    return HTMLResponse(pages.refused("This was not done", told), status, headers)


def _as_problem(error: Exception) -> Response:
    match error:
        case Unauthentic():
            return plain(404, _NOT_GENUINE)
        case HTTPException():
            return plain(error.status_code, error.detail, error.headers)
        case _:
            response = problem_of(error)
    if response.status_code >= 500:
        log_failure("a link could not be followed", error)
    return response


# --- the endpoints -------------------------------------------------------------------------------


async def show(request: Request) -> Response:
    """`GET /approve/{token}`: what is asked, or what was decided. Decides and writes nothing."""
    try:
        opened = _Opened(request)
        await opened.know(request)
        found = await opened.look()
    except (RewakeError, HTTPException) as error:
        return _as_page(error)
    if request.method == "GET" and not _PREVIEWS & set(request.headers):
        opened.parts.views.note(opened.link.run, opened.link.key)
    return _after(opened, found)


async def decide(request: Request) -> Response:
    """`POST /approve/{token}`: decide, by the page's form or by JSON. The first decision stands."""
    by_form = media_type_of(request) == _FORM
    try:
        opened = _Opened(request)
        await opened.know(request)
        return await (_by_form if by_form else _by_json)(request, opened)
    except (RewakeError, HTTPException) as error:
        return (_as_page if by_form else _as_problem)(error)


async def _by_json(request: Request, opened: _Opened) -> Response:
    found = await opened.look()
    if found.decided is not None:
        return _conflict(found, found.decided)
    body, link = await read_object(request, LIMIT), opened.link
    if is_delegation(body):
        wanted = shaped(body, DelegationBody)
        said, url = await opened.delegate(wanted.delegate, wanted.comment)
        return reply(handed_on(link.run, link.key, said, url))
    answer = shaped(body, Answer)
    action = Action.APPROVE if answer.approved else Action.REJECT
    opened.check(action)
    try:
        ballot = await opened.decide(action, answer.value, answer.comment)
    except RunConflict:  # somebody was faster
        found = await opened.look()
        if found.decided is None:
            raise
        return _conflict(found, found.decided)
    told = counted(ballot, link.run, link.key, action, opened.holder)
    return reply({**told, "approver": opened.holder or None})


def _conflict(found: Standing, decided: Approval) -> Response:
    by = f" by {found.ballot.named(decided.approver)}" if decided.approver else ""
    told = f"it was decided already: {decided.decision}{by}"
    return problem(Problem("Conflict", 409, "urn:rewake:problem:conflict", told))


async def _by_form(request: Request, opened: _Opened) -> Response:
    posted = _fields(await read_body(request, LIMIT))
    found = await opened.look()
    if found.decided is not None:
        return opened.done(found, found.decided, found.decided_at, 409)
    values = {name: each[0] if len(each) == 1 else each for name, each in posted.items()}
    nonce, chosen = _one(posted, "nonce"), _one(posted, "decision")
    if not is_fresh(opened.secret, opened.token, opened.holder, nonce, opened.now):
        return opened.page(found, 403, values, {"": _STALE if nonce else _NO_PAGE})
    comment = _one(posted, "comment").strip()
    if chosen == _DELEGATE:
        return await _hand_on(opened, found, posted, values)
    if chosen not in list(Action):
        return opened.page(found, 422, values, {"decision": "Approve or reject."})
    action, value = Action(chosen), None
    opened.check(action)
    if action is Action.APPROVE:
        value, errors = pages.parse(found.schema, posted)
        if errors:
            return opened.page(found, 422, values, errors)
    try:
        ballot = await opened.decide(action, value, comment)
    except InvalidInput as error:
        return opened.page(found, 422, values, {error.field: str(error)})
    except RunConflict:  # somebody was faster
        found = await opened.look()
        if found.decided is None:
            raise
        return opened.done(found, found.decided, found.decided_at, 409)
    return _after(opened, found._replace(ballot=ballot))


async def _hand_on(
    opened: _Opened, found: Standing, posted: Mapping[str, list[str]], values: Mapping[str, Any]
) -> Response:
    try:
        to = _one(posted, _DELEGATE).strip()
        said, url = await opened.delegate(to, _one(posted, "comment").strip())
    except InvalidInput as error:
        return opened.page(found, 422, values, {error.field: str(error)})
    return HTMLResponse(pages.handed_on(opened.asked(found), to=said.delegate, link=url))


def _after(opened: _Opened, found: Standing) -> Response:
    """The page of what was decided, or of the own vote; else that on which one decides."""
    if found.decided is not None:
        return opened.done(found, found.decided, found.decided_at)
    if found.ballot.decision is not None:  # just now
        return opened.done(found, decided_by(found.ballot), opened.now)
    mine = own_vote(found.ballot, opened.holder)
    return opened.page(found) if mine is None else opened.counted(found, mine)


def _fields(body: bytes) -> dict[str, list[str]]:
    """The fields of a form, as a browser sends them. Raises a 400."""
    try:
        return parse_qs(
            body.decode("ascii"),
            keep_blank_values=True,
            max_num_fields=MOST_FIELDS,
            errors="strict",
        )
    except ValueError:
        raise HTTPException(400, "This is no form that a browser sends.") from None


def _one(posted: Mapping[str, list[str]], name: str) -> str:
    # Browsers end lines in their own way, and do not count that.
    return posted.get(name, [""])[0].replace("\r\n", "\n")
