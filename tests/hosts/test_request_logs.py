"""What the access log has of requests, at the level that logs each of them."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from rewake.hosts.request_logs import bound_request_logs
from rewake.signing.api_tokens import id_of, new_token

ACCESS = logging.getLogger("uvicorn.access")


@pytest.fixture(autouse=True)
def _bound() -> Iterator[None]:
    """As a server logs; other tests do not."""
    before = list(ACCESS.filters)
    bound_request_logs()
    yield
    ACCESS.filters[:] = before


def logged(path: str, caplog: pytest.LogCaptureFixture) -> str:
    """What is logged of a request for this path."""
    with caplog.at_level(logging.INFO, "uvicorn.access"):
        ACCESS.info('%s - "%s %s HTTP/%s" %d', "127.0.0.1:1", "GET", path, "1.1", 200)
    return caplog.records[-1].getMessage()


@pytest.mark.parametrize(
    "path", ["/hooks/a", "//hooks/a", "/below/hooks/a", "/approve/x", "/below/callback/x/fail"]
)
def test_no_query_of_what_checks_itself(path: str, caplog: pytest.LogCaptureFixture) -> None:
    """Providers put secrets there; also where a proxy has left its prefix before the path."""
    told = logged(f"{path}?hub.verify_token=hidden&x=hidden", caplog)
    assert "hidden" not in told
    assert "?…" in told


def test_other_queries_are_there_without_our_tokens(caplog: pytest.LogCaptureFixture) -> None:
    """A token in an address lets nobody in, and yet may be a good one."""
    token = new_token(id_of("ci"))
    assert token not in logged(f"/v1/runs?limit=7&token={token}", caplog)
    assert "limit=7" in logged(f"/v1/runs?limit=7&token={token}", caplog)
