"""The pages, drawn: strict templates, every value escaped, one stylesheet inside of the page.

The stylesheet is allowed by its hash, and nothing else is: no script, no picture, no font, no other
address but for the form's own. So a page needs nothing beside itself, below whatever prefix.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from rewake.pages.controls import Control, Drawing
from rewake.pages.fields import Field, Kind
from rewake.pages.prose import line, paragraphs, shown
from rewake.pages.schemas import root_field
from rewake.values.schemas import ROOT

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES: Final = Path(__file__).with_name("templates")
LONGEST_COMMENT: Final = 10_000
LONGEST_HEADING: Final = 150

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS: Final = "JanFebMarAprMayJunJulAugSepOctNovDec"
_WORDS: Final[Mapping[str, tuple[str, str]]] = {
    "approved": ("Approved", "done"),
    "rejected": ("Rejected", "failed"),
    "timed_out": ("Nobody decided in time", "over"),
}
"""What a decision is called, and in which colour."""
_OTHERS: Final = {decision: state for decision, (_, state) in _WORDS.items()}


class Asked(msgspec.Struct, frozen=True):
    """What is asked of whom. `action` is what alone may be done, if it is not either."""

    title: str
    description: str
    schema: dict[str, Any] | None
    run: str
    workflow: str
    approver: str
    asked_at: int
    expires: int | None
    action: str
    others: list[tuple[str, str]]
    """Who else is asked, and what they decided."""
    call: str = ""
    """What is called if it is approved, if that is known."""
    progress: str = ""
    """How many must decide, where one is not enough."""
    can_delegate: bool = False
    """Whether the holder can hand it on to somebody else."""
    given_by: str = ""
    """Who handed it on to the holder, if somebody did."""


class Question(msgspec.Struct, frozen=True):
    """What is asked, as it is shown: a heading, the text below it, the approval's name if apart."""

    heading: str
    text: str
    name: str = ""


class Problem(msgspec.Struct, frozen=True):
    """A line of the summary of errors: of which control, if of one."""

    told: str
    label: str = ""
    focus: str = ""


# --- the pages ---------------------------------------------------------------------------------


def page(
    asked: Asked,
    *,
    post_to: str,
    nonce: str,
    values: Mapping[str, Any] = {},
    errors: Mapping[str, str] = {},
) -> str:
    """The open page: what is asked, the form, the buttons.

    `values` are the fields as they were posted, by name: with them, or with `errors`, the page
    shows again what was typed. Errors go by the paths of fields, or are `comment`'s.
    """
    root = None
    if asked.schema is not None and asked.action != "reject":
        root = root_field(asked.schema)
    typed = {name: _posted(each) for name, each in values.items()}
    # An error may say itself what it is about, which here its place does.
    told = {path: each.removeprefix(f"{path}: ") for path, each in errors.items()}
    places = {path: _place(path, root) for path in errors}
    located = {place: told[path] for path, place in places.items() if place}
    drawing = Drawing(typed if values or errors else None, located)
    is_asked = root is not None and root.kind is not Kind.CONSTANT
    form = drawing.control(root) if root is not None and is_asked else None
    beside = {name: _filled(each, typed, located) for name, each in _BESIDE.items()}
    problems = [Problem(shown(told[path])) for path, place in places.items() if not place]
    return _rendered(
        "ask.html",
        asked=asked,
        question=_question(asked),
        post_to=post_to,
        nonce=nonce,
        form=form,
        **beside,
        problems=[*problems, *_problems(form, *beside.values())],
    )


def done(
    asked: Asked, *, decision: str, by: str, at: int, comment: str, is_open: bool = False
) -> str:
    """The page of what is decided: `decision` is `approved`, `rejected` or `timed_out`.

    `is_open`: it is one vote of several, and the approval is still open.
    """
    word, state = _WORDS.get(decision, (line(decision), "over"))
    return _rendered(
        "done.html",
        asked=asked,
        question=_question(asked),
        word=word,
        state=state,
        by=by,
        at=at,
        comment=comment,
        is_open=is_open,
    )


def handed_on(asked: Asked, *, to: str, link: str) -> str:
    """The page of who has handed it on: to whom, and the link that is theirs."""
    return _rendered(
        "handed_on.html", asked=asked, question=_question(asked), to=to, link=shown(link)
    )


def gone(reason: str) -> str:
    """The page of a link that can decide nothing any more: expired, withdrawn, its run over."""
    return _rendered(
        "notice.html",
        asked=None,
        state="over",
        eyebrow="Nothing to decide",
        title="This link is no longer open",
        detail=reason,
        note="If a decision is still needed, ask whoever sent you the link for a new one.",
    )


def refused(title: str, detail: str) -> str:
    """The page of a request that was refused."""
    return _rendered(
        "notice.html",
        asked=None,
        state="failed",
        eyebrow="Refused",
        title=title,
        detail=detail,
        note="Nothing was decided.",
    )


