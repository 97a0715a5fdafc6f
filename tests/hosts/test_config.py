import asyncio
import base64
import os
import stat
import subprocess
import sys
import types
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import rewake
from rewake.codecs import AesGcm, Context
from rewake.errors import ConfigError
from rewake.hosts import building
from rewake.hosts.archives import open_archive
from rewake.hosts.config import DISPATCHERS, SETTINGS, ServerConfig, dev_secret
from rewake.hosts.databases import Address, file_of, open_database
from rewake.signing.secret import Secret
from rewake.signing.tokens import app_token

SECRET = "a secret that only tests may know"


def test_defaults() -> None:
    """Without an environment, a server listens on this machine only."""
    config = ServerConfig.from_env({})

    assert (config.host, config.port, config.dispatcher) == ("127.0.0.1", 8000, "in-process")
    assert config.db == ".rewake/rewake.db"
    assert config.secret is None


def test_every_setting_has_a_variable() -> None:
    """Everything can be set in the environment."""
    assert SETTINGS.keys() == set(ServerConfig.__dataclass_fields__)


def test_arguments_before_environment() -> None:
    """What a command line gives counts more than the environment; None is not given."""
    config = ServerConfig.from_env({"REWAKE_PORT": "1", "REWAKE_HOST": "::1"}, port=2, host=None)

    assert (config.port, config.host) == (2, "::1")


def test_what_kubernetes_tells_of_a_service_is_no_port() -> None:
    """It tells each pod where a service is, and of one that is called `rewake` in `REWAKE_PORT`."""
    environ = {"REWAKE_PORT": "tcp://10.0.0.11:80", "REWAKE_PORT_80_TCP_PORT": "80"}
    assert ServerConfig.from_env(environ).port == 8000
    assert ServerConfig.from_env(environ | {"PORT": "9000"}).port == 9000
    config, wrong = ServerConfig.as_far_as_it_goes(environ)
    assert (config.port, wrong) == (8000, [])
    with pytest.raises(ConfigError, match="REWAKE_PORT"):
        ServerConfig.from_env({"REWAKE_PORT": "http"})


def test_secrets_are_not_shown() -> None:
    """Neither the secret nor a token is in the text of a configuration."""
    token = "a-token-that-only-tests-may-know"
    config = ServerConfig.from_env({"REWAKE_SECRET": SECRET, "REWAKE_TOKEN": token})

    assert config.tokens == (token,)
    assert SECRET not in repr(config)
    assert token not in repr(config)


def test_rotation() -> None:
    """The first of several secrets signs, the others are accepted."""
    config = ServerConfig.from_env({"REWAKE_SECRET": f"{SECRET}, the old one of sixteen"})
    old = ServerConfig.from_env({"REWAKE_SECRET": "the old one of sixteen"})

    assert config.secret is not None
    assert old.secret is not None
    assert config.secret.verify(old.secret.sign("x"), "x")
    assert not old.secret.verify(config.secret.sign("x"), "x")


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("REWAKE_PORT", "http"),
        ("REWAKE_PORT", "65536"),
        ("REWAKE_LEASE", "0"),
        ("REWAKE_LEASE", "nan"),
        ("REWAKE_GRACE", "-1"),
        ("REWAKE_BLOCKED", "0"),
        ("REWAKE_CACHED", "-1"),
        ("REWAKE_TASKS", "0"),
        ("REWAKE_DISPATCHER", "pigeon"),
        ("REWAKE_LOG_LEVEL", "loud"),
        ("REWAKE_SECRET", "short"),
        ("REWAKE_SECRET", ","),
        ("REWAKE_URL", "ftp://here"),
        ("REWAKE_URL", "http://user:word@here"),
        ("REWAKE_URL", "http://here:port"),
        ("REWAKE_URL", "http://here?x=y"),
        ("REWAKE_URL", "here"),
        ("REWAKE_URL", "http://a..b"),
        ("REWAKE_ENCRYPTION_KEYS", "c2hvcnQtaXNoLWtleS1vZi10ZXN0cw=="),
        ("REWAKE_ENCRYPTION_KEYS", ","),
        ("REWAKE_CODEC", "no_such_module_of_tests:codec"),
        ("REWAKE_CODEC", "json:no_such_name_there"),
        ("REWAKE_CODEC", "json"),
        ("REWAKE_CODEC", "json:JSONDecoder"),
    ],
)
def test_a_bad_setting(variable: str, text: str) -> None:
    """A setting that is wrong is named, and its text, which may be a secret, is not repeated."""
    with pytest.raises(ConfigError, match=variable) as refused:
        ServerConfig.from_env({variable: text})

    assert len(text) < 6 or text not in str(refused.value)


