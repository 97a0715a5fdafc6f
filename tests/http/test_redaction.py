"""What is marked as secret is in no answer, page, error or line of log of ours; the body has it."""

from __future__ import annotations

import dataclasses
import enum
import logging
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import msgspec
import pydantic
import pytest
from starlette.testclient import TestClient

from rewake import Notice, approval, bind, callback, secret, step, task, workflow
from rewake.app import App
from rewake.authoring.inputs import Inputs
from rewake.clock import SystemClock
from rewake.codecs import AesGcm
from rewake.dispatchers.in_process import InProcessDispatcher
from rewake.engine.engine import Engine
from rewake.engine.settings import Settings
from rewake.errors import InvalidInput
from rewake.http.app import create_app
from rewake.signing.secret import Secret
from rewake.stores.sqlite.table import SqliteTable
from rewake.webhooks import anyone, webhook
from tests.support.server import SECRET, bearer

CANARY = "canary-4711"
Word = Annotated[str, secret]
SEEN: list[str] = []
"""What the code of users was given."""
SENT: list[str] = []


@dataclasses.dataclass
class Login:
    user: str
    password: Word


class Way(enum.Enum):
    FIRST = "first"


class Model(pydantic.BaseModel):
    user: str
    token: pydantic.SecretStr


@task
async def log_in(login: Login, word: Word) -> Login:
    SEEN.extend((login.password, word))
    return login


@task
async def untyped(login: Any):  # type: ignore[no-untyped-def]  # as people write
    return {"login": [login]}


@task
async def send(address: str) -> None:
    SENT.append(address)


async def _of_steps() -> Word:
    return CANARY


@workflow(webhook=webhook("login", verify=anyone()))
async def logs_in(
    login: Login, model: Model, word: Word, plain: str, way: Annotated[Way, secret] = Way.FIRST
) -> list[Login]:
    SEEN.extend((login.password, model.token.get_secret_value(), word))
    found = await log_in(login, word=word)
    await untyped(login)
    SEEN.append(await step("says", _of_steps))
    answer = await approval("ask", form=Login)
    SEEN.append(answer.value.password)
    typed = await approval("map", form={"pin": {"type": "string", "format": "password"}})
    SEEN.append(typed.value["pin"])
    wait = callback("machine", result=Login)
    await send(wait.url)
    SEEN.append((await wait).password)
    return [found]


@task
async def calls(user: str, word: Word, login: Login, loose: Any) -> str:
    SEEN.extend((word, login.password, loose.password))
    return user


@task
async def tell(notice: Notice) -> None:
    SENT.append(notice.call)


@workflow
async def binds(word: Word) -> str:
    call = bind(calls, "ann", word, Login("bob", word), Login("eve", word))
    return await call.run(await approval("call", binds=call, notify=tell))


@dataclasses.dataclass
class Account:
    login: Login
    pin: Annotated[int, secret] = 4711
    word: Word = CANARY


@workflow
async def nests() -> None:
    answer = await approval("typed", form=Account)
    SEEN.append(answer.value.word)
    word = {"type": "string", "writeOnly": True, "default": CANARY, "examples": [CANARY]}
    inner = {"type": "object", "properties": {"word": word}, "default": {"word": CANARY}}
    await approval("map", form={"inner": inner, "word": word})


@task
async def mail(links: dict[str, str], wrapped: str) -> str:
    logging.getLogger("app").warning("mailed %s", links)
    return wrapped


@workflow
async def links() -> str:
    ask, wait = approval("ask", approvers=["ann"]), callback("machine")
    found = {**ask.links, "machine": wait.url}
    SENT.extend(found.values())
    await mail(found, "https://safe.example/?u=" + quote(ask.link("ann"), safe=""))
    await ask
    raise ValueError(f"it says {found}")


ARGUMENTS = {
    "login": {"user": "ann", "password": CANARY},
    "model": {"user": "ann", "token": CANARY},
    "word": CANARY,
    "plain": "plainly",
}


