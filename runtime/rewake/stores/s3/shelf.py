"""A shelf in a bucket of S3, or of anything that speaks as S3 does.

    PREFIX/<run>/<name>    a value, with the digest of its bytes beside it

All of a run is under its name, so that it can be removed with it. The first writing of a name
stands; a store that does not know `If-None-Match` writes the same bytes again, for a name is the
hash of what it names. Encryption at rest is asked for with each value.
"""

from __future__ import annotations

import hashlib
import html
import random
import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from urllib.parse import quote, urlencode

from rewake.aws.tries import Tries
from rewake.aws.wire import Answer, Lost, NotSent, Wire
from rewake.errors import CheckpointUnreadable, StoreUnavailable
from rewake.stores.bills import GETS, PUTS, Bills
from rewake.stores.blobs import owner_of

DIGEST = "x-amz-meta-sha256"
"""The header that keeps the digest of a value."""
ENCRYPTION = "x-amz-server-side-encryption"
"""The header that asks for encryption at rest."""
_KEY = re.compile(rb"<Key>([^<]*)</Key>")
_LISTED = 1_000
"""The most objects that one request lists, or removes."""
_CODE = re.compile(rb"<Code>([^<]*)</Code>")
_MESSAGE = re.compile(rb"<Message>([^<]*)</Message>")
_THROTTLED = frozenset({"SlowDown", "RequestTimeout", "OperationAborted", "ThrottlingException"})
_CONFLICT = "ConditionalRequestConflict"
_SKEWED = "RequestTimeTooSkewed"
_UNKNOWN = "NotImplemented"
"""What a store answers that knows no condition on what it is given; others pass it over."""
_EXPIRED = frozenset({"ExpiredToken", "InvalidAccessKeyId", "InvalidToken"})
_AGAIN = 2
_THERE = 412
_TOLD = 400
"""The most characters of an error that are told."""


