"""What only a file can suffer: it is shared, locked, moved, lost, spoilt."""

import asyncio
import fcntl
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from authgate.errors import ConfigError, StoreUnavailable
from authgate.stores import Record, Store
from authgate.stores.sqlite import SqliteStore
from tests.clock import MovableClock
from tests.stores.conftest import Run, RunWith
from tests.stores.following import Follower, until

ROOT = Path(__file__).parents[2]

LOCKING = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
for statement in sys.argv[2:]:
    connection.execute(statement)
print("locked", flush=True)
sys.stdin.read()
"""

DELETING = """
import asyncio, sys, time
from pathlib import Path
from authgate.stores.sqlite import SqliteStore

async def main() -> None:
    store = SqliteStore(Path(sys.argv[1]), time.time)
    for key in sys.argv[2:]:
        sys.stdin.readline()
        assert await store.delete("session", key)
        print(time.monotonic(), flush=True)
    await store.aclose()

asyncio.run(main())
"""

TAKING = """
import asyncio, sys, time
from pathlib import Path
from authgate.stores.sqlite import SqliteStore

async def main() -> None:
    store = SqliteStore(Path(sys.argv[1]), time.time)
    await store.counted("a")
    print("ready", flush=True)
    sys.stdin.readline()
    ends = time.time() + 600
    taken = await asyncio.gather(*(store.take("a", f"{sys.argv[2]}{n}", 3, ends, 600) for n in range(50)))
    print(sum(one is not None for one in taken), flush=True)
    await store.aclose()

asyncio.run(main())
"""

FORKING = """
import asyncio, os, sys
from pathlib import Path
from authgate.stores import Record
from authgate.stores.sqlite import SqliteStore

store = SqliteStore(Path(sys.argv[1]), lambda: 0.0)
store.prepare()

async def work() -> None:
    try:
        await store.put("session", Record(str(os.getpid()), b"", "", 1.0))
    finally:
        await store.aclose()

children = []
for _ in range(2):
    child = os.fork()
    if not child:
        asyncio.run(work())
        os._exit(0)
    children.append(child)
for child in children:
    assert os.waitpid(child, 0)[1] == 0

async def look() -> None:
    assert {int(record.key) for record in await store.scan("session")} == set(children)
    await store.aclose()

