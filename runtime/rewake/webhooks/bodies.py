"""What a delivery's body holds where it is a form: fields and files. All of it is bounded.

A delivery is verified over its raw bytes, and only then parsed.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from rewake.errors import InvalidInput

PARTS = 1_000
"""The most fields and files of a form."""

_JSON = re.compile(r"application/(json|[\w.-]+\+json)", re.ASCII)
_URLENCODED = "application/x-www-form-urlencoded"
_MULTIPART = "multipart/form-data"


class File(bytes):
    """A file of a form: its content, and what the sender says of it, which nobody has checked."""

    name: str
    media_type: str

    def __new__(cls, content: bytes, name: str = "", media_type: str = "") -> File:
        """A file with this content."""
        made = super().__new__(cls, content)
        made.name, made.media_type = name, media_type
        return made


class Form(NamedTuple):
    """The fields of a form, and its files, in order."""

    fields: list[tuple[str, str]]
    files: list[tuple[str, File]]


def media_type(content_type: str) -> str:
    """The media type of a Content-Type, without its parameters."""
    return content_type.partition(";")[0].strip().lower()


def is_json(content_type: str) -> bool:
    """Whether a body of this type is JSON."""
    return _JSON.fullmatch(media_type(content_type)) is not None


def is_form(content_type: str) -> bool:
    """Whether a body of this type is a form."""
    return media_type(content_type) in (_URLENCODED, _MULTIPART)


def form_of(content_type: str, body: bytes) -> Form:
    """The body as a form; of another content type, an empty one. Raises `InvalidInput`."""
    kind = media_type(content_type)
    if kind == _URLENCODED:
        return _urlencoded(body)
    return _multipart(content_type, body) if kind == _MULTIPART else Form([], [])


def _urlencoded(body: bytes) -> Form:
    try:
        pairs = parse_qsl(
            body.decode("utf-8"), keep_blank_values=True, errors="strict", max_num_fields=PARTS
        )
    except ValueError as error:
        raise InvalidInput(f"the body is no form: {error}") from None
    return Form(pairs, [])


def _multipart(content_type: str, body: bytes) -> Form:
    # Few apps need it, so the library is imported by the first who does.
    from python_multipart.multipart import FormParser, parse_options_header  # noqa: PLC0415

    found, ended = Form([], []), []

    def take(part: Any) -> None:
        if len(found.fields) + len(found.files) >= PARTS:
            raise InvalidInput(f"the form has more than {PARTS} parts")
        name = part.field_name.decode()
        if not hasattr(part, "file_object"):
            found.fields.append((name, (part.value or b"").decode()))
            return
        part.file_object.seek(0)
        file = File(part.file_object.read(), part.file_name.decode(), part.content_type or "")
        found.files.append((name, file))

    try:
        boundary = parse_options_header(content_type)[1][b"boundary"]
        in_memory = {"MAX_MEMORY_FILE_SIZE": float("inf")}
        parser = FormParser(
            _MULTIPART, take, take, lambda: ended.append(True), boundary, config=in_memory
        )
        parser.write(body)
        parser.finalize()
    except (ValueError, KeyError) as error:
        raise InvalidInput(f"the body is no form: {error}") from None
    if not ended:
        raise InvalidInput("the body is no form: its end is missing")
    return found
