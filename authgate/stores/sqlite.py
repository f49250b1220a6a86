"""Records in one SQLite file that all workers of a machine share: the default store."""

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from authgate.errors import ConfigError, Problem, StoreUnavailable
from authgate.stores import NOTHING_COUNTED, Clock, Count, Record
from authgate.stores.channel import SharedChannel
from authgate.stores.sqlite_file import DatabaseFile

R = TypeVar("R")

_log = logging.getLogger("authgate")

# Seconds a read or write waits for another process's lock: well within the 250 ms a fact may take.
_PATIENCE = 0.2
# Seconds between two looks at the changes: a deletion is in force everywhere within 100 ms.
_TICK = 0.02
# Deletions told in one go; more would keep the event loop from answering.
_BATCH = 1000
# Seconds a change is kept: a follower that slept longer finds numbers missing and reads everything again.
_CHANGES_KEPT = 600.0
# Ticks for which a follower waits in silence while another process opens the file, as all workers do at start.
_OPENING = 50
# How often one piece of work is done over because the file was replaced under it.
_ATTEMPTS = 3

_PUT = "INSERT OR REPLACE INTO records (kind, key, value, owner, expires) VALUES (?, ?, ?, ?, ?)"
_GET = "SELECT key, value, owner, expires FROM records WHERE kind = ? AND key = ?"
_TOUCH = "UPDATE records SET value = ?, owner = ?, expires = ? WHERE kind = ? AND key = ?"
_DELETE = "DELETE FROM records WHERE kind = ? AND key = ?"
_CHANGE = "INSERT INTO changes (kind, key, at) VALUES (?, ?, ?)"
_DELETE_ALL = "DELETE FROM records WHERE kind = ?"
_CHANGE_ALL = "INSERT INTO changes (kind, key, at) SELECT kind, key, ? FROM records WHERE kind = ?"
_SCAN_ALL = "SELECT key, value, owner, expires FROM records WHERE kind = ? ORDER BY expires, key"
_DELETE_OWNED = "DELETE FROM records WHERE kind = ? AND owner = ?"
_CHANGE_OWNED = "INSERT INTO changes (kind, key, at) SELECT kind, key, ? FROM records WHERE kind = ? AND owner = ?"
_SCAN_OWNED = "SELECT key, value, owner, expires FROM records WHERE kind = ? AND owner = ? ORDER BY expires, key"
_PURGE = """DELETE FROM records WHERE (kind, key) IN
    (SELECT kind, key FROM records WHERE expires < ? ORDER BY expires LIMIT ?)"""
# One statement, and so one step: two workers that count at once are two.
_ADD = """INSERT INTO counters (key, number, ends) VALUES (:key, 1, :fresh) ON CONFLICT (key) DO UPDATE SET
    number = CASE WHEN ends > :now AND ends <= :fresh THEN number + 1 ELSE 1 END,
    ends = CASE WHEN ends > :now AND ends <= :fresh THEN ends ELSE :fresh END
    RETURNING number, ends"""
_COUNTED = "SELECT number, ends FROM counters WHERE key = ? AND ends > ?"
_CLEAR = "DELETE FROM counters WHERE key = ?"
# Until when a unit stands, and how often was counted. `free` is the latest end there can be.
_USED = """SELECT
    coalesce((SELECT ends FROM units WHERE key = :key AND unit = :unit AND ends > :now AND ends <= :free), 0),
    coalesce((SELECT number FROM counters WHERE key = :key AND ends > :now), 0)"""
_COUNT_USE = """INSERT INTO counters (key, number, ends) VALUES (:key, 1, :expires) ON CONFLICT (key) DO UPDATE SET
    number = CASE WHEN ends > :now THEN number + 1 ELSE 1 END,
    ends = CASE WHEN ends > :now THEN max(ends, :expires) ELSE :expires END"""
_PUT_UNIT = "INSERT OR REPLACE INTO units (key, unit, ends) VALUES (:key, :unit, min(:free, :expires))"
_PURGE_UNITS = """DELETE FROM units WHERE (key, unit) IN
    (SELECT key, unit FROM units WHERE ends < ? ORDER BY ends LIMIT ?)"""