def _rendered(name: str, **told: Any) -> str:
    html = _environment().get_template(name).render(**told)
    # What is no character cannot be sent.
    return html.encode("utf-8", "replace").decode()


# --- errors ------------------------------------------------------------------------------------


def _place(path: str, root: Field | None) -> str:
    """The path of the innermost control that an error is about; none if there is none."""
    if path in _BESIDE:
        return path
    paths = [] if root is None else [each.path for each in _shown_of(root)]
    inner = [each for each in paths if path == each or _is_inside(path, each)]
    return max(inner, key=len, default="")


def _is_inside(path: str, outer: str) -> bool:
    return path.startswith((f"{outer}.", f"{outer}["))


def _shown_of(root: Field) -> Iterator[Field]:
    """The fields that have a control. A group that is the whole answer has none."""
    is_whole_group = root.kind is Kind.GROUP and root.path == ROOT
    if root.kind is not Kind.CONSTANT and not is_whole_group:
        yield root
    for _, member in root.members:
        yield from _shown_of(member)


def _problems(form: Control | None, *others: Control) -> Iterator[Problem]:
    """The errors of controls, in the order of the page."""
    for control in [*(form.all() if form is not None else ()), *others]:
        if control.error:
            yield Problem(control.error, control.label, control.focus)


# --- parts -------------------------------------------------------------------------------------


def _question(asked: Asked) -> Question:
    """A title that is but a name, such as `manager`, leaves the heading to a short first line."""
    first, _, rest = asked.description.strip().partition("\n")
    is_name = not any(map(str.isspace, asked.title))
    if is_name and first.strip() and len(first) <= LONGEST_HEADING and "://" not in first:
        return Question(first, rest, asked.title)
    return Question(asked.title, asked.description)


def _posted(value: Any) -> list[str]:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [each for each in value if isinstance(each, str)]
    return [value if isinstance(value, str) else str(value)]


_COMMENT: Final = Control(
    shape="textarea",
    id="comment",
    name="comment",
    label="Comment",
    help=[],
    advice="",
    error="",
    attributes={"rows": "2", "maxlength": str(LONGEST_COMMENT)},
    is_optional=True,
)
_DELEGATE: Final = Control(
    shape="input",
    id="delegate",
    name="delegate",
    label="Who shall decide instead",
    help=[],
    advice="Such as an address. They get a link of their own, and yours is used up.",
    error="",
    attributes={"type": "text", "maxlength": "254", "autocomplete": "off"},
    is_optional=False,
)
_BESIDE: Final = {each.name: each for each in (_COMMENT, _DELEGATE)}
"""What a page asks beside the form, by name."""


def _filled(
    blank: Control, typed: Mapping[str, Sequence[str]], errors: Mapping[str, str]
) -> Control:
    posted = typed.get(blank.name, ())
    error = shown(errors.get(blank.name, ""))
    return msgspec.structs.replace(blank, text=posted[0] if posted else "", error=error)


def _moment(at: int) -> datetime | None:
    try:
        return _EPOCH + timedelta(milliseconds=at)
    except OverflowError:
        return None


def _clock(at: int) -> str:
    """A moment for people. No zone of theirs is known here, so it is in UTC and says so."""
    moment = _moment(at)
    if moment is None:
        return "the end of time"
    day, month = _DAYS[moment.weekday()], _MONTHS[3 * moment.month - 3 : 3 * moment.month]
    return f"{day} {moment.day} {month} {moment.year}, {moment:%H:%M} UTC"


def _instant(at: int) -> str:
    """A moment for machines."""
    moment = _moment(at)
    return "9999-12-31T23:59:59Z" if moment is None else f"{moment:%Y-%m-%dT%H:%M:%SZ}"


# --- templates ---------------------------------------------------------------------------------


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # noqa: PLC0415 slow

    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        auto_reload=False,
    )
    made.filters |= {"line": line, "paragraphs": paragraphs, "clock": _clock, "instant": _instant}
    made.filters["shown"] = shown
    made.globals["decisions"] = _OTHERS
    made.globals["icons"] = made.get_template("icons.html").module
    made.globals["prose"] = _macro(made, "prose.html", "prose")
    made.globals["moment"] = _macro(made, "facts.html", "moment")
    made.globals["facts"] = _macro(made, "facts.html", "facts")
    made.globals["controls"] = made.get_template("controls.html").module
    return made


def _macro(environment: Environment, template: str, name: str) -> Any:
    return getattr(environment.get_template(template).module, name)


def _content_security_policy() -> str:
    # As a template has it: without the last end of line.
    style = (TEMPLATES / "page.css").read_text(encoding="utf-8").removesuffix("\n")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return (
        f"default-src 'none'; style-src 'sha256-{digest}'; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    )


CSP: Final = _content_security_policy()
"""The `Content-Security-Policy` that these pages are sent with."""