@pytest.fixture(params=[None, AesGcm({"k": bytes(32)})], ids=["plain", "sealed"])
def client(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[TestClient]:
    """A client of a server that has these workflows."""
    module = types.ModuleType("secretive")
    for member in (logs_in, log_in, untyped, send, binds, calls, tell, nests, mail, links):
        setattr(module, member.name, member)
    secret_ = Secret(SECRET, codec=request.param)
    table = SqliteTable(tmp_path / "a.db", durable=False)
    settings = Settings(url="http://testserver")
    dispatcher = InProcessDispatcher(SystemClock())
    engine = Engine(App(module), table, dispatcher, secret_, settings=settings)
    app = create_app(engine, secret_, grace=0.1)
    SEEN.clear()
    SENT.clear()
    with TestClient(app, headers=bearer(), raise_server_exceptions=False) as client:
        yield client


def test_a_secret_is_shown_nowhere(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    """A run that was given secrets everywhere: no answer has one, and its code has had them all."""
    caplog.set_level(logging.DEBUG)
    answers = [client.post("/v1/workflows/logs_in/runs?wait=0", json=ARGUMENTS)]
    run = answers[0].json()["id"]
    here = f"/v1/runs/{run}"

    def look() -> None:
        paths = (here, f"{here}/history", f"{here}/logs", "/v1/runs", "/v1/audit")
        answers.extend(client.get(path) for path in paths)

    def wait_for(what: str) -> None:
        for _ in range(500):
            if what in client.get(f"{here}/history").text:
                return
        raise AssertionError(what)

    wait_for('"ask"')
    look()
    value = {"user": "bob", "password": CANARY}
    decided = {"approved": True, "value": value}
    answers.append(client.post(f"{here}/approvals/ask", json=decided))
    wait_for('"map"')
    look()
    answers.append(
        client.post(f"{here}/approvals/map", json={"approved": True, "value": {"pin": CANARY}})
    )
    for _ in range(500):
        if SENT:
            break
        client.get(here)
    answers.append(client.post(SENT[0], json=value))
    answers.append(client.get(f"{here}/result?wait=20"))
    look()
    assert answers[-6].json()["result"] == [{"user": "ann", "password": "[redacted]"}]
    assert len(SEEN) == 9
    assert set(SEEN) == {CANARY}
    for answer in answers:
        assert answer.status_code < 300, answer.text
        assert CANARY not in answer.text
        assert CANARY not in str(answer.headers)
    whole = client.get(f"{here}/history").text
    assert whole.count("[redacted]") >= 9
    assert "plainly" in whole
    assert "ann" in whole
    assert CANARY not in caplog.text


def test_an_error_tells_no_secret(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    """What does not fit is told by its place, not by what is there, also of a delivery."""
    caplog.set_level(logging.DEBUG)
    for wrong in ({"user": "ann", "password": [CANARY]}, {"user": [CANARY], "password": ""}):
        arguments = {**ARGUMENTS, "login": wrong, "word": ""}
        for path in ("/v1/workflows/logs_in/runs", "/hooks/login"):
            answer = client.post(path, json=arguments)
            assert answer.status_code == 422
            assert answer.json()["field"].startswith("login")
            assert CANARY not in answer.text
    answer = client.post("/v1/workflows/logs_in/runs", json={**ARGUMENTS, "way": CANARY})
    assert answer.json()["detail"] == "way: it does not fit its type"
    assert CANARY not in caplog.text


@dataclasses.dataclass
class Parcel:
    item: str
    quantity: int
    code: Annotated[str, secret] = ""


class Letter(msgspec.Struct):
    pages: int
    code: Annotated[str, secret] = ""

    def __post_init__(self) -> None:
        if self.code:
            raise ValueError(f"Object missing required field `{self.code}`")


class Form(pydantic.BaseModel, extra="forbid"):
    count: int
    code: pydantic.SecretStr = pydantic.SecretStr("")


def sends(parcel: Parcel, letter: Letter, form: Form, either: Parcel | int = 0) -> None:
    """Takes what has secret fields."""


FITTING = {"parcel": {"item": "", "quantity": 1}, "letter": {"pages": 1}, "form": {"count": 1}}


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"parcel": {"item": CANARY}}, "parcel: Object missing required field `quantity`"),
        (
            {"parcel": {"item": "", "quantity": 1, "x": CANARY}},
            "parcel.x: Parcel has no such field",
        ),
        (
            {"parcel": {"item": "", "quantity": CANARY}},
            "parcel.quantity: Expected `int`, got `str`",
        ),
        (
            {"either": {"item": CANARY}},
            "either: it fits none of Parcel, int (either: Object missing required field `quantity`;"
            " either: Expected `int`, got `object`)",
        ),
        ({"letter": {"code": CANARY}}, "letter: Object missing required field `pages`"),
        ({"letter": {"pages": 1, "x": CANARY}}, "letter.x: Letter has no such field"),
        ({"letter": {"pages": 1, "code": CANARY}}, "letter: it does not fit its type"),
        ({"form": {"code": CANARY}}, "form.count: Field required"),
        ({"form": {"count": 1, "x": CANARY}}, "form.x: Extra inputs are not permitted"),
        ({"form": {"count": CANARY}}, "form.count: it does not fit its type"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_names_of_fields_are_no_secret(given: dict[str, Any], told: str) -> None:
    """Which field is missing, unknown or of another type is told beside a secret, and no value."""
    with pytest.raises(InvalidInput) as raised:
        Inputs("sends", sends).convert({**FITTING, **given}, strict=True)
    assert str(raised.value) == told
    assert CANARY not in str(raised.value)


def test_a_large_secret_is_hidden_too(client: TestClient) -> None:
    """What is kept apart is hidden as what is not."""
    arguments = {**ARGUMENTS, "word": f"{CANARY} " * 5_000}
    run, history = client.post("/v1/workflows/logs_in/runs", json=arguments).json()["id"], ""
    for _ in range(500):
        history = client.get(f"/v1/runs/{run}/history").text
        if '"ask"' in history:
            break
    assert '"ask"' in history
    assert CANARY not in history


def test_a_page_asks_for_a_password_and_shows_none(client: TestClient) -> None:
    """A secret field of a form is typed in unseen, and not shown again where another is wrong."""
    run = client.post("/v1/workflows/logs_in/runs", json=ARGUMENTS).json()["id"]
    link = ""
    for _ in range(500):
        answer = client.post("/v1/links", json={"run": run, "key": "ask"})
        if answer.status_code < 300:
            link = answer.json()["url"]
            break
    assert link
    page = client.get(link)
    assert 'type="password"' in page.text
    assert CANARY not in page.text


def test_the_secrets_of_a_bound_call_are_shown_to_nobody(client: TestClient) -> None:
    """Neither before nor after the decision, nor to who is told; what is open can be edited."""
    run = client.post("/v1/workflows/binds/runs", json={"word": CANARY}).json()["id"]
    here, link = f"/v1/runs/{run}", ""
    for _ in range(500):
        answer = client.post("/v1/links", json={"run": run, "key": "call"})
        if answer.status_code < 300 and SENT:
            link = answer.json()["url"]
            break
    shown = [client.get(path) for path in (link, here, "/v1/approvals")]
    assert 'name="value.user"' in shown[0].text
    assert "value.word" not in shown[0].text
    [listed] = shown[2].json()["approvals"]
    assert listed["binds"]["arguments"]["login"] == {"user": "bob", "password": "[redacted]"}
    edited = client.post(link, json={"approved": True, "value": {"user": "zoe"}})
    assert edited.status_code == 200
    assert client.get(f"{here}/result?wait=20").json()["result"] == "zoe"
    shown += [client.get(path) for path in (link, here, f"{here}/history")]
    assert SEEN == [CANARY] * 3
    assert CANARY not in "".join([*SENT, *(each.text for each in shown)])


def test_a_form_does_not_tell_the_secrets_that_it_begins_with(client: TestClient) -> None:
    """A default is what is left out becomes, and shown to nobody, however deep in the form."""
    run = client.post("/v1/workflows/nests/runs", json={}).json()["id"]
    for key in ("typed", "map"):
        link = ""
        for _ in range(500):
            answer = client.post("/v1/links", json={"run": run, "key": key})
            if answer.status_code < 300:
                link = answer.json()["url"]
                break
        page = client.get(link)
        shown = [page, client.get("/v1/approvals"), client.get(f"/v1/runs/{run}")]
        for each in shown:
            assert each.status_code == 200
            assert CANARY not in each.text
            assert "4711" not in each.text
        assert page.text.count('type="password"') == (3 if key == "typed" else 2)
        value = {"login": {"user": "ann", "password": ""}} if key == "typed" else {}
        assert client.post(link, json={"approved": True, "value": value}).status_code == 200
    assert SEEN == [CANARY]


def test_who_reads_a_run_can_use_none_of_its_links(client: TestClient) -> None:
    """In its history, operations, logs and errors a link has no token: to read is not to decide."""
    run = client.post("/v1/workflows/links/runs?wait=0.2", json={}).json()["id"]
    here = f"/v1/runs/{run}"
    pages = (here, f"{here}/history", f"{here}/logs", f"{here}/operations/mail", f"{here}/result")
    for _ in range(500):
        if "mailed" in client.get(f"{here}/logs").text:
            break
    texts = [client.get(page).text for page in pages]
    ask, machine = SENT[:2]
    assert client.post(ask, json={"approved": True}).status_code == 200
    texts.append(client.get(f"{here}/result?wait=20").text)
    texts += [client.get(page).text for page in pages]
    assert "it says" in texts[-1]
    for text in texts:
        assert ask.rpartition("/")[2] not in text
        assert machine.rpartition("/")[2] not in text
    assert texts[1].count("/approve/***") == 1
    assert texts[1].count("%2Fapprove%2F***") == 2
