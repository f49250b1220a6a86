import asyncio
import gc
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest

from authgate.errors import StoreUnavailable
from authgate.stores import Record
from authgate.stores.cache import CachedRecords
from authgate.stores.memory import MemoryStore
from tests.clock import MovableClock
from tests.stores.following import until


class SlowStore(MemoryStore):
    """A memory store whose reads are counted, can be held up after the record was read, and can fail."""

    def __init__(self) -> None:
        super().__init__(MovableClock())
        self.reads = 0
        self.away = False
        self.on_read: Callable[[], Awaitable[None]] | None = None

    async def get(self, kind: str, key: str) -> Record | None:
        self.reads += 1
        if self.away:
            raise StoreUnavailable("away")
        found = await super().get(kind, key)
        if self.on_read is not None:
            await self.on_read()
        return found

    def lose(self) -> None:
        for _, on_lost in self._followers:
            on_lost()

    @property
    def is_followed(self) -> bool:
        return bool(self._followers)


def text(record: Record) -> str | None:
    return record.value.decode() if record.value != b"unreadable" else None


def record(key: str, value: bytes = b"value") -> Record:
    return Record(key, value, "alice", 2_000_000_000.0)


def run(scenario: Callable[[SlowStore, CachedRecords[str]], Awaitable[None]], capacity: int = 10) -> None:
    """Run the scenario while the cache follows its store."""

    async def main() -> None:
        store = SlowStore()
        records = CachedRecords(store, "session", text, capacity)
        task = asyncio.create_task(records.run())
        await until(lambda: store.is_followed)
        try:
            await scenario(store, records)
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    asyncio.run(main())


def test_a_record_is_read_once_and_then_in_memory() -> None:
    async def scenario(store: SlowStore, records: CachedRecords[str]) -> None:
        await store.put("session", record("a"))
        assert records.peek("a") is None
        assert await records.get("a") == "value"
        assert records.peek("a") == "value"
        assert await records.get("a") == "value"
        assert store.reads == 1

    run(scenario)


def test_a_deletion_by_anyone_is_obeyed() -> None:
    async def scenario(store: SlowStore, records: CachedRecords[str]) -> None:
        await store.put("session", record("a"))
        await store.put("session", record("b"))
        await records.get("a")
        await records.get("b")
        await store.delete("session", "a")
        assert records.peek("a") is None
        assert await records.get("a") is None
        assert records.peek("b") == "value"

    run(scenario)


def test_a_deletion_of_another_kind_is_not_ours() -> None:
    async def scenario(store: SlowStore, records: CachedRecords[str]) -> None:
        await store.put("session", record("a"))
        await store.put("token", record("a"))
        await records.get("a")
        await store.delete("token", "a")
        assert records.peek("a") == "value"

    run(scenario)


def test_a_loss_of_the_channel_makes_everything_suspect() -> None:
    async def scenario(store: SlowStore, records: CachedRecords[str]) -> None:
        await store.put("session", record("a"))
        await records.get("a")
        store.lose()
        assert records.peek("a") is None
        store.away = True
        with pytest.raises(StoreUnavailable):
            await records.get("a")
        store.away = False
        assert await records.get("a") == "value"
        assert records.peek("a") == "value"

    run(scenario)


def test_a_record_deleted_while_it_is_read_is_neither_returned_nor_kept() -> None:
    async def scenario(store: SlowStore, records: CachedRecords[str]) -> None:
        async def delete() -> None:
            store.on_read = None
            await store.delete("session", "a")

        await store.put("session", record("a"))
        store.on_read = delete
        assert await records.get("a") is None
        assert records.peek("a") is None
        assert store.reads == 2

    run(scenario)


def test_a_record_dropped_by_this_worker_while_it_is_read_is_read_again() -> None:
    async def scenario(store: SlowStore, records: CachedRecords[str]) -> None:
        async def drop() -> None:
            store.on_read = None
            records.drop("a")

        await store.put("session", record("a"))
        store.on_read = drop
        assert await records.get("a") == "value"
        assert store.reads == 2
        records.drop("a")
        assert records.peek("a") is None

    run(scenario)


def test_a_loss_during_a_read_has_it_made_again() -> None:
    async def scenario(store: SlowStore, records: CachedRecords[str]) -> None:
        async def lose() -> None:
            store.on_read = None
            await store.put("session", record("a", b"new"))
            store.lose()

        await store.put("session", record("a", b"old"))
        store.on_read = lose
        assert await records.get("a") == "new"
        assert records.peek("a") == "new"

    run(scenario)


def test_a_deletion_of_another_record_does_not_spoil_a_read() -> None:
    async def scenario(store: SlowStore, records: CachedRecords[str]) -> None:
        async def delete_other() -> None:
            await store.delete("session", "b")

        await store.put("session", record("a"))
        await store.put("session", record("b"))
        store.on_read = delete_other
        assert await records.get("a") == "value"
        assert store.reads == 1

    run(scenario)


def test_a_store_that_never_holds_still_is_not_believed() -> None:
    async def scenario(store: SlowStore, records: CachedRecords[str]) -> None:
        async def lose() -> None:
            store.lose()

        await store.put("session", record("a"))
        store.on_read = lose
        with pytest.raises(StoreUnavailable):
            await records.get("a")
        assert store.reads < 10
        assert records.peek("a") is None

    run(scenario)


