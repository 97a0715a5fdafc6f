"""The door for payload codecs: what becomes of users' data on its way to the store and back.

`AesGcm` is the one of `REWAKE_ENCRYPTION_KEYS`. One of your own is any object with the two methods
of `PayloadCodec`; `REWAKE_CODEC=module:name` names it, and embedders give it to the `Secret`:

    from rewake.codecs import AesGcm
    from rewake.embed import Secret

    secret = Secret("a long random text", codec=AesGcm({"2026": key}))
"""

from __future__ import annotations

from rewake.errors import CheckpointForged, ReadableElsewhere
from rewake.signing.aes_gcm import AesGcm
from rewake.signing.payloads import Context, PayloadCodec

__all__ = ["AesGcm", "CheckpointForged", "Context", "PayloadCodec", "ReadableElsewhere"]
