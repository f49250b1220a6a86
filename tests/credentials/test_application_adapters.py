"""The functions that docs/applications.md shows read what real Django and real PHP keep on the server."""

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest

from authgate.config import parse
from authgate.credentials.applications import ApplicationCookie
from authgate.model import NOBODY, Identity, Subject
from tests import servers
from tests.clock import MovableClock
from tests.credentials.django_site import build

DOCUMENT = servers.PACKAGE_ROOT / "docs" / "applications.md"
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
ID = "k2v9r0c3m4n5b6v7c8x9z0a1s2"


def shown(language: str, holding: str) -> str:
    """Return the one example that holds a text."""
    (found,) = (text for kind, text in BLOCKS if kind == language and holding in text)
    return str(found)


@pytest.mark.parametrize("engine", ["db", "cached_db", "file"])
def test_django_with_its_sessions_on_the_server(engine: str, tmp_path: Path) -> None:
    build(tmp_path, engine)
    (tmp_path / "authgate.toml").write_text(shown("toml", "django_sessions::session"))
    (tmp_path / "django_sessions.py").write_text(shown("python", "# django_sessions.py"))

    command = [sys.executable, "-W", "error", "-m", "tests.credentials.django_site", str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, check=False, cwd=servers.PACKAGE_ROOT)

    assert run.returncode == 0, run.stderr
    nobody: list[object] = ["", [], None, None]
    alice: list[object] = ["shop/alice", ["staff"], None, [1, 2]]
    assert [json.loads(line) for line in run.stdout.splitlines()] == [
        ["a visitor", *nobody],
        ["logged in", *alice],
        ["logged out", *nobody],
        ["logged in again", *alice],
        ["another password", *nobody],
        ["with that", *alice],
        ["account closed", *nobody],
        *[["made up", *nobody]] * 5,
    ]


def php_function(folder: Path) -> Callable[[str], Mapping[str, object] | None]:
    """Return the function for sessions of PHP, looking into a folder."""
    file = folder / "php_sessions.py"
    file.write_text(shown("python", "# php_sessions.py").replace("/srv/shop/sessions", str(folder)))
    spec = spec_from_file_location("php_sessions", file)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    function: Callable[[str], Mapping[str, object] | None] = module.session
    return function


def php_reader(function: Callable[..., object], clock: MovableClock) -> ApplicationCookie:
    table: dict[str, Any] = {"source": "shop", "kind": "function", "cookie": "PHPSESSID", "function": "a::b"}
    document = {
        "sites": [{"origin": "https://shop.example.com"}],
        "applications": [{**table, "user": "user", "groups": "groups"}],
    }
    (settings,) = parse(document, Path("/etc/authgate/authgate.toml")).sources.applications
    return ApplicationCookie(settings, clock, function)


def asked(function: Callable[..., object], value: str = ID) -> Identity:
    async def run() -> Identity:
        cookie = php_reader(function, MovableClock())
        try:
            return await cookie.verify(value)
        finally:
            cookie.close()

    return asyncio.run(run())


def php(folder: Path, code: str) -> None:
    """Run code within a session of PHP, as php.ini of the documentation has it."""
    (path,) = re.findall(r'session\.save_path = "(.*)"', shown("ini", "save_path"))
    options = {"session.save_path": f'"{path.replace("/srv/shop/sessions", str(folder))}"', "session.use_cookies": "0"}
    command = [servers.require("php"), "-n", "-d", "display_errors=stderr", "-d", "error_reporting=-1"]
    for name, value in {**options, "session.cache_limiter": ""}.items():
        command += ["-d", f"{name}={value}"]
    command += ["-r", f"umask(022); session_id('{ID}'); session_start(); {code} session_write_close();"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


def test_php_with_its_sessions_in_files(tmp_path: Path) -> None:
    function = php_function(tmp_path)

    assert asked(function) is NOBODY
    php(tmp_path, "$_SESSION['cart'] = [1, 2.5, true, false, null, 'ü|;', ['a' => ['b' => -1]]];")
    assert asked(function) is NOBODY
    php(tmp_path, "$_SESSION['user'] = 'alice'; $_SESSION['groups'] = ['staff', 'editors'];")
    identity = asked(function)
    assert identity.subject == Subject("shop", "alice", frozenset({"staff", "editors"}))
    assert identity.session["cart"] == {0: 1, 1: 2.5, 2: True, 3: False, 4: None, 5: "ü|;", 6: {"a": {"b": -1}}}
    # The group that is in php.ini's save_path may read it, and nobody else.
    assert (tmp_path / f"sess_{ID}").stat().st_mode & 0o777 == 0o640

    php(tmp_path, "$_SESSION['user'] = 7;")
    assert asked(function).subject == Subject("shop", "7", frozenset({"staff", "editors"}))
    php(tmp_path, "unset($_SESSION['user']);")
    assert asked(function) is NOBODY
    php(tmp_path, "$_SESSION['user'] = 'alice'; session_destroy();")
    assert asked(function) is NOBODY


def test_object_in_a_session_of_php_admits_nobody(tmp_path: Path) -> None:
    php(tmp_path, "$_SESSION['user'] = 'alice'; $_SESSION['x'] = new DateTime();")

    assert asked(php_function(tmp_path)).failure == "handler_error"


# Written by PHP 8.2.
SESSION = (
    b'cart|a:3:{i:0;i:1;i:1;d:2.5;i:2;a:2:{s:1:"a";N;s:3:"b|;";b:1;}}user|s:5:"alice";groups|a:1:{i:0;s:5:"staff";}'
)


def test_session_of_php_that_was_written_elsewhere(tmp_path: Path) -> None:
    function = php_function(tmp_path)
    (tmp_path / f"sess_{ID}").write_bytes(SESSION)

    identity = asked(function)

    assert identity.subject == Subject("shop", "alice", frozenset({"staff"}))
    assert identity.session["cart"] == {0: 1, 1: 2.5, 2: {"a": None, "b|;": True}}


def test_no_part_of_a_session_of_php_makes_an_endless_loop_or_somebody_else(tmp_path: Path) -> None:
    function = php_function(tmp_path)
    for length in range(len(SESSION)):
        (tmp_path / f"sess_{ID}").write_bytes(SESSION[:length])
        try:
            data = function(ID) or {}
        except ValueError:
            continue
        assert data.get("user") in {None, "alice"}


def test_old_session_of_php_is_none(tmp_path: Path) -> None:
    function = php_function(tmp_path)
    file = tmp_path / f"sess_{ID}"
    file.write_bytes(SESSION)
    os.utime(file, (0, 0))

    assert asked(function) is NOBODY


@pytest.mark.parametrize(
    "value", ["../secret", "..", "x", "a" * 21, "a" * 129, f"{ID}/../{ID}", f"{ID}.", "%2e%2e" * 6]
)
def test_value_that_is_no_number_of_a_session_opens_no_file(value: str, tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    function = php_function(tmp_path / "inner")
    (tmp_path / "secret").write_bytes(SESSION)
    for name in (f"sess_{value}".replace("/", "_"), "sess_x", "sess_.."):
        (tmp_path / "inner" / name).write_bytes(SESSION)

    assert asked(function, value) is NOBODY
