"""The settings of who is believed, as the environment has them."""

from __future__ import annotations

import pytest

from rewake.access import Scope
from rewake.errors import ConfigError
from rewake.hosts.config import ServerConfig
from rewake.identity.names import is_name, is_same
from rewake.identity.oidc import OidcSettings
from rewake.identity.proxies import ProxySettings
from rewake.identity.settings import IdentitySettings, Proof

OIDC = {
    "REWAKE_OIDC_ISSUER": "https://login.example",
    "REWAKE_OIDC_AUDIENCE": "rewake-api",
    "REWAKE_OIDC_SCOPES": '{"groups": {"ops": ["operate"]}}',
}
PROXY = {
    "REWAKE_IDENTITY": "proxy",
    "REWAKE_IDENTITY_HEADER": "X-Forwarded-Email",
    "REWAKE_IDENTITY_SECRET": "what only the proxy knows, and what it knew before",
}


def test_what_is_believed() -> None:
    """Nobody without settings; an issuer, a proxy or both as they say."""
    assert ServerConfig.from_env({}).identity == IdentitySettings()
    assert ServerConfig.from_env({"REWAKE_IDENTITY": "link"}).identity == IdentitySettings()
    found = ServerConfig.from_env(OIDC | PROXY | {"REWAKE_IDENTITY": "proxy,oidc"}).identity
    assert found.proofs == {Proof.PROXY, Proof.OIDC}
    assert found.oidc is not None
    assert (found.oidc.name, found.oidc.grants["groups"]["ops"]) == (
        "sub",
        frozenset({Scope.OPERATE}),
    )
    assert found.proxy is not None
    assert (found.proxy.header, len(found.proxy.secrets)) == ("x-forwarded-email", 2)
    assert "proxy knows" not in repr(found)
    assert ServerConfig.from_env(OIDC).identity.proofs == frozenset()


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({"REWAKE_IDENTITY": "oidc"}, "REWAKE_OIDC_ISSUER"),
        ({"REWAKE_IDENTITY": "mail"}, "REWAKE_IDENTITY must be"),
        ({**PROXY, "REWAKE_IDENTITY": "link,proxy"}, "REWAKE_IDENTITY is either"),
        ({**PROXY, "REWAKE_IDENTITY": ""}, "REWAKE_IDENTITY=proxy"),
        ({**PROXY, "REWAKE_IDENTITY_HEADER": ""}, "REWAKE_IDENTITY_HEADER"),
        ({**PROXY, "REWAKE_IDENTITY_HEADER": "Authorization"}, "REWAKE_IDENTITY_HEADER"),
        ({**PROXY, "REWAKE_IDENTITY_HEADER": "X Mail"}, "REWAKE_IDENTITY_HEADER"),
        ({**PROXY, "REWAKE_IDENTITY_SECRET": ""}, "REWAKE_IDENTITY_SECRET"),
        ({**PROXY, "REWAKE_IDENTITY_SECRET": "short"}, "REWAKE_IDENTITY_SECRET"),
        ({**PROXY, "REWAKE_IDENTITY_SECRET": "x" * 20 + ",short"}, "REWAKE_IDENTITY_SECRET"),
        ({"REWAKE_OIDC_AUDIENCE": "x"}, "REWAKE_OIDC_ISSUER"),
        ({**OIDC, "REWAKE_OIDC_AUDIENCE": ""}, "REWAKE_OIDC_AUDIENCE"),
        ({**OIDC, "REWAKE_OIDC_SCOPES": "ops"}, "REWAKE_OIDC_SCOPES"),
    ],
)
def test_what_does_not_fit_together(environ: dict[str, str], named: str) -> None:
    """A server does not start with half of it: the variable to mend is named, no secret is."""
    with pytest.raises(ConfigError, match=named) as caught:
        ServerConfig.from_env(environ)
    assert "proxy knows" not in str(caught.value)


def test_half_of_it_in_code() -> None:
    """An app that is mounted by code is refused what a server would be."""
    proxy, oidc = ProxySettings("x-user", ("s" * 20,)), OidcSettings("https://i.example", "")
    for asked, believed, proofs in (
        (None, proxy, []),
        (None, None, [Proof.PROXY]),
        (None, None, [Proof.OIDC]),
        (oidc, None, []),
        (None, ProxySettings("x-user", ()), [Proof.PROXY]),
    ):
        with pytest.raises(ConfigError):
            IdentitySettings(asked, believed, frozenset(proofs))


def test_who_is_the_same() -> None:
    """Addresses are the same whatever their capitals, of ASCII; other names are as they are."""
    assert is_same("Ann@Example.com", "ann@example.COM")
    assert not is_same("ann", "Ann")
    assert not is_same("ann@example.com", "ann@example.com.evil")
    # U+212A is folded to k, and U+0131 to i, by what is not careful.
    assert not is_same("kim@example.com", "\u212aim@example.com")
    assert not is_same("kim@example.com", "k\u0131m@example.com")
    assert not any(
        map(is_name, ("", " ann", "ann ", "a\nb", "a\u200bb", "a" * 255, "\udcff" * 80 + "\n"))
    )
    assert is_name("ann@example.com")