ONE, TWO = (base64.b64encode(bytes([number]) * 32).decode() for number in (1, 2))
KEYS = f"new:{ONE},old:{TWO}"
"""Two keys, as they stand in the environment."""


class Reversing:
    """A codec of the app's own."""

    def encode(self, data: bytes, _: Context) -> bytes:
        return data[::-1]

    def decode(self, data: bytes, _: Context) -> bytes:
        return data[::-1]


reversing = Reversing()


def test_keys_make_a_codec_that_goes_with_the_secret() -> None:
    """Whoever is given the secret has the codec, also where the secret is found elsewhere."""
    environ = {"REWAKE_SECRET": SECRET, "REWAKE_ENCRYPTION_KEYS": KEYS}
    config = ServerConfig.from_env(environ)
    assert config.secret is not None
    assert isinstance(config.secret.codec, AesGcm)
    assert config.secret.codec.ids == ("new", "old")
    assert ONE not in repr(config)
    assert repr(bytes([1]) * 4)[2:-1] not in repr(config)
    del environ["REWAKE_SECRET"]
    config = ServerConfig.from_env(environ).with_secret(Secret(SECRET))
    assert config.secret is not None
    assert isinstance(config.secret.codec, AesGcm)


def test_a_codec_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """`REWAKE_CODEC` names it; keys beside it are refused, for only one of both would count."""
    module = types.ModuleType("codec_of_tests")
    module.codec = reversing  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "codec_of_tests", module)
    environ = {"REWAKE_SECRET": SECRET, "REWAKE_CODEC": "codec_of_tests:codec"}
    secret = ServerConfig.from_env(environ).secret
    assert secret is not None
    assert secret.codec is reversing
    with pytest.raises(ConfigError, match="not both"):
        ServerConfig.from_env({**environ, "REWAKE_ENCRYPTION_KEYS": KEYS})


def test_without_its_library_keys_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has not installed it is told what to install; without keys nobody needs it."""
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers", None)
    with pytest.raises(ConfigError, match=r"install rewake\[encryption\]"):
        ServerConfig.from_env({"REWAKE_ENCRYPTION_KEYS": KEYS})
    ServerConfig.from_env({"REWAKE_SECRET": SECRET})


@pytest.mark.parametrize("address", ["sqlite:", "sqlite://x", "postgres:foo", "S3://bucket"])
def test_an_address_of_no_database(address: str) -> None:
    """A scheme that is not known, or names no file, is refused; it is not a file's name."""
    with pytest.raises(ConfigError):
        open_database(Address(address))
    assert not Path(address).exists()


def test_a_path_with_a_colon(tmp_path: Path) -> None:
    """It is told from a scheme by its folder; `~` is the home of its user."""
    (tmp_path / "home").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        patch.setenv("HOME", str(tmp_path / "home"))
        for address in ("./a:b", "sqlite:~/c.db"):
            asyncio.run(open_database(Address(address)).table.close())
    assert (tmp_path / "a:b").exists()
    assert (tmp_path / "home" / "c.db").exists()


