"""The endpoints of API tokens."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from rewake.errors import InvalidInput
from rewake.http.admission import act_of, principal_of
from rewake.http.bodies import query_limit, read_object, shaped, takes_query
from rewake.http.cursors import next_cursor, place_in
from rewake.http.parts import parts_of, reply
from rewake.records import Millis
from rewake.signing.api_tokens import make_token
from rewake.stores.keys import is_token_place
from rewake.views.access import token_view
from rewake.views.moments import millis_of


class TokenBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a request for a new token. `expires`: a moment; null: never. `tenant`: whose runs
    it is for, and no others.
    """

    name: str
    scopes: list[str]
    workflows: list[str] = []
    tenant: str = ""
    expires: str | None = None


@takes_query("cursor", "limit")
async def listing(request: Request) -> Response:
    """`GET /v1/tokens`: what each token allows, never a token itself."""
    limit = query_limit(request)
    store = parts_of(request).engine.services.store
    place = place_in(request, "cursor", str, is_token_place)
    page = await store.tokens.page(limit=limit, cursor=place)
    found = [token_view(each) for each in page.tokens]
    return reply({"tokens": found, "cursor": next_cursor(page.cursor)})


async def create(request: Request) -> Response:
    """`POST /v1/tokens`: make a token; only this answer has it."""
    parts = parts_of(request)
    asked = shaped(await read_object(request, parts.limit), TokenBody)
    act_of(request).about = asked.name
    expires, who, now = _moment(asked.expires), principal_of(request).who, parts.clock.now()
    text, token = make_token(
        asked.name,
        asked.scopes,
        asked.workflows,
        expires,
        by=who,
        now=now,
        tenant=asked.tenant,
    )
    await parts.engine.services.store.tokens.create(token)
    # One that was, or will be, deployed is no error; one that is misspelt should be seen.
    unknown = [each for each in token.workflows if each not in parts.engine.app.workflows]
    told = {"unknown": unknown} if unknown else {}
    return reply({**msgspec.to_builtins(token_view(token)), "token": text, **told}, 201)


async def revoke(request: Request) -> Response:
    """`DELETE /v1/tokens/{name}`: let a token be worth nothing any more."""
    store = parts_of(request).engine.services.store
    return reply(token_view(await store.tokens.revoke(request.path_params["name"])))


def _moment(text: str | None) -> Millis | None:
    try:
        return None if text is None else millis_of(text)
    except ValueError:
        told = "expires must be a time such as 2026-01-31T12:00:00Z"
        raise InvalidInput(told, field="expires") from None
