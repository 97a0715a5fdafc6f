"""Our signature is botocore's."""

from __future__ import annotations

from typing import Any, cast

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from hypothesis import given
from hypothesis import strategies as st

from rewake.aws.account import Keys
from rewake.aws.signing import Scope, sign_root

WORDS = st.text("abcXYZ019._-", min_size=1, max_size=20)
URLS = st.sampled_from(
    ["https://dynamodb.eu-central-1.amazonaws.com/", "http://127.0.0.1:8000/", "http://[::1]:80/"]
)


@given(
    keys=st.builds(Keys, WORDS, WORDS, st.none() | WORDS),
    scope=st.builds(Scope, st.sampled_from(["dynamodb", "sqs"]), WORDS),
    url=URLS,
    headers=st.dictionaries(st.sampled_from(["Content-Type", "X-Amz-Target"]), WORDS),
    body=st.binary(),
)
def test_it_is_the_same_as_botocore_s(
    keys: Keys, scope: Scope, url: str, headers: dict[str, str], body: bytes
) -> None:
    """Of any credentials, headers and bodies of a request to the root."""
    request = AWSRequest("POST", url, headers=dict(headers), data=body)
    signer = SigV4Auth(cast(Any, keys), *scope)
    signer.add_auth(request)
    stamp = request.headers["X-Amz-Date"]
    signed = sign_root(keys, scope, stamp, "POST", url, headers, body)
    expected = {name.lower(): value for name, value in request.headers.items()}
    assert signed == expected