@pytest.mark.parametrize("opened", [open_archive, lambda path: open_database(Address(path))])
def test_a_user_without_a_home_is_told(opened: Callable[[str], object]) -> None:
    """In one line: a container may run as a user who has neither a name nor `HOME`."""
    with pytest.raises(ConfigError, match="no folder of a user for the ~ of ~nobodyhere/a: name"):
        opened("~nobodyhere/a")


def test_the_http_dispatcher_needs_an_address() -> None:
    """The base URL is configured; it is never guessed."""
    with pytest.raises(ConfigError, match="REWAKE_URL"):
        ServerConfig.from_env({"REWAKE_DISPATCHER": "http"})


def test_dev_secret(tmp_path: Path) -> None:
    """The secret of a development server is made once, for its owner's eyes only."""
    first, second = dev_secret(tmp_path / "x" / ".rewake"), dev_secret(tmp_path / "x" / ".rewake")

    assert app_token(first) == app_token(second)
    [file] = (tmp_path / "x" / ".rewake").glob("[!.]*")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_the_folder_of_an_app_is_its_owners(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`.rewake/` is 0700 and ignored by git, and the database in it 0600."""
    monkeypatch.chdir(tmp_path)
    asyncio.run(open_database(Address(ServerConfig().db)).table.close())

    home = tmp_path / ".rewake"
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert (home / ".gitignore").read_text() == "*\n"
    modes = {stat.S_IMODE(file.stat().st_mode) for file in home.glob("rewake.db*")}
    assert modes == {0o600}


def test_a_database_is_its_owners(tmp_path: Path) -> None:
    """Wherever it is, what is made of it is 0600; one that is there keeps its mode."""
    asyncio.run(open_database(Address(str(tmp_path / "a.db"))).table.close())
    opened = open_database(Address(str(tmp_path / "b.db")))
    modes = {stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
    assert len(list(tmp_path.iterdir())) > 2  # also beside it
    assert modes == {0o600}
    asyncio.run(opened.table.close())
    (tmp_path / "a.db").chmod(0o640)
    asyncio.run(open_database(Address(str(tmp_path / "a.db"))).table.close())
    assert stat.S_IMODE((tmp_path / "a.db").stat().st_mode) == 0o640


@pytest.mark.parametrize("path", ["gone/a.db", "gone/.rewake/rewake.db", "sqlite:gone/a/b.db"])
def test_a_database_in_no_folder(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A path that may be mistyped makes no folders: it is refused, and names the one."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="there is no folder gone"):
        open_database(Address(path))
    assert list(tmp_path.iterdir()) == []


def test_dev_secret_is_race_safe(tmp_path: Path) -> None:
    """Whoever asks at the same time gets the same secret."""
    with ThreadPoolExecutor(16) as pool:
        tokens = set(pool.map(lambda _: app_token(dev_secret(tmp_path)), range(64)))

    assert len(tokens) == 1
    assert {file.name for file in tmp_path.iterdir()} == {"secret", ".gitignore"}


def test_an_unreadable_dev_secret(tmp_path: Path) -> None:
    """An empty secret file is an error, not an empty secret."""
    (tmp_path / "secret").write_text("")

    with pytest.raises(ConfigError):
        dev_secret(tmp_path)


def test_import_is_light() -> None:
    """`import rewake` loads no server and no client."""
    code = "import sys, rewake; print(*{m.partition('.')[0] for m in sys.modules})"
    path = {"PYTHONPATH": str(Path(rewake.__file__).parents[1]), "PATH": os.environ["PATH"]}
    loaded = subprocess.run(
        [sys.executable, "-c", code], env=path, capture_output=True, text=True, check=True
    )

    assert not {"starlette", "uvicorn", "aiohttp", "typer", "rich"} & set(loaded.stdout.split())


def test_every_dispatcher_that_can_be_named_can_be_built() -> None:
    """What a configuration accepts and what is built from it are one list."""
    assert building._DISPATCHERS.keys() == set(DISPATCHERS)


@pytest.mark.parametrize("address", ["memory", "MEMORY", "sqlite"])
def test_a_kind_of_database_without_its_colon_is_refused(address: str) -> None:
    """`memory` is no file of that name; the error says how to write either."""
    with pytest.raises(ConfigError, match=":"):
        open_database(Address(address))


def test_origins_are_said_as_a_browser_says_them() -> None:
    """`REWAKE_CORS` is empty, `*`, or origins; what no browser ever sends is refused by name."""
    assert ServerConfig.from_env({}).cors == ()
    given = {"REWAKE_CORS": "https://App.example, http://localhost:3000,http://[::1]:80"}
    expected = ("https://app.example", "http://localhost:3000", "http://[::1]:80")
    assert ServerConfig.from_env(given).cors == expected
    assert ServerConfig.from_env({"REWAKE_CORS": "*"}).cors == ("*",)
    for wrong in ("app.example", "https://a.example/", "https://*.example", "https://a b", "null"):
        with pytest.raises(ConfigError, match="REWAKE_CORS"):
            ServerConfig.from_env({"REWAKE_CORS": wrong})


@pytest.mark.parametrize("text", ["7", "7x", "-1d", "done=7d,failed=90", "alive=7d", ""])
def test_how_long_runs_are_kept_is_said_by_its_form(text: str) -> None:
    """What cannot be read is told by what it could be, without what was there."""
    with pytest.raises(ConfigError, match="REWAKE_KEEP is 30d") as caught:
        ServerConfig.from_env({"REWAKE_KEEP": text or ","})
    assert not text or f"{text!r}" not in str(caught.value)


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("postgresql://u:pa#s@h:5/db?schema=a", "postgresql://h:5/db?schema=a"),
        ("postgresql://h/db?password=pa&schema=a", "postgresql://h/db?schema=a"),
        ("postgresql:///db", "postgresql:///db"),
        ("postgresql:///db?host=/a&user=u&schema=s", "postgresql:///db?host=/a&schema=s"),
        ("postgresql://h/db?user=u@h&password=p@a", "postgresql://h/db"),
        ("postgresql://u:7?a=s@h/db", "postgresql://…"),
        ("postgresql://u:p/a@h/db", "postgresql://h/db"),
        ("postgresql://u:p@a@h1:1,[::1]:2/db", "postgresql://h1:1,[::1]:2/db"),
        ("postgresql://u:pa?s@h/db", "postgresql://…"),
        ("postgresql://u:7?s@h/db", "postgresql://…"),
        ("postgresql://u:pa/s", "postgresql://…"),
        ("dynamodb://shop/a", "dynamodb://shop/a"),
        ("a/b.db", "a/b.db"),
    ],
)
def test_an_address_is_told_without_its_password(address: str, told: str) -> None:
    """Whichever way libpq lets a password be said."""
    assert str(Address(address)) == told


@pytest.mark.parametrize("password", ["hu/sh", "hu@sh", "hu?sh", "1/hush", "h@u/sh", "hu%sh"])
def test_a_password_that_is_no_part_of_an_address_is_not_told(password: str) -> None:
    """Its beginning is taken for a port, or its end for a host or a database, and told as that."""
    address = Address(f"postgresql://user:{password}@127.0.0.1:1/db")
    with pytest.raises(ConfigError, match="in a password @ is %40") as caught:
        open_database(address)
    for told in (str(address), str(caught.value)):
        assert "hu" not in told
        assert "sh@" not in told


def test_an_address_without_its_colon_is_no_path() -> None:
    """The folder that a path has none of is told, and would have the password in it."""
    with pytest.raises(ConfigError, match="is a colon missing") as caught:
        open_database(Address("postgresql//user:hush@127.0.0.1/db"))
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("path", ["/home/ada@here.test//runs.db", "./a//ada@here/runs.db"])
def test_a_path_may_have_what_an_address_has(path: str) -> None:
    """A home folder is called by an address of mail, and what is put together has a / twice."""
    assert file_of(Address(path)) == Path(path)