class S3Shelf:
    """A `Shelf` in `bucket`, below `prefix`. `encryption` is how values are encrypted there.

    `bills` counts the requests, by the runs that they are for.
    """

    def __init__(
        self,
        wire: Wire,
        bucket: str,
        prefix: str = "",
        *,
        encryption: str = "AES256",
        chance: random.Random | None = None,
        bills: Bills | None = None,
    ) -> None:
        self._wire = wire
        self._bills = bills or Bills()
        self._bucket = bucket
        self._prefix = prefix
        self._encryption = {ENCRYPTION: encryption} if encryption else {}
        self._only_first: Mapping[str, str] = {"If-None-Match": "*"}
        self._chance = chance or random.Random()

    async def put_blob(self, run: str, name: str, data: bytes) -> None:
        """Keep a large value under its run. Writing the same name again changes nothing."""
        self._count(run, PUTS)
        headers = {
            "Content-Type": "application/octet-stream",
            **self._only_first,
            DIGEST: hashlib.sha256(data).hexdigest(),
            **self._encryption,
        }
        answer = await self._ask("PUT", self._path(run, name), headers, data)
        if code_of(answer) == _UNKNOWN and "If-None-Match" in headers:
            self._only_first = {}
            await self.put_blob(run, name, data)
            return
        if answer.status not in (200, _THERE):
            raise self._refusal("keep", answer)

    async def get_blob(self, run: str, name: str) -> bytes:
        """A large value. Raises `CheckpointUnreadable` if it is not there, or damaged."""
        self._count(run, GETS)
        answer = await self._ask("GET", self._path(run, name), {}, b"")
        if answer.status == 404 and code_of(answer) in ("NoSuchKey", ""):
            raise CheckpointUnreadable(f"run {run} has no stored value {name!r}")
        if answer.status != 200:
            raise self._refusal("read", answer)
        told = answer.headers.get(DIGEST)
        if told is not None and told != hashlib.sha256(answer.body).hexdigest():
            raise CheckpointUnreadable(f"run {run}: the stored value {name!r} is damaged")
        return answer.body

    async def delete_blobs(self, run: str, *, limit: int) -> bool:
        """Remove values of a run, at most so many. Whether there may be more."""
        begin, behind = "/".join(self._key(run, "")), ""
        while True:
            keys, more = await self._list(begin, limit if not behind else _LISTED, behind)
            # Another app may be called as this run is: what lies deeper is that one's.
            own = [key for key in keys if "/" not in key.removeprefix(begin)]
            if own:
                await self._delete(own[:limit])
            if own or not more:
                return more or len(own) > limit
            behind = keys[-1]

    async def listed(self, after: tuple[str, str], limit: int) -> list[tuple[str, str]]:
        """The values that there are, by run and name, behind this one: for who copies them."""
        begin = "/".join([*self._key("", "")[:-2], ""]) if self._prefix else ""
        behind, size = "/".join(self._key(*after)) if after[0] else "", limit
        while True:
            keys, more = await self._list(begin, size, behind)
            # A bucket may have what is of other apps, and of no app at all: perhaps very much.
            parts = [key.removeprefix(begin).split("/") for key in keys]
            found = [(each[0], each[1]) for each in parts if len(each) == 2 and all(each)]
            if found or not more:
                return found[:limit]
            behind, size = keys[-1], _LISTED

    async def _list(self, begin: str, limit: int, behind: str = "") -> tuple[list[str], bool]:
        """Some of the keys that begin so, behind this one. And whether there are more."""
        query = {"list-type": "2", "max-keys": str(min(limit, _LISTED)), "prefix": begin}
        query |= {"start-after": behind} if behind else {}
        # Signed as it is sent: in the order of names.
        asked = urlencode(sorted(query.items()), quote_via=quote, safe="-_.~")
        listed = await self._ask("GET", f"/{self._bucket}?{asked}", {}, b"")
        if listed.status != 200:
            raise self._refusal("list", listed)
        keys = [html.unescape(each.decode()) for each in _KEY.findall(listed.body)]
        more = b"<IsTruncated>true<" in listed.body
        if more and not keys:  # nobody can go on behind that
            told = "it lists nothing, and says that there is more"
            raise StoreUnavailable(f"s3://{self._bucket} does not list a value: {told}")
        return keys, more

    async def _delete(self, keys: Sequence[str]) -> None:
        """Remove some objects; one that is not there is no error."""
        named = "".join(f"<Object><Key>{html.escape(key)}</Key></Object>" for key in keys)
        body = f"<Delete><Quiet>true</Quiet>{named}</Delete>".encode()
        digest = hashlib.md5(body, usedforsecurity=False).digest()  # S3 asks for it
        headers = {"Content-Type": "application/xml", "Content-MD5": b64encode(digest).decode()}
        answer = await self._ask("POST", f"/{self._bucket}?delete=", headers, body)
        if answer.status != 200 or b"<Error>" in answer.body:
            raise self._refusal("remove", answer)

    async def close(self) -> None:
        """End the connections."""
        await self._wire.close()

    def _count(self, run: str, what: str) -> None:
        """Count a request for the run that it is for; what is cached is of none."""
        if owner := owner_of(run):
            self._bills.note(owner, {what: 1})

    def _path(self, run: str, name: str) -> str:
        parts = [self._bucket, *self._key(run, name)]
        return "".join(f"/{quote(part, safe='-_.~')}" for part in parts)

    def _key(self, run: str, name: str) -> list[str]:
        return [*filter(None, self._prefix.split("/")), run, name]

    async def _ask(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """The answer, once it says something: whatever is asked here may be asked twice."""
        tries, signed = Tries(self._chance), 0
        while True:
            try:
                answer = await self._wire.send(method, path, headers, body)
            except (NotSent, Lost) as error:
                await tries.again(str(error))
                continue
            # A value may be what S3 said, to somebody else.
            code = "" if method == "GET" and answer.status == 200 else code_of(answer)
            busy = answer.status >= 500 and code != _UNKNOWN
            again = busy or code in _THROTTLED or code == _CONFLICT
            if code in _EXPIRED or code == _SKEWED:
                signed += 1
                again = signed <= _AGAIN
                if code in _EXPIRED:
                    await self._wire.renew()
            if not again:
                return answer
            await tries.again(f"S3: {said(answer)}")

    def _refusal(self, doing: str, answer: Answer) -> StoreUnavailable:
        return StoreUnavailable(f"s3://{self._bucket} does not {doing} a value: {said(answer)}")


def code_of(answer: Answer) -> str:
    """The code of an error; empty if the answer has none."""
    found = _CODE.search(answer.body) if answer.status >= 300 or b"<Error>" in answer.body else None
    return found[1].decode(errors="replace") if found else ""


def said(answer: Answer) -> str:
    """What an error says, in one line."""
    message = _MESSAGE.search(answer.body)
    text = message[1].decode(errors="replace").partition("\n")[0][:_TOLD] if message else ""
    told = (
        f"{code_of(answer) or answer.status}: {text}"
        if text
        else f"{code_of(answer) or answer.status}"
    )
    region = answer.headers.get("x-amz-bucket-region")
    moved = answer.status in (301, 307) and region
    return f"{told} (the bucket is in {region})" if moved else told
