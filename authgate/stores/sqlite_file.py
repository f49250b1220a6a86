"""Opening the file of a SQLite store, and noticing that another file has taken its place.

Rules:
1. The file is made with mode 0600, never made so afterwards; SQLite gives ``-wal`` and ``-shm`` the mode of the file.
2. SQLite finds ``-wal`` and ``-shm`` by name. When another file is moved to the path, those that lie there belong to
   the former one, and SQLite would read the former one's records out of them. They are removed before the new file is
   opened, but only if they are the very inodes the former connection used.
3. The former connection stays open until then: it holds those inode numbers, so they cannot belong to newer files.
4. All of this happens under a lock on the folder, so that no other process opens the file in between.
"""

import fcntl
import os
import sqlite3
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from authgate.errors import ConfigError, Problem

SCHEMA = 3

_TABLES = (
    """CREATE TABLE records (
        kind TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL, owner TEXT NOT NULL, expires REAL NOT NULL,
        PRIMARY KEY (kind, key)) WITHOUT ROWID""",
    "CREATE INDEX records_by_owner ON records (kind, owner)",
    "CREATE INDEX records_by_expiry ON records (expires)",
    # AUTOINCREMENT: a number is never given twice, so a follower notices one that is missing.
    """CREATE TABLE changes (
        seq INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, key TEXT NOT NULL, at REAL NOT NULL)""",
    "PRAGMA user_version = 1",
)
# By the schema they lead from. What stands in a released authgate is not changed afterwards: files were made by it.
_STEPS = {
    0: _TABLES,
    1: (
        """CREATE TABLE counters (
            key TEXT NOT NULL PRIMARY KEY, number INTEGER NOT NULL, ends REAL NOT NULL) WITHOUT ROWID""",
        "CREATE INDEX counters_by_end ON counters (ends)",
        "PRAGMA user_version = 2",
    ),
    2: (
        """CREATE TABLE units (
            key TEXT NOT NULL, unit TEXT NOT NULL, ends REAL NOT NULL, PRIMARY KEY (key, unit)) WITHOUT ROWID""",
        "CREATE INDEX units_by_end ON units (ends)",
        "PRAGMA user_version = 3",
    ),
}

_COMPANIONS = ("-wal", "-shm")
_LOCK_RETRY = 0.01

# Device and inode: what makes two files at one path different.
_Inode = tuple[int, int]


@dataclass(frozen=True, slots=True)
class _Opened:
    connection: sqlite3.Connection
    inode: _Inode
    companions: tuple[_Inode | None, ...]


class DatabaseFile:
    """One connection to whichever file stands at a path; belongs to one thread.

    Args:
        patience: seconds to wait for a lock that somebody else holds.
    """

    def __init__(self, path: Path, patience: float) -> None:
        self._path = path
        self._patience = patience
        self._opened: _Opened | None = None

    def connection(self, *, create: bool = False) -> sqlite3.Connection:
        """Return the connection, opened anew when another file stands at the path.

        Args:
            create: make a missing file. Not for one that vanished later: whoever puts a backup in its place would
                write into our new file while we use it.

        Raises:
            ConfigError: the file must not be used as it is.
            sqlite3.Error: SQLite cannot open it.
            OSError: the system cannot.
        """
        former = self._opened
        if former is not None and not self.replaced():
            return former.connection
        self._opened = _open(Path(os.path.realpath(self._path)), self._patience, create, former)
        if former is not None:
            _close(former.connection)
        return self._opened.connection

    def replaced(self) -> bool:
        """True when the path no longer leads to the file that is open."""
        return self._opened is not None and _inode(self._path) != self._opened.inode

    def close(self) -> None:
        """Close the connection; it can be opened again."""
        if self._opened is not None:
            _close(self._opened.connection)
            self._opened = None

    def give_up(self) -> None:
        """Close after an error, so that the next use starts afresh; a former file is kept for rule 3."""
        if not self.replaced():
            self.close()


def _open(path: Path, patience: float, create: bool, former: _Opened | None) -> _Opened:
    if create:
        path.parent.mkdir(mode=0o700, exist_ok=True)
    with _alone_in(path.parent, patience):
        if former is not None:
            _discard(path, former)
        if create:
            _create(path)
        _check_modes(path)
        inode = _inode(path)
        # mode=rw: SQLite itself never makes the file, it would be 0644. It falls back to reading only.
        connection = sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True, timeout=patience, isolation_level=None)
        try:
            return _take(connection, path, inode)
        except BaseException:
            _close(connection)
            raise


def _take(connection: sqlite3.Connection, path: Path, inode: _Inode | None) -> _Opened:
    _set_up(connection, path)
    companions = tuple(_inode(companion) for companion in _companions(path))
    if inode is None or _inode(path) != inode:
        raise sqlite3.OperationalError("the file was replaced while it was being opened")
    return _Opened(connection, inode, companions)


@contextmanager
def _alone_in(folder: Path, patience: float) -> Iterator[None]:
    # The folder and not the file: closing any descriptor of a file drops SQLite's own locks on it (fcntl(2)).
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        deadline = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(_LOCK_RETRY)
        yield
    finally:
        os.close(descriptor)


def _discard(path: Path, former: _Opened) -> None:
    for companion, inode in zip(_companions(path), former.companions, strict=True):
        if inode is not None and _inode(companion) == inode and _inode(path) != former.inode:
            companion.unlink()


def _create(path: Path) -> None:
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        for companion in _companions(path):
            companion.unlink(missing_ok=True)


def _check_modes(path: Path) -> None:
    problems = []
    for file in (path, *_companions(path)):
        try:
            mode = file.stat().st_mode
        except FileNotFoundError:
            if file == path:
                raise
            continue
        if not stat.S_ISREG(mode):
            problems.append(Problem("store", f"{file} is not a file", "name a file"))
        elif mode & 0o077:
            problems.append(Problem("store", f"{file} is open to other users", f"chmod 600 {file}"))
    if problems:
        raise ConfigError(problems)


def _set_up(connection: sqlite3.Connection, path: Path) -> None:
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > SCHEMA:
        hint = f"this authgate knows schema {SCHEMA}; use the newer authgate or another file"
        raise ConfigError([Problem("store", f"{path} has schema {version}, made by a newer authgate", hint)])
    tables: int = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if version == 0 and tables:
        hint = "name a file of its own for authgate"
        raise ConfigError([Problem("store", f"{path} is another program's database", hint)])
    # Without WAL a reader waits for every writer, and PRAGMA data_version with it.
    journal: str = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if journal != "wal":
        raise sqlite3.OperationalError("the file system does not support write-ahead logging")
    connection.execute("PRAGMA synchronous = NORMAL")
    if version < SCHEMA:
        # All steps or none. The lock on the folder keeps others from opening the file meanwhile; those that have it
        # open with the older schema go on, for a step only adds.
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            for step in range(version, SCHEMA):
                for statement in _STEPS[step]:
                    connection.execute(statement)


def _companions(path: Path) -> list[Path]:
    return [path.with_name(path.name + suffix) for suffix in _COMPANIONS]


def _inode(path: Path) -> _Inode | None:
    try:
        found = os.stat(path)  # noqa: PTH116 - asked fifty times a second, and before each record is read
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_dev, found.st_ino


def _close(connection: sqlite3.Connection) -> None:
    # What is wrong with the file was reported by whatever was done with it; a connection that is given up just goes.
    with suppress(sqlite3.Error):
        connection.close()