_PURGE_COUNTERS = "DELETE FROM counters WHERE key IN (SELECT key FROM counters WHERE ends < ? ORDER BY ends LIMIT ?)"
_TRIM = "DELETE FROM changes WHERE seq IN (SELECT seq FROM changes WHERE at < ? ORDER BY seq LIMIT ?)"
_TAIL = "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'changes'), 0)"
_NEWS = "SELECT seq, kind, key FROM changes WHERE seq > ? ORDER BY seq LIMIT ?"


class SqliteStore:
    """A store in a file; nothing is opened before the first use, so that one may be made before a fork.

    Args:
        path: absolute.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        self.operations = 0
        self.errors = 0
        self.up = False
        self._path = path
        self._clock = clock
        self._file = DatabaseFile(path, _PATIENCE)
        # One thread: a connection stays where it was made, and writers queue here rather than at SQLite's lock.
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sqlite")
        self._channel = SharedChannel(self._follow)
        self._found = False
        self._closed = False

    def prepare(self) -> None:
        """Make the file if it is missing and look whether it can be used, at start.

        Raises:
            ConfigError: it cannot, and only the operator can change that.
            StoreUnavailable: another process keeps it locked.
        """
        file = DatabaseFile(self._path, _PATIENCE)
        try:
            file.connection(create=True)
        except BlockingIOError as error:
            raise self._unavailable(error) from error
        except (sqlite3.Error, OSError) as error:
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY:
                raise self._unavailable(error) from error
            why = error.strerror if isinstance(error, OSError) else str(error)
            hint = "name a file this user may write, in a folder that exists"
            raise ConfigError([Problem("store", f"{self._path} cannot be opened: {why}", hint)]) from error
        finally:
            file.close()
        self._found = True

    async def put(self, kind: str, record: Record) -> None:
        """Create the record, or replace one with the same key."""
        row = (kind, record.key, record.value, record.owner, record.expires)
        await self._run(lambda connection: connection.execute(_PUT, row).rowcount)

    async def announce(self, kind: str, record: Record) -> None:
        """Create or replace the record and write a change, both or neither."""
        at = self._clock()
        row = (kind, record.key, record.value, record.owner, record.expires)

        def work(connection: sqlite3.Connection) -> None:
            with connection:
                connection.execute("BEGIN IMMEDIATE")
                connection.execute(_PUT, row)
                connection.execute(_CHANGE, (kind, record.key, at))

        await self._run(work)

    async def get(self, kind: str, key: str) -> Record | None:
        """Return the record, expired or not; None when there is none."""
        found = await self._run(lambda connection: _records(connection, _GET, (kind, key)))
        return found[0] if found else None

    async def touch(self, kind: str, record: Record) -> bool:
        """Replace a record that still exists."""
        row = (record.value, record.owner, record.expires, kind, record.key)
        return await self._run(lambda connection: connection.execute(_TOUCH, row).rowcount) > 0

    async def delete(self, kind: str, key: str) -> bool:
        """Remove the record and write a change, both or neither."""
        at = self._clock()

        def work(connection: sqlite3.Connection) -> int:
            with connection:
                connection.execute("BEGIN IMMEDIATE")
                count = connection.execute(_DELETE, (kind, key)).rowcount
                if count:
                    connection.execute(_CHANGE, (kind, key, at))
            return count

        return await self._run(work) > 0

    async def delete_owned(self, kind: str, owner: str | None) -> int:
        """Remove all records of `owner`, or of everybody for None, and write a change for each."""
        at = self._clock()
        whose = (kind,) if owner is None else (kind, owner)
        change, delete = (_CHANGE_ALL, _DELETE_ALL) if owner is None else (_CHANGE_OWNED, _DELETE_OWNED)

        def work(connection: sqlite3.Connection) -> int:
            with connection:
                connection.execute("BEGIN IMMEDIATE")
                connection.execute(change, (at, *whose))
                return connection.execute(delete, whose).rowcount

        return await self._run(work)

    async def scan(self, kind: str, owner: str | None = None) -> list[Record]:
        """Return the records of `owner`, or of everybody, soonest to expire first."""
        if owner is None:
            return await self._run(lambda connection: _records(connection, _SCAN_ALL, (kind,)))
        return await self._run(lambda connection: _records(connection, _SCAN_OWNED, (kind, owner)))

    async def purge(self, now: float, limit: int) -> int:
        """Remove at most `limit` records that expired before `now`, and as many old changes, counters and units."""

        def work(connection: sqlite3.Connection) -> int:
            with connection:
                connection.execute("BEGIN IMMEDIATE")
                connection.execute(_TRIM, (now - _CHANGES_KEPT, limit))
                connection.execute(_PURGE_COUNTERS, (now, limit))
                connection.execute(_PURGE_UNITS, (now, limit))
                return connection.execute(_PURGE, (now, limit)).rowcount

        return await self._run(work)

    async def add(self, key: str, seconds: float) -> Count:
        """Count one more."""
        now = self._clock()
        given = {"key": key, "now": now, "fresh": now + seconds}
        [row] = await self._run(lambda connection: connection.execute(_ADD, given).fetchall())
        return Count(*row)

    async def counted(self, key: str) -> Count:
        """Return the counter as it stands."""
        asked = (key, self._clock())
        row = await self._run(lambda connection: connection.execute(_COUNTED, asked).fetchone())
        return Count(*row) if row else NOTHING_COUNTED

    async def clear(self, key: str) -> None:
        """End the counter now."""
        await self._run(lambda connection: connection.execute(_CLEAR, (key,)).rowcount)

    async def take(self, key: str, unit: str, limit: int, expires: float, free_for: float) -> float | None:
        """Count one use more, unless the unit stands already: both are written or neither."""
        now = self._clock()
        given = {"key": key, "unit": unit, "now": now, "expires": expires, "free": now + free_for}

        def work(connection: sqlite3.Connection) -> float | None:
            stands, number = _used(connection, given)
            # Most are answered by reading, which waits for no other worker.
            if stands or number >= limit:
                return stands or None
            with connection:
                connection.execute("BEGIN IMMEDIATE")
                stands, number = _used(connection, given)
                if stands or number >= limit:
                    return stands or None
                connection.execute(_COUNT_USE, given)
                connection.execute(_PUT_UNIT, given)
            return min(now + free_for, expires)

        return await self._run(work)

    async def is_left(self, key: str, unit: str, limit: int, free_for: float) -> bool:
        """Tell whether `take` would count or find a unit."""
        now = self._clock()
        given = {"key": key, "unit": unit, "now": now, "free": now + free_for}
        stands, number = await self._run(lambda connection: _used(connection, given))
        return bool(stands) or number < limit

    async def follow(self, on_deleted: Callable[[str, str], None], on_lost: Callable[[], None]) -> None:
        """Call `on_deleted` for each deletion from now on, by whichever process; run until cancelled."""
        await self._channel.follow(on_deleted, on_lost)

    async def _follow(self, on_deleted: Callable[[str, str], None], on_lost: Callable[[], None]) -> None:
        # The file is made by the store's own thread, if it has to be made.
        with suppress(StoreUnavailable):
            await self._run(lambda connection: connection.in_transaction)
        channel = _Channel(self._path)
        try:
            while True:
                deleted = channel.read()
                self.up = channel.is_open
                if deleted is None:
                    on_lost()
                    deleted = []
                for kind, key in deleted:
                    on_deleted(kind, key)
                await asyncio.sleep(0 if len(deleted) == _BATCH else _TICK)
        finally:
            self.up = False
            channel.close()

    async def aclose(self) -> None:
        """Close the file; the store cannot be used again."""
        if not self._closed:
            self._closed = True
            await asyncio.get_running_loop().run_in_executor(self._executor, self._file.close)
            self._executor.shutdown(wait=False)

    async def _run(self, work: Callable[[sqlite3.Connection], R]) -> R:
        self.operations += 1
        if self._closed:
            self.errors += 1
            raise StoreUnavailable(f"{self._path}: the store is closed")
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, self._attempt, work)
        except StoreUnavailable:
            self.errors += 1
            raise

    def _attempt(self, work: Callable[[sqlite3.Connection], R]) -> R:
        try:
            for _ in range(_ATTEMPTS):
                connection = self._file.connection(create=not self._found)
                self._found = True
                result = work(connection)
                # Done in a file that was moved away meanwhile is not done.
                if not self._file.replaced():
                    return result
        # UnicodeEncodeError: half a surrogate pair from a command line is no text that SQLite could hold.
        except (sqlite3.Error, OSError, ConfigError, UnicodeEncodeError) as error:
            self._file.give_up()
            raise self._unavailable(error) from error
        raise StoreUnavailable(f"{self._path}: the file is replaced again and again")

    def _unavailable(self, error: Exception) -> StoreUnavailable:
        return StoreUnavailable(f"{self._path}: {error}")


class _Channel:
    """The changes of one file as they appear, read on a connection of its own.

    ``PRAGMA data_version`` (about 3 µs) moves with every commit of another connection, and ours never commits.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        # It runs on the event loop, which must not wait for anybody's lock.
        self._file = DatabaseFile(path, patience=0.0)
        self._connection: sqlite3.Connection | None = None
        self._away = False
        self._misses = 0
        self._version = 0
        self._seen = 0

    @property
    def is_open(self) -> bool:
        """True when deletions from now on will be seen."""
        return self._connection is not None

    def read(self) -> list[tuple[str, str]] | None:
        """Return the next deletions, at most `_BATCH`; None when some may have been missed before now."""
        try:
            connection = self._file.connection()
            if connection is not self._connection:
                self._start(connection)
                return None
            return self._news(connection)
        except (sqlite3.Error, OSError, ConfigError) as error:
            self._misses += 1
            opening = isinstance(error, BlockingIOError) and self._misses <= _OPENING
            if not self._away and not opening:
                self._away = True
                _log.warning("deletions cannot be followed: %s: %s", self._path, error)
            self._connection = None
            self._file.give_up()
            return None

    def close(self) -> None:
        """Close the connection."""
        self._file.close()

    def _start(self, connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA query_only = ON")
        self._version = _number(connection, "PRAGMA data_version")
        self._seen = _number(connection, _TAIL)
        self._connection = connection
        self._misses = 0
        if self._away:
            self._away = False
            _log.warning("deletions are followed again: %s", self._path)

    def _news(self, connection: sqlite3.Connection) -> list[tuple[str, str]] | None:
        version = _number(connection, "PRAGMA data_version")
        if version == self._version:
            return []
        # The tail first: what is written between the two statements then cannot look like a gap.
        tail = _number(connection, _TAIL)
        rows: list[tuple[int, str, str]] = connection.execute(_NEWS, (self._seen, _BATCH)).fetchall()
        last = rows[-1][0] if rows else self._seen
        trimmed = last - self._seen != len(rows) or (last < tail and len(rows) < _BATCH)
        if trimmed or tail < self._seen:
            self._version, self._seen = version, max(tail, last if rows else 0)
            return None
        if len(rows) < _BATCH:
            self._version = version
        self._seen = last
        return [(kind, key) for _, kind, key in rows]


def _records(connection: sqlite3.Connection, query: str, arguments: tuple[str, ...]) -> list[Record]:
    rows: list[tuple[str, bytes, str, float]] = connection.execute(query, arguments).fetchall()
    return [Record(key, value, owner, expires) for key, value, owner, expires in rows]


def _used(connection: sqlite3.Connection, given: Mapping[str, object]) -> tuple[float, int]:
    """Return until when a unit stands, 0.0 when it does not, and how many uses were counted."""
    [(stands, number)] = connection.execute(_USED, given).fetchall()
    return float(stands), int(number)


def _number(connection: sqlite3.Connection, query: str) -> int:
    number: int = connection.execute(query).fetchone()[0]
    return number
