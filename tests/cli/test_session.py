import asyncio
import json
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest
from click.testing import CliRunner, Result

from authgate.cli.session import session
from authgate.credentials.session import KIND, SessionData, encode, key_of
from authgate.stores import Record, Store
from authgate.stores.sqlite import SqliteStore
from tests.stores.following import Follower, until

T = TypeVar("T")


@dataclass
class Site:
    """A folder with a configuration and a store, and the command run in it."""

    folder: Path

    @property
    def config(self) -> Path:
        return self.folder / "authgate.toml"

    @property
    def path(self) -> Path:
        return self.folder / "authgate.db"

    def run(self, *arguments: str) -> Result:
        result = CliRunner().invoke(session, [*arguments, "--config", str(self.config)])
        assert result.exception is None or isinstance(result.exception, SystemExit)
        return result

    def ask(self, question: Callable[[Store], Awaitable[T]]) -> T:
        async def main() -> T:
            store = SqliteStore(self.path, time.time)
            try:
                return await question(store)
            finally:
                await store.aclose()

        return asyncio.run(main())

    def begin(self, name: str, letter: str = "x", expires: float | None = None) -> str:
        key = key_of(letter * 43)
        data = SessionData("", name, "f" * 32, "host:files.example.com", 1_700_000_000.0, 1_700_000_060.0)
        record = Record(key, encode(data), name, time.time() + 600 if expires is None else expires)
        self.ask(lambda store: store.put(KIND, record))
        return key

    def keys(self) -> set[str]:
        return {record.key for record in self.ask(lambda store: store.scan(KIND))}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    made = Site(tmp_path)
    made.config.write_text('store = "sqlite:authgate.db"\n[[sites]]\norigin = "https://files.example.com"\n')
    return made


def test_list_shows_who_is_logged_in(site: Site) -> None:
    key = site.begin("alice")

    result = site.run("list")

    assert result.exit_code == 0
    header, row = result.stdout.splitlines()
    assert re.split(r"  +", header) == ["ID", "USER", "CREATED", "LAST SEEN", "EXPIRES", "SITE"]
    columns = row.split()
    assert columns[:4] == [key[:12], "alice", "2023-11-14T22:13:20Z", "2023-11-14T22:14:20Z"]
    assert columns[5] == "files.example.com"
    # What is shown is not enough to be somebody.
    assert key not in result.output


def test_list_as_json(site: Site) -> None:
    key = site.begin("alice")
    site.begin("bob", "y")

    [row] = json.loads(site.run("list", "--json", "--user", "alice").stdout)

    assert row.pop("expires") > "2026"
    assert row == {
        "id": key[:12],
        "user": "alice",
        "created": "2023-11-14T22:13:20Z",
        "last_seen": "2023-11-14T22:14:20Z",
        "site": "files.example.com",
    }


def test_list_is_of_one_user_where_asked(site: Site) -> None:
    site.begin("alice")
    site.begin("bob", "y")

    result = site.run("list", "--user", "bob")

    assert "bob" in result.stdout
    assert "alice" not in result.stdout


def test_expired_session_is_not_listed(site: Site) -> None:
    site.begin("alice", expires=1.0)

    result = site.run("list")

    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "authgate: nobody is logged in\n")
    assert json.loads(site.run("list", "--json").stdout) == []


def test_unreadable_record_is_listed_and_can_be_revoked(site: Site) -> None:
    record = Record("ab" * 32, b"\xff", "alice", time.time() + 600)
    site.ask(lambda store: store.put(KIND, record))

    assert site.run("list").stdout.splitlines()[1].split()[:2] == ["abababababab", "alice"]
    assert site.run("revoke", "abababababab").exit_code == 0
    assert site.keys() == set()


def test_revoke_by_id(site: Site) -> None:
    key, other, third = site.begin("alice"), site.begin("alice", "y"), site.begin("bob", "z")

    result = site.run("revoke", key[:12], third)

    assert result.exit_code == 0
    assert result.stdout == f"revoked {key[:12]}\nrevoked {third[:12]}\n"
    assert site.keys() == {other}


