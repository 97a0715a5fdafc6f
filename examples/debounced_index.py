"""A document is indexed once it has not been changed for a while, however often it was saved.

    rewake dev examples/debounced_index.py
    rewake start index --input '{"document": "d1", "version": 1}'

Inngest's `debounce`. All saves of a document until then are one run, which begins with the last of
them; a document that is saved all day is indexed every ten minutes.
"""

from __future__ import annotations

from rewake import debounce, task, workflow

INDEX: dict[str, int] = {}


@task(retries=5)
def put(document: str, version: int) -> str:
    INDEX[document] = version
    return f"{document} at version {version}"


@workflow(debounce=debounce(30, longest=600, key=lambda document: document))
async def index(document: str, version: int) -> str:
    return await put(document, version)
