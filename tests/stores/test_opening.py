import asyncio
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from authgate.errors import ConfigError, StoreUnavailable
from authgate.stores import Record
from authgate.stores.memory import MemoryStore
from authgate.stores.opening import open_store
from authgate.stores.sqlite import SqliteStore
from authgate.stores.sqlite_file import SCHEMA
from tests.clock import MovableClock


def refusal(url: str) -> str:
    with pytest.raises(ConfigError) as caught:
        open_store(url, MovableClock())
    (problem,) = caught.value.problems
    assert problem.place == "store"
    assert problem.hint
    return str(problem)


def test_memory_is_a_memory_store() -> None:
    assert isinstance(open_store("memory:", MovableClock()), MemoryStore)


def test_sqlite_makes_a_private_file_in_a_private_folder(tmp_path: Path) -> None:
    path = tmp_path / "state" / "authgate.db"
    before = os.umask(0)
    try:
        store = open_store(f"sqlite:{path}", MovableClock())
    finally:
        os.umask(before)
    assert isinstance(store, SqliteStore)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert asyncio.run(store.get("session", "a")) is None
    asyncio.run(store.aclose())


@pytest.mark.parametrize(
    "url",
    [
        "",
        "memory",
        "memory:x",
        "Memory:",
        "sqlite",
        "sqlite:",
        "sqlite::memory:",
        "sqlite:relative.db",
        "sqlite:/folder/",
        "sqlite:/a\0b",
        "redis://:secret@localhost",
        "/authgate.db",
    ],
)
def test_any_other_url_is_refused_without_repeating_it(url: str) -> None:
    message = refusal(url)
    assert "secret" not in message
    assert "sqlite:state/authgate.db" in message


@pytest.mark.parametrize("mode", [0o640, 0o660, 0o604, 0o602, 0o644, 0o610])
def test_a_file_that_others_may_open_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "authgate.db"
    path.touch()
    path.chmod(mode)
    assert f"chmod 600 {path}" in refusal(f"sqlite:{path}")


def test_a_log_that_others_may_open_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "authgate.db"
    path.touch(mode=0o600)
    (tmp_path / "authgate.db-wal").touch(mode=0o600)
    (tmp_path / "authgate.db-wal").chmod(0o644)
    assert "chmod 600" in refusal(f"sqlite:{path}")


def test_a_newer_schema_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "authgate.db"
    path.touch(mode=0o600)
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA + 1}")
    connection.close()
    before = path.read_bytes()
    assert f"schema {SCHEMA + 1}" in refusal(f"sqlite:{path}")
    assert path.read_bytes() == before


def test_another_programs_database_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "authgate.db"
    path.touch(mode=0o600)
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    before = path.read_bytes()
    assert "another program's" in refusal(f"sqlite:{path}")
    assert path.read_bytes() == before


def test_a_file_that_is_no_database_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "authgate.db"
    path.touch(mode=0o600)
    path.write_bytes(b"<html>" * 1000)
    assert "not a database" in refusal(f"sqlite:{path}")
    assert path.read_bytes() == b"<html>" * 1000


def test_a_folder_or_pipe_in_place_of_the_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir(mode=0o700)
    os.mkfifo(tmp_path / "pipe", 0o600)
    assert "is not a file" in refusal(f"sqlite:{tmp_path / 'folder'}")
    assert "is not a file" in refusal(f"sqlite:{tmp_path / 'pipe'}")


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "cannot be opened" in refusal(f"sqlite:{tmp_path / 'no' / 'such' / 'authgate.db'}")
    assert "cannot be opened" in refusal(f"sqlite:{tmp_path / 'file' / 'authgate.db'}")


def test_a_file_this_user_may_not_open_is_refused(guarded_folder: Path) -> None:
    path = guarded_folder / "authgate.db"
    path.touch(mode=0o600)
    path.chmod(0)
    assert "cannot be opened" in refusal(f"sqlite:{path}")


