import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from rewake.errors import ConfigError
from rewake.http.app import ROUTES
from rewake.http.gate import OPEN, SELF_CHECKED
from rewake.signing.secret import Secret
from rewake.signing.tokens import Keys, app_token
from tests.http.conftest import Stranger
from tests.support.server import SECRET, TOKEN, bearer

GUARDED = [
    (method, path)
    for method, path, _ in ROUTES
    if path not in OPEN and not path.startswith(SELF_CHECKED)
]


@pytest.mark.parametrize(("method", "path"), GUARDED)
@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer wrong", f"Basic {TOKEN}", TOKEN])
def test_every_route_is_guarded(
    stranger: Stranger, method: str, path: str, header: str | None
) -> None:
    """Every route but health and readiness refuses whoever has no token."""
    headers = {} if header is None else {"Authorization": header}
    response = stranger(method, path.replace("{", "").replace("}", ""), headers=headers)

    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"].startswith("Bearer")
    assert response.json()["type"] == "urn:rewake:problem:unauthentic"
    assert TOKEN not in response.text


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/none", "/healthz/", "//healthz", "/docs"])
def test_a_stranger_learns_no_paths(stranger: Stranger, path: str) -> None:
    """Without a token, a path that does not exist answers like one that does."""
    assert stranger("GET", path).status_code == 401


@pytest.mark.parametrize("path", sorted(OPEN))
def test_what_is_open(stranger: Stranger, path: str) -> None:
    """Health and readiness answer anybody."""
    assert stranger("GET", path).status_code == 200
    assert stranger("HEAD", path).status_code == 200


def test_the_scheme_is_not_case_sensitive(stranger: Stranger) -> None:
    """HTTP's authentication schemes have no case."""
    headers = {"Authorization": f"bearer {TOKEN}"}

    assert stranger("GET", "/v1/runs", headers=headers).status_code == 200


def test_a_wrong_token_is_called_wrong(stranger: Stranger) -> None:
    """Whoever sends a token that is not accepted is told so, and not that one is needed."""
    wrong = stranger("GET", "/v1/runs", headers={"Authorization": "Bearer wrong"}).json()
    none = stranger("GET", "/v1/runs").json()
    assert "is not accepted" in wrong["detail"]
    assert "is needed" in none["detail"]


def test_an_app_whose_lifespan_did_not_run_says_so(app: Starlette) -> None:
    """Mounted without its lifespan, it takes no run, is not ready, and answers 503 with the why."""
    client = TestClient(app, headers=bearer())  # not entered: no lifespan
    for answer in (client.get("/readyz"), client.post("/v1/workflows/x/runs", json={})):
        assert answer.status_code == 503
        assert "lifespan" in answer.json()["detail"]
    assert client.get("/healthz").status_code == 200


def test_websockets_are_closed(client: TestClient) -> None:
    """Other protocols do not get past the gate either."""
    del client.headers["Authorization"]
    with pytest.raises(WebSocketDisconnect) as refused, client.websocket_connect("/v1/runs"):
        pass

    assert refused.value.code == 1008


def test_derived_tokens() -> None:
    """Each secret has one token, which says nothing about the secret."""
    assert app_token(Secret(SECRET)) == app_token(Secret(SECRET)) == TOKEN
    assert app_token(Secret("another secret of a test")) != TOKEN
    assert SECRET not in TOKEN


def test_rotation() -> None:
    """While the old secret is accepted, so is its token."""
    old, new = "the old secret of a test", "the new secret of a test"
    both = Keys(Secret(new, old))

    assert both.admits(f"Bearer {app_token(Secret(old))}")
    assert both.admits(f"Bearer {app_token(Secret(new))}")
    assert not Keys(Secret(new)).admits(f"Bearer {app_token(Secret(old))}")


def test_chosen_tokens() -> None:
    """Tokens that were chosen replace the derived one."""
    keys = Keys(Secret(SECRET), ["a token of sixteen".replace(" ", "-"), "another-token-of-more"])

    assert keys.admits("Bearer a-token-of-sixteen")
    assert keys.admits("Bearer another-token-of-more")
    assert not keys.admits("Bearer another-token-of-mor")
    assert not keys.admits("Bearer another-token-of-morë")
    assert not keys.admits(f"Bearer {TOKEN}")
    assert "token" not in repr(keys)


@pytest.mark.parametrize("token", ["short", "sixteen letters and blanks", "sechzehn-zeichen-ä"])
def test_unfit_tokens(token: str) -> None:
    """A token that is easily guessed or cannot be sent is refused, and not repeated."""
    with pytest.raises(ConfigError, match="REWAKE_TOKEN") as refused:
        Keys(Secret(SECRET), [token])

    assert token not in str(refused.value)
