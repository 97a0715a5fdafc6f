"""The codec of a run, for whoever has values of it and has not read the run itself.

In a run that began encrypted a plain value was put there by somebody else, and must not be loaded:
no task is called with such arguments, and nobody decides on such a text. Only its header says how a
run began. It is read where a plain value is met by a process that encrypts, so hardly ever.
"""

from __future__ import annotations

from rewake.engine.services import Services
from rewake.records import Value
from rewake.values.run_codec import RunCodec
from rewake.values.sealing import SEALED


async def codec_for(services: Services, run: str, *values: Value) -> RunCodec:
    """The codec to read these values of a run with."""
    secret, header = services.secret, None
    if secret.codec is not None and any(each.codec != SEALED for each in values):
        header = await services.store.find(run)
    return RunCodec(secret, run, sealed=header is not None and header.digest_key != "")
