"""Making a bucket for large values, and checking one: before anything runs with it, with boto3."""

from __future__ import annotations

from typing import Any

from rewake.aws.account import Account
from rewake.errors import StoreError, StoreUnavailable

_OLDEST = "us-east-1"
"""The region that a bucket is in if it says nothing, and that must not be named."""
_OURS = "BucketAlreadyOwnedByYou"


def create_bucket(account: Account, bucket: str) -> list[str]:
    """Make the bucket if there is none, encrypted and shut. Returns what was made.

    Raises `StoreError`.
    """
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    client = account.client("s3")
    if not _region_of(client, bucket):
        region = client.meta.region_name
        where = {} if region == _OLDEST else {"LocationConstraint": region}
        more = {"CreateBucketConfiguration": where} if where else {}
        try:
            client.create_bucket(Bucket=bucket, **more)
        except (BotoCoreError, ClientError) as error:
            if _OURS in str(error):  # somebody else makes it at the same time
                return []
            raise StoreError(f"the bucket {bucket} cannot be made: {error}") from error
        return [f"the bucket {bucket}"]
    return []


def check_bucket(account: Account, bucket: str) -> list[str]:
    """What does not fit of the bucket, a line each. Raises `StoreError` if nobody can tell."""
    client = account.client("s3")
    there, here = _region_of(client, bucket), client.meta.region_name
    if not there:
        return [f"there is no bucket {bucket}: rewake tables create makes it"]
    if there != here:
        return [f"the bucket {bucket} is in {there}, and this is {here}"]
    return []


def _region_of(client: Any, bucket: str) -> str:
    """The region of a bucket; empty: there is none."""
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    try:
        answer: Any = client.head_bucket(Bucket=bucket)
    except ClientError as error:
        answer = error.response
        status = answer["ResponseMetadata"]["HTTPStatusCode"]
        if status == 404:
            return ""
        if status not in (301, 307):
            told = "it is not ours, or s3:ListBucket is missing" if status == 403 else str(error)
            raise StoreError(f"the bucket {bucket} cannot be looked at: {told}") from error
    except BotoCoreError as error:
        raise StoreUnavailable(f"the bucket {bucket}: {error}") from error
    headers = answer["ResponseMetadata"]["HTTPHeaders"]
    return str(headers.get("x-amz-bucket-region") or client.meta.region_name)
