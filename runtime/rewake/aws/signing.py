"""The signature of a request to AWS (version 4), by botocore or, where each one counts, by hand.

Botocore's signer takes any request, and a quarter of the processor that a write of DynamoDB takes
of this process. Requests to DynamoDB and SQS have one form: to the root, without a query, and the
key that signs them is the same for a day. What is left then is a few lines (`sign_root`), which a
test holds against botocore's.
"""

from __future__ import annotations

import functools
import hmac
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any, NamedTuple, cast
from urllib.parse import urlsplit

from rewake.aws.account import Keys

_ALGORITHM = "AWS4-HMAC-SHA256"
_END = "aws4_request"


class Scope(NamedTuple):
    """What a signature is for, beside the request."""

    service: str
    region: str


Sign = Callable[[Keys, Scope, str, str, str, Mapping[str, str], bytes], dict[str, str]]
"""Gives the headers of a signed request: of keys, scope, time, method, address, headers, body."""


def sign_root(
    keys: Keys,
    scope: Scope,
    stamp: str,
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: bytes,
) -> dict[str, str]:
    """The headers of a request to the root of a service, of which no value has spaces to trim."""
    signed = {name.lower(): value for name, value in headers.items()}
    signed |= {"host": _host(url), "x-amz-date": stamp}
    if keys.token:
        signed["x-amz-security-token"] = keys.token
    names = sorted(signed)
    listed = ";".join(names)
    told = [f"{name}:{signed[name]}" for name in names]
    canonical = "\n".join([method, "/", "", *told, "", listed, sha256(body).hexdigest()])
    place = f"{stamp[:8]}/{scope.region}/{scope.service}/{_END}"
    text = "\n".join([_ALGORITHM, stamp, place, sha256(canonical.encode()).hexdigest()])
    key = _key(keys.secret_key, stamp[:8], scope)
    signature = hmac.new(key, text.encode(), sha256).hexdigest()
    credential = f"{_ALGORITHM} Credential={keys.access_key}/{place}"
    signed["authorization"] = f"{credential}, SignedHeaders={listed}, Signature={signature}"
    del signed["host"]  # it is sent anyway
    return signed


@functools.lru_cache(4)
def _host(url: str) -> str:
    """As clients send it: without the port that goes without saying."""
    parts = urlsplit(url)
    return parts.netloc.removesuffix({"http": ":80", "https": ":443"}[parts.scheme])


@functools.lru_cache(4)
def _key(secret: str, day: str, scope: Scope) -> bytes:
    """The key that signs on a day."""
    key = f"AWS4{secret}".encode()
    for part in (day, scope.region, scope.service, _END):
        key = hmac.new(key, part.encode(), sha256).digest()
    return key


@functools.cache
def sign_any(service: str) -> Sign:
    """The function that signs any request to a service, by botocore."""
    from botocore.auth import S3SigV4Auth, SigV4Auth  # noqa: PLC0415 - it takes a while to import
    from botocore.awsrequest import AWSRequest  # noqa: PLC0415

    class Signer(S3SigV4Auth if service == "s3" else SigV4Auth):  # type: ignore[misc]
        """Signs for the time that it is told, for this machine's clock may be wrong."""

        stamp = ""

        def _modify_request_before_signing(self, request: Any) -> None:
            request.context["timestamp"] = self.stamp
            super()._modify_request_before_signing(request)

    def sign(
        keys: Keys,
        scope: Scope,
        stamp: str,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
    ) -> dict[str, str]:
        request = AWSRequest(method, url, headers=dict(headers), data=body)
        signer = Signer(cast(Any, keys), *scope)
        signer.stamp = stamp
        signer.add_auth(request)
        return dict(request.headers.items())

    return sign