def test_a_path_with_uri_characters_is_a_path(tmp_path: Path) -> None:
    path = tmp_path / "a?mode=memory#%41 ü.db"
    store = open_store(f"sqlite:{path}", MovableClock())
    asyncio.run(store.aclose())
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


# As the first schema made it.
SCHEMA_1 = """
    CREATE TABLE records (
        kind TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL, owner TEXT NOT NULL, expires REAL NOT NULL,
        PRIMARY KEY (kind, key)) WITHOUT ROWID;
    CREATE INDEX records_by_owner ON records (kind, owner);
    CREATE INDEX records_by_expiry ON records (expires);
    CREATE TABLE changes (
        seq INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, key TEXT NOT NULL, at REAL NOT NULL);
    INSERT INTO records VALUES ('session', 'a', x'00ff', 'alice', 2000000000.0);
    PRAGMA user_version = 1;
"""


# As the second schema added to it.
SCHEMA_2 = """
    CREATE TABLE counters (
        key TEXT NOT NULL PRIMARY KEY, number INTEGER NOT NULL, ends REAL NOT NULL) WITHOUT ROWID;
    CREATE INDEX counters_by_end ON counters (ends);
    INSERT INTO counters VALUES ('b', 7, 2000000000.0);
    PRAGMA user_version = 2;
"""


def _of_schema_1(path: Path) -> sqlite3.Connection:
    path.touch(mode=0o600)
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.executescript(SCHEMA_1)
    return connection


def _of_schema_2(path: Path) -> sqlite3.Connection:
    connection = _of_schema_1(path)
    connection.executescript(SCHEMA_2)
    return connection


def _columns(path: Path) -> list[tuple[str, str]]:
    with closing(sqlite3.connect(path)) as connection:
        return sorted(connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall())


@pytest.mark.parametrize("make", [_of_schema_1, _of_schema_2])
def test_file_of_an_older_schema_is_brought_up_to_date_with_its_records(
    tmp_path: Path, make: Callable[[Path], sqlite3.Connection]
) -> None:
    path = tmp_path / "authgate.db"
    # Open meanwhile in an older authgate, which goes on.
    older = make(path)

    async def scenario() -> None:
        store = open_store(f"sqlite:{path}", MovableClock())
        assert await store.get("session", "a") == Record("a", b"\x00\xff", "alice", 2000000000.0)
        assert (await store.counted("b")).number == (0 if make is _of_schema_1 else 7)
        assert (await store.add("a", 600)).number == 1
        assert await store.take("c", "u", 1, 2e9, 600) is not None
        older.execute("DELETE FROM records")
        assert await store.get("session", "a") is None
        await store.aclose()

    asyncio.run(scenario())
    older.close()
    open_store(f"sqlite:{tmp_path / 'new.db'}", MovableClock())
    assert [name for name, _ in _columns(path)] == [name for name, _ in _columns(tmp_path / "new.db")]
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (SCHEMA,)


def test_upgrade_that_finds_the_file_locked_changes_nothing_and_is_made_later(tmp_path: Path) -> None:
    path = tmp_path / "authgate.db"
    older = _of_schema_1(path)
    older.execute("BEGIN IMMEDIATE")

    async def scenario() -> None:
        store = open_store(f"sqlite:{path}", MovableClock())
        with pytest.raises(StoreUnavailable):
            await store.add("a", 600)
        assert (store.operations, store.errors) == (1, 1)
        older.execute("COMMIT")
        assert (await store.add("a", 600)).number == 1
        await store.aclose()

    asyncio.run(scenario())
    older.close()


def test_what_the_newer_schema_says_to_an_older_authgate_names_both(tmp_path: Path) -> None:
    path = tmp_path / "authgate.db"
    open_store(f"sqlite:{path}", MovableClock())
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 7")

    words = refusal(f"sqlite:{path}")

    assert f"{path} has schema 7, made by a newer authgate" in words
    assert f"this authgate knows schema {SCHEMA}; use the newer authgate or another file" in words