def test_revoke_of_an_unknown_id_fails_and_revokes_the_others(site: Site) -> None:
    key = site.begin("alice")

    for text in ("0123456789ab", "", "%", "abc", "ABCDEF012345", "../../etc"):
        result = site.run("revoke", text)
        assert result.exit_code == 1
        assert f'authgate: there is no session "{text}"\nhint: ' in result.stderr
    assert site.keys() == {key}

    assert site.run("revoke", "0123456789ab", key[:12]).exit_code == 1
    assert site.keys() == set()


def test_revoke_of_an_ambiguous_id_revokes_nothing(site: Site) -> None:
    keys = {"abcd" + "0" * 60, "abcd" + "1" * 60}
    for key in keys:
        record = Record(key, b"{}", "alice", time.time() + 600)
        site.ask(lambda store, record=record: store.put(KIND, record))  # type: ignore[misc] # bound at once

    result = site.run("revoke", "abcd")

    assert result.exit_code == 1
    assert "the beginning of 2 sessions" in result.stderr
    assert site.keys() == keys


def test_revoke_by_user_and_all(site: Site) -> None:
    site.begin("alice")
    site.begin("alice", "y")
    bob = site.begin("bob", "z")

    assert site.run("revoke", "--user", "alice").stdout == "revoked 2 sessions\n"
    assert site.keys() == {bob}
    result = site.run("revoke", "--user", "alice")
    assert (result.exit_code, result.stdout) == (0, "revoked 0 sessions\n")
    assert site.run("revoke", "--all").stdout == "revoked 1 session\n"
    assert site.keys() == set()


@pytest.mark.parametrize(
    "arguments", [(), ("--all", "--user", "alice"), ("--all", "abcdef012345"), ("x", "--user", "a")]
)
def test_revoke_must_say_which_and_in_one_way(site: Site, arguments: tuple[str, ...]) -> None:
    key = site.begin("alice")

    result = site.run("revoke", *arguments)

    assert result.exit_code == 2
    assert site.keys() == {key}


def test_empty_user_name_is_not_everybody(site: Site) -> None:
    """As a script writes it whose variable is not set."""
    key = site.begin("alice")

    result = site.run("revoke", "--user", "")

    assert result.stdout == "revoked 0 sessions\n"
    assert site.keys() == {key}


def test_running_worker_learns_of_a_revocation(site: Site) -> None:
    key = site.begin("alice")

    async def main() -> None:
        store = SqliteStore(site.path, time.time)
        async with Follower(store) as follower:
            result = await asyncio.to_thread(site.run, "revoke", "--user", "alice")
            assert result.exit_code == 0
            await until(lambda: follower.deleted == [(KIND, key)])
        await store.aclose()

    asyncio.run(main())


def test_store_that_does_not_exist_is_empty_and_stays_so(site: Site) -> None:
    """Made here, it would belong to root, and the service could not write it."""
    assert site.run("list").exit_code == 0
    assert site.run("revoke", "--all").stdout == "revoked 0 sessions\n"
    assert site.run("revoke", "abcdef012345").exit_code == 1
    assert not site.path.exists()


def test_memory_store_cannot_be_reached(site: Site) -> None:
    site.config.write_text('store = "memory:"\nworkers = 1\n[[sites]]\norigin = "https://files.example.com"\n')

    for arguments in (("list",), ("revoke", "--all")):
        result = site.run(*arguments)
        assert result.exit_code == 2
        assert "live inside the running service" in result.stderr
        assert "\nhint: " in result.stderr


def test_broken_store_is_an_error_and_no_traceback(site: Site) -> None:
    site.path.write_bytes(b"no database" * 1000)
    site.path.chmod(0o600)

    result = site.run("list")

    assert result.exit_code in (1, 2)
    assert result.stderr.startswith("authgate: ")