def test_concurrent_reads_of_one_key_ask_the_store_once() -> None:
    async def scenario(store: SlowStore, records: CachedRecords[str]) -> None:
        gate = asyncio.Event()

        async def wait() -> None:
            await gate.wait()

        await store.put("session", record("a"))
        store.on_read = wait
        reads = [asyncio.create_task(records.get("a")) for _ in range(5)]
        await until(lambda: store.reads > 0)
        reads[0].cancel()
        gate.set()
        found = await asyncio.gather(*reads, return_exceptions=True)
        assert isinstance(found[0], asyncio.CancelledError)
        assert found[1:] == ["value"] * 4
        assert store.reads == 1

    run(scenario)


def test_a_read_nobody_waits_for_any_more_fails_quietly(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(store: SlowStore, records: CachedRecords[str]) -> None:
        gate = asyncio.Event()

        async def fail() -> None:
            await gate.wait()
            raise StoreUnavailable("away")

        store.on_read = fail
        read = asyncio.create_task(records.get("a"))
        await until(lambda: store.reads > 0)
        read.cancel()
        with suppress(asyncio.CancelledError):
            await read
        gate.set()
        await until(lambda: not records._reads)

    run(scenario)
    gc.collect()
    assert caplog.records == []


def test_a_failed_read_does_not_stick() -> None:
    async def scenario(store: SlowStore, records: CachedRecords[str]) -> None:
        await store.put("session", record("a"))
        store.away = True
        with pytest.raises(StoreUnavailable):
            await records.get("a")
        store.away = False
        assert await records.get("a") == "value"

    run(scenario)


def test_invented_keys_push_nobody_out_and_leave_nothing_behind() -> None:
    async def scenario(store: SlowStore, records: CachedRecords[str]) -> None:
        await store.put("session", record("a"))
        await store.put("session", record("b"))
        await records.get("a")
        await records.get("b")
        for number in range(100):
            assert await records.get(f"invented{number}") is None
        assert (records.peek("a"), records.peek("b")) == ("value", "value")
        assert (len(records._values), len(records._reads), len(records._spoiled)) == (2, 0, 0)

    run(scenario, capacity=2)


def test_the_least_recently_used_goes_first() -> None:
    async def scenario(store: SlowStore, records: CachedRecords[str]) -> None:
        for key in ("a", "b", "c"):
            await store.put("session", record(key))
        await records.get("a")
        await records.get("b")
        records.peek("a")
        await records.get("c")
        assert records.peek("a") == "value"
        assert records.peek("b") is None
        assert records.peek("c") == "value"

    run(scenario, capacity=2)


def test_an_unreadable_record_counts_as_absent() -> None:
    async def scenario(store: SlowStore, records: CachedRecords[str]) -> None:
        await store.put("session", record("a", b"unreadable"))
        assert await records.get("a") is None
        assert records.peek("a") is None

    run(scenario)


def test_read_again_sees_what_another_worker_stored() -> None:
    async def scenario(store: SlowStore, records: CachedRecords[str]) -> None:
        await store.put("session", record("a", b"old"))
        await records.get("a")
        await store.touch("session", record("a", b"new"))
        assert await records.get("a") == "old"
        assert await records.read_again("a") == "new"
        assert records.peek("a") == "new"

    run(scenario)


def test_read_again_forgets_what_is_gone() -> None:
    async def scenario(store: SlowStore, records: CachedRecords[str]) -> None:
        await store.put("session", record("a", b"old"))
        await records.get("a")
        await store.purge(3_000_000_000.0, 1)
        assert await records.read_again("a") is None
        assert records.peek("a") is None

    run(scenario)


def test_replace_takes_over_a_newer_value_only_where_one_is_kept() -> None:
    async def scenario(store: SlowStore, records: CachedRecords[str]) -> None:
        await store.put("session", record("a"))
        await records.get("a")
        records.replace("a", "touched")
        assert records.peek("a") == "touched"
        await store.delete("session", "a")
        records.replace("a", "touched")
        assert records.peek("a") is None

    run(scenario)


def test_nothing_is_kept_while_nobody_follows_the_store() -> None:
    async def main() -> None:
        store = SlowStore()
        records = CachedRecords(store, "session", text, 10)
        await store.put("session", record("a"))
        assert await records.get("a") == "value"
        assert records.peek("a") is None

        task = asyncio.create_task(records.run())
        await until(lambda: store.is_followed)
        await records.get("a")
        assert records.peek("a") == "value"
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        assert records.peek("a") is None
        assert await records.get("a") == "value"
        assert records.peek("a") is None

    asyncio.run(main())


def test_what_is_not_in_memory_is_counted() -> None:
    async def scenario(store: SlowStore, records: CachedRecords[str]) -> None:
        assert (len(records), records.misses) == (0, 0)
        await store.put("session", record("a"))
        for _ in range(3):
            await records.get("a")
        await records.get("absent")
        assert (len(records), records.misses) == (1, 2)

    run(scenario)