asyncio.run(look())
"""


def record(key: str, value: bytes = b"v", expires: float = 2_000_000_000.0) -> Record:
    return Record(key, value, "alice", expires)


@contextmanager
def running(script: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """A Python process of its own; it ends at the latest when its standard input does."""
    command = [sys.executable, "-W", "error", "-c", script, *map(str, arguments)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.communicate(timeout=30)
    assert process.returncode == 0


@contextmanager
def locked(path: Path, *statements: str) -> Iterator[None]:
    with running(LOCKING, path, *statements) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        yield


def make(path: Path, *records: Record) -> None:
    """Write a complete store file and leave nobody in it."""

    async def scenario(store: Store) -> None:
        for one in records:
            await store.put("session", one)

    RunWith(lambda: SqliteStore(path, MovableClock()))(scenario)


def move(source: Path, target: Path) -> None:
    source.rename(target)


def remove(path: Path) -> None:
    path.unlink()


def exists(path: Path) -> bool:
    return path.exists()


def make_writable(folder: Path) -> None:
    for file in folder.iterdir():
        file.chmod(0o600)


async def unavailable(work: Awaitable[object]) -> None:
    started = time.monotonic()
    with pytest.raises(StoreUnavailable):
        await work
    assert time.monotonic() - started < 1.0


def test_file_and_logs_are_private_whatever_the_umask(run_sqlite: Run, path: Path) -> None:
    async def scenario(store: Store) -> None:
        before = os.umask(0)
        try:
            await store.put("session", record("a"))
        finally:
            os.umask(before)
        modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
        assert modes == {"authgate.db": 0o600, "authgate.db-wal": 0o600, "authgate.db-shm": 0o600}

    run_sqlite(scenario)


def test_making_a_store_opens_nothing(path: Path) -> None:
    SqliteStore(path, MovableClock())
    assert not path.exists()


def test_a_closed_store_is_unavailable(path: Path) -> None:
    async def main() -> None:
        store = SqliteStore(path, MovableClock())
        await store.put("session", record("a"))
        await store.aclose()
        await store.aclose()
        await unavailable(store.get("session", "a"))
        assert [file.name for file in path.parent.iterdir()] == ["authgate.db"]

    asyncio.run(main())


def test_records_outlive_the_process(path: Path, run_sqlite: Run) -> None:
    async def scenario(store: Store) -> None:
        assert await store.get("session", "a") == record("a")

    make(path, record("a"))
    run_sqlite(scenario)


def test_a_store_made_before_a_fork_serves_every_process(path: Path) -> None:
    with running(FORKING, path):
        pass


def test_several_workers_may_make_the_file_at_once(run_sqlite: Run) -> None:
    async def scenario(*stores: Store) -> None:
        await asyncio.gather(*(store.put("session", record(str(n))) for n, store in enumerate(stores)))
        assert len(await stores[0].scan("session")) == len(stores)

    run_sqlite(scenario, workers=6)


def test_a_follower_says_nothing_while_another_worker_opens_the_file(
    run_sqlite: Run, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(store: Store) -> None:
        await store.put("session", Record("k", b"", "", 1.0))
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            other = SqliteStore(path, time.time)
            async with Follower(other) as follower:
                await until(lambda: follower.lost > 3)
                fcntl.flock(folder, fcntl.LOCK_UN)
                follower.lost = 0
                await until(lambda: follower.lost > 0)
                await store.delete("session", "k")
                await until(lambda: follower.deleted == [("session", "k")])
            await other.aclose()
        finally:
            os.close(folder)

    run_sqlite(scenario)

    assert caplog.text == ""


def test_a_deletion_by_another_process_is_in_force_within_a_tenth_of_a_second(
    run_sqlite: Run, path: Path, record_property: Callable[[str, object], None]
) -> None:
    keys = [f"k{number}" for number in range(5)]
    delays: list[float] = []

    async def scenario(store: Store) -> None:
        for key in keys:
            await store.put("session", record(key))
        async with Follower(store) as follower:
            with running(DELETING, path, *keys) as process:
                assert process.stdin is not None
                assert process.stdout is not None
                for number, key in enumerate(keys):
                    process.stdin.write("\n")
                    process.stdin.flush()
                    deleted_at = float(await asyncio.to_thread(process.stdout.readline))
                    await until(lambda: len(follower.deleted) > number, deadline=2.0)  # noqa: B023
                    assert follower.deleted[-1] == ("session", key)
                    assert await store.get("session", key) is None
                    delays.append(follower.seen_at[-1] - deleted_at)

    run_sqlite(scenario)
    record_property("delays", delays)
    # Three of five: the machine may be busy with something else for a moment.
    assert sorted(delays)[2] <= 0.1, delays


def test_changes_are_trimmed_after_ten_minutes_in_small_steps(run_sqlite: Run, path: Path, clock: MovableClock) -> None:
    def changes() -> list[str]:
        with sqlite3.connect(path) as connection:
            found = [key for (key,) in connection.execute("SELECT key FROM changes ORDER BY seq")]
        connection.close()
        return found

    async def scenario(store: Store) -> None:
        for key in ("a", "b", "c"):
            await store.put("session", record(key))
            await store.delete("session", key)
        clock.advance(599)
        await store.purge(clock.now, 2)
        assert changes() == ["a", "b", "c"]
        clock.advance(2)
        await store.purge(clock.now, 2)
        assert changes() == ["c"]

    run_sqlite(scenario)


@pytest.mark.parametrize(("written", "trimmed"), [(4, 4), (4, 3), (4, 1), (1500, 1), (1500, 1200)])
def test_a_follower_that_missed_trimmed_changes_says_so(
    run_sqlite: Run, path: Path, written: int, trimmed: int
) -> None:
    async def scenario(store: Store) -> None:
        await store.put("session", record("a"))
        async with Follower(store) as follower:
            # Written and trimmed before the follower has its next turn: nothing is awaited in between.
            with sqlite3.connect(path) as connection:
                connection.executemany(
                    "INSERT INTO changes (kind, key, at) VALUES ('session', ?, 0)",
                    ((str(number),) for number in range(written)),
                )
                connection.execute("DELETE FROM changes WHERE seq <= ?", (trimmed,))
            connection.close()
            await until(lambda: follower.lost > 0)
            await store.delete("session", "a")
            await until(lambda: bool(follower.deleted))
            assert (follower.deleted, follower.lost) == ([("session", "a")], 1)

    run_sqlite(scenario)


def test_a_follower_notices_that_a_backup_was_written_into_the_file(run_sqlite: Run, path: Path) -> None:
    async def scenario(store: Store) -> None:
        await store.put("session", record("a"))
        backup = sqlite3.connect(":memory:")
        current = sqlite3.connect(path)
        current.backup(backup)
        await store.delete("session", "a")
        async with Follower(store) as follower:
            backup.backup(current)
            await until(lambda: follower.lost > 0)
        assert await store.get("session", "a") == record("a")
        backup.close()
        current.close()

    run_sqlite(scenario)


def test_a_replaced_file_is_a_lost_channel_and_its_records_are_the_ones_found(run_sqlite: Run, path: Path) -> None:
    other = path.with_name("other.db")
    make(other, record("new"))

    async def scenario(one: Store, two: Store) -> None:
        await one.put("session", record("old"))
        assert await two.get("session", "old") is not None
        async with Follower(one) as follower, Follower(two) as followers:
            # -wal and -shm of the old file stay where they are, as `mv backup.db authgate.db` leaves them.
            move(other, path)
            assert await two.get("session", "old") is None
            assert await two.get("session", "new") == record("new")
            assert await one.get("session", "new") == record("new")
            await one.put("session", record("newer"))
            assert {found.key for found in await two.scan("session")} == {"new", "newer"}
            await until(lambda: follower.lost > 0 and followers.lost > 0)
            assert (follower.lost, followers.lost) == (1, 1)
            await two.delete("session", "new")
            await until(lambda: bool(follower.deleted and followers.deleted))
            assert follower.deleted == followers.deleted == [("session", "new")]
        assert await one.get("session", "old") is None

    run_sqlite(scenario, workers=2)

    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()


@pytest.mark.parametrize("replacement", ["another file", "none"])
def test_a_former_file_that_another_process_still_holds_does_not_shine_through(
    run_sqlite: Run, path: Path, replacement: str
) -> None:
    other = path.with_name("other.db")
    make(path, record("older"))
    make(other, record("new"))
    before = "INSERT INTO records VALUES ('session', 'old', x'00', '', 1)"

    async def scenario(running_on: Store, restarted: Store) -> None:
        with locked(path, before):
            if replacement == "none":
                remove(path)
            else:
                assert await running_on.get("session", "old") is not None
                move(other, path)
                assert [found.key for found in await running_on.scan("session")] == ["new"]
            assert await restarted.get("session", "old") is None
            await restarted.put("session", record("newer"))
            assert await running_on.get("session", "newer") == record("newer")
        assert await running_on.get("session", "newer") == record("newer")
        assert await running_on.get("session", "old") is None

    run_sqlite(scenario, workers=2)


def test_a_file_replaced_again_and_again_is_followed_each_time(run_sqlite: Run, path: Path) -> None:
    async def scenario(one: Store, two: Store) -> None:
        await one.put("session", record("first"))
        async with Follower(two) as follower:
            for number in range(5):
                other = path.with_name(f"other{number}.db")
                await asyncio.to_thread(make, other, record(f"n{number}"))
                lost = follower.lost
                move(other, path)
                assert [found.key for found in await one.scan("session")] == [f"n{number}"]
                # A try while another opens the file is a loss too, and what is deleted before the next one is not told.
                await until(lambda: follower.lost > lost and two.up)  # noqa: B023
                assert await two.delete("session", f"n{number}")
                await until(lambda: follower.deleted[-1:] == [("session", f"n{number}")])  # noqa: B023

    run_sqlite(scenario, workers=2)


def test_a_deleted_file_is_unavailable_until_a_file_is_put_there(
    run_sqlite: Run, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = path.with_name("other.db")
    make(other, record("new"))

    async def scenario(store: Store) -> None:
        await store.put("session", record("old"))
        async with Follower(store) as follower:
            remove(path)
            await unavailable(store.get("session", "old"))
            await unavailable(store.put("session", record("old")))
            assert not exists(path)
            await until(lambda: follower.lost > 0)
            move(other, path)
            assert [found.key for found in await store.scan("session")] == ["new"]
            await until(lambda: "followed again" in caplog.text)
            await store.delete("session", "new")
            await until(lambda: bool(follower.deleted))

    run_sqlite(scenario)


def test_a_restarted_worker_makes_a_deleted_file_anew_and_the_others_find_it(run_sqlite: Run, path: Path) -> None:
    async def scenario(running_on: Store, restarted: Store) -> None:
        await running_on.put("session", record("old"))
        remove(path)
        assert await restarted.get("session", "old") is None
        await restarted.put("session", record("new"))
        assert [found.key for found in await running_on.scan("session")] == ["new"]

    run_sqlite(scenario, workers=2)


def test_a_file_moved_away_and_back_is_used_again(run_sqlite: Run, path: Path) -> None:
    async def scenario(store: Store) -> None:
        await store.put("session", record("a"))
        move(path, path.with_name("away.db"))
        await unavailable(store.get("session", "a"))
        move(path.with_name("away.db"), path)
        assert await store.get("session", "a") == record("a")

    run_sqlite(scenario)


def test_a_spoilt_file_is_unavailable_and_a_good_one_in_its_place_is_used(run_sqlite: Run, path: Path) -> None:
    spare = path.with_name("spare.db")
    make(path, *(record(str(number), bytes(1000)) for number in range(50)))
    shutil.copy(path, spare)
    path.write_bytes(path.read_bytes()[:100] + b"\xa5" * 20_000)

    async def scenario(store: Store) -> None:
        await unavailable(store.get("session", "1"))
        await unavailable(store.put("session", record("1")))
        await unavailable(store.delete("session", "1"))
        await unavailable(store.touch("session", record("1")))
        await unavailable(store.scan("session"))
        await unavailable(store.delete_owned("session", None))
        await unavailable(store.purge(3e9, 10))
        move(spare, path)
        assert len(await store.scan("session")) == 50

    run_sqlite(scenario)


@pytest.mark.parametrize("fault", ["spoilt", "open to others"])
def test_following_outlasts_a_file_that_cannot_be_used(
    run_sqlite: Run, path: Path, caplog: pytest.LogCaptureFixture, fault: str
) -> None:
    good = path.with_name("good.db")
    bad = path.with_name("bad.db")
    make(good, record("new"))
    make(bad, record("bad"))
    if fault == "spoilt":
        bad.write_bytes(b"\xa5" * 20_000)
    else:
        bad.chmod(0o640)

    async def scenario(store: Store) -> None:
        async with Follower(store) as follower:
            move(bad, path)
            await until(lambda: follower.lost > 3)
            move(good, path)
            await until(lambda: "followed again" in caplog.text)
            await store.delete("session", "new")
            await until(lambda: bool(follower.deleted))

    run_sqlite(scenario)
    # Once each, not at every try.
    assert len(caplog.records) == 2


def test_a_file_that_may_only_be_read_is_read(guarded_folder: Path) -> None:
    path = guarded_folder / "authgate.db"
    make(path, record("a"))
    path.chmod(0o400)

    async def scenario(store: Store) -> None:
        assert await store.get("session", "a") == record("a")
        await unavailable(store.put("session", record("b")))
        await unavailable(store.delete("session", "a"))
        await unavailable(store.touch("session", record("a")))
        assert await store.get("session", "a") == record("a")
        # A connection opened for reading stays so: the next write that fails has it opened again.
        make_writable(guarded_folder)
        with suppress(StoreUnavailable):
            await store.purge(0, 1)
        assert await store.delete("session", "a")

    RunWith(lambda: SqliteStore(path, MovableClock()))(scenario)


def test_a_file_others_may_read_is_not_used(run_sqlite: Run, path: Path) -> None:
    make(path, record("a"))
    path.chmod(0o644)

    async def scenario(store: Store) -> None:
        await unavailable(store.get("session", "a"))

    run_sqlite(scenario)


def test_two_processes_that_take_at_once_take_no_more_than_there_is(path: Path) -> None:
    with running(TAKING, path, "x") as one, running(TAKING, path, "y") as other:
        for process in (one, other):
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in (one, other):
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        assert sum(int(process.stdout.readline()) for process in (one, other) if process.stdout) == 3


@pytest.mark.parametrize(
    ("meanwhile", "taken"),
    [
        ("INSERT INTO counters VALUES ('a', 2, 2e9)", None),
        ("INSERT INTO units VALUES ('a', 'u', 1700000100)", 1_700_000_100),
    ],
    ids=["the last use", "the same unit"],
)
def test_what_another_worker_took_while_the_lock_was_waited_for_counts(
    run_sqlite: Run, path: Path, meanwhile: str, taken: float | None
) -> None:
    async def scenario(store: SqliteStore) -> None:
        statements: list[str] = []
        assert await store.is_left("a", "u", 2, 600)
        await store._run(lambda connection: connection.set_trace_callback(statements.append))
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        taking = asyncio.create_task(store.take("a", "u", 2, 2e9, 600))
        # It has read, and waits for the lock.
        await until(lambda: "BEGIN IMMEDIATE" in statements)
        other.execute(meanwhile)
        other.execute("COMMIT")
        assert await taking == taken
        other.close()

    run_sqlite(scenario)


def test_use_is_taken_by_one_writer_at_a_time_and_a_unit_that_stands_only_read(run_sqlite: Run, path: Path) -> None:
    async def scenario(store: Store) -> None:
        stands = await store.take("a", "u", 2, 2e9, 600)
        with locked(path, "BEGIN IMMEDIATE"):
            await unavailable(store.take("a", "v", 2, 2e9, 600))
            assert await store.take("a", "u", 2, 2e9, 600) == stands
            assert await store.take("a", "v", 1, 2e9, 600) is None
            assert await store.is_left("a", "v", 2, 600)
        assert (await store.counted("a")).number == 1
        assert await store.take("a", "v", 2, 2e9, 600) is not None

    run_sqlite(scenario)


def test_a_writer_elsewhere_makes_writing_unavailable_but_not_reading(run_sqlite: Run, path: Path) -> None:
    async def scenario(store: Store) -> None:
        await store.put("session", record("a"))
        async with Follower(store) as follower:
            with locked(path, "BEGIN EXCLUSIVE"):
                await unavailable(store.put("session", record("b")))
                await unavailable(store.delete("session", "a"))
                assert await store.get("session", "a") == record("a")
            assert await store.delete("session", "a")
            await until(lambda: bool(follower.deleted))

    run_sqlite(scenario)


def test_a_file_another_process_keeps_for_itself_is_unavailable(run_sqlite: Run, path: Path) -> None:
    make(path, record("a"))

    async def scenario(store: Store) -> None:
        with locked(path, "PRAGMA locking_mode = EXCLUSIVE", "BEGIN EXCLUSIVE"):
            await unavailable(store.get("session", "a"))
            await unavailable(store.put("session", record("b")))
            with pytest.raises(StoreUnavailable):
                SqliteStore(path, MovableClock()).prepare()
        assert await store.get("session", "a") == record("a")

    run_sqlite(scenario)


def test_a_store_that_is_waited_for_does_not_hold_up_the_event_loop(run_sqlite: Run, path: Path) -> None:
    async def scenario(store: Store) -> None:
        await store.put("session", record("a"))
        with locked(path, "BEGIN EXCLUSIVE"):
            write = asyncio.create_task(store.delete("session", "a"))
            turns = 0
            while not write.done():
                turns += 1
                await asyncio.sleep(0)
            await unavailable(write)
        assert turns > 100

    run_sqlite(scenario)


def test_half_a_surrogate_pair_is_unavailable_and_no_crash(run_sqlite: Run) -> None:
    async def scenario(store: Store) -> None:
        await unavailable(store.scan("session", "\udcff"))
        assert await store.scan("session", "alice") == []

    run_sqlite(scenario)


def test_prepare_reports_what_the_operator_has_to_change(path: Path) -> None:
    path.mkdir()
    with pytest.raises(ConfigError):
        SqliteStore(path, MovableClock()).prepare()
