"""Tokens that are revoked, as every worker knows them."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from authgate.credentials import revocations as module
from authgate.credentials.revocations import GRACE, KIND, Revocation, Revocations, decode
from authgate.errors import StoreUnavailable
from authgate.stores import Record
from authgate.stores.memory import MemoryStore
from authgate.stores.sqlite import SqliteStore
from tests.clock import MovableClock
from tests.credentials.tokens import followed
from tests.stores.following import until


class OwnStore(MemoryStore):
    """A memory store that can be away, and whose reads are counted."""

    def __init__(self, clock: MovableClock) -> None:
        super().__init__(clock)
        self.away = False
        self.scans = 0
        self.during_scan: Callable[[], Awaitable[None]] | None = None

    async def get(self, kind: str, key: str) -> Record | None:
        self._check()
        return await super().get(kind, key)

    async def scan(self, kind: str, owner: str | None = None) -> list[Record]:
        self._check()
        self.scans += 1
        found = await super().scan(kind, owner)
        if self.during_scan is not None:
            await self.during_scan()
        return found

    def lose(self) -> None:
        for _, on_lost in self._followers:
            on_lost()

    def _check(self) -> None:
        if self.away:
            raise StoreUnavailable("away")


def run(scenario: Callable[[Revocations, OwnStore, MovableClock], Awaitable[None]], *before: Record) -> None:
    async def main() -> None:
        clock = MovableClock()
        store = OwnStore(clock)
        for record in before:
            await store.put(KIND, record)
        revocations = Revocations(store, clock)
        known = [revocations.known]
        async with followed(revocations):
            assert [*known, revocations.known] == [False, True]
            await scenario(revocations, store, clock)

    asyncio.run(main())


FAR = 2_000_000_000.0


def hits(revocations: Revocations, text: str) -> bool:
    """Ask about ``source name jti iat``; ``-`` is what a token does not say."""
    source, name, jti, issued = ("" if part == "-" else part for part in text.split())
    return revocations.hits(source, name, jti, float(issued) if issued else None)


@pytest.mark.parametrize(
    ("revocation", "hit", "missed"),
    [
        (
            Revocation("partner", jti="t1"),
            ["partner alice t1 -", "partner bob t1 5"],
            ["partner alice t2 -", "shop alice t1 -", "partner alice - -", "partner t1 - -"],
        ),
        (
            Revocation("partner", name="alice", before=100.0),
            ["partner alice - -", "partner alice t1 99", "partner alice t1 -", "partner alice t1 0"],
            ["partner alice t1 100", "partner alice - 101", "partner bob - 5", "shop alice - 5"],
        ),
        (
            Revocation("partner", before=100.0),
            ["partner alice - -", "partner bob t1 99.9"],
            ["partner alice - 100", "shop alice - 5"],
        ),
    ],
)
def test_what_is_hit(revocation: Revocation, hit: list[str], missed: list[str]) -> None:
    async def scenario(revocations: Revocations, store: OwnStore, clock: MovableClock) -> None:
        assert [hits(revocations, text) for text in hit] == [True] * len(hit)
        assert [hits(revocations, text) for text in missed] == [False] * len(missed)
        await store.delete(KIND, revocation.key)
        await until(lambda: revocations.count == 0)
        assert not any(hits(revocations, text) for text in hit)

    run(scenario, revocation.record(FAR))


def test_a_later_moment_does_not_take_the_place_of_another() -> None:
    async def scenario(revocations: Revocations, store: OwnStore, clock: MovableClock) -> None:
        for before in (100.0, 50.0):
            await store.announce(KIND, Revocation("partner", name="alice", before=before).record(FAR))
        await until(lambda: revocations.count == 2)
        assert hits(revocations, "partner alice - 99")
        await store.delete(KIND, Revocation("partner", name="alice", before=100.0).key)
        await until(lambda: revocations.count == 1)
        assert not hits(revocations, "partner alice - 99")
        assert hits(revocations, "partner alice - 49")

    run(scenario)


def test_it_ends_with_the_last_token_it_hits() -> None:
    async def scenario(revocations: Revocations, store: OwnStore, clock: MovableClock) -> None:
        await store.announce(KIND, Revocation("partner", jti="t1").record(clock.now + 60))
        await until(lambda: hits(revocations, "partner alice t1 -"))
        clock.advance(60)
        assert not hits(revocations, "partner alice t1 -")

    run(scenario)


def test_only_what_changed_is_read_and_other_kinds_are_not_ours() -> None:
    async def scenario(revocations: Revocations, store: OwnStore, clock: MovableClock) -> None:
        await store.put("session", Record("a", b"x", "alice", FAR))
        await store.delete("session", "a")
        await store.announce(KIND, Revocation("partner", jti="t1").record(FAR))
        await until(lambda: revocations.count == 1)
        assert store.scans == 1

    run(scenario)


def test_it_is_in_force_within_100_ms_in_every_worker(tmp_path: Path) -> None:
    async def main() -> None:
        stores = [SqliteStore(tmp_path / "authgate.db", time.time) for _ in range(3)]
        workers = [Revocations(store, time.time) for store in stores[1:]]
        async with followed(workers[0]), followed(workers[1]):
            took = []
            for number in range(5):
                began = time.monotonic()
                await stores[0].announce(KIND, Revocation("partner", jti=f"t{number}").record(time.time() + 60))
                for worker in workers:
                    await until(lambda: worker.hits("partner", "a", f"t{number}", None))  # noqa: B023 - at once
                took.append(time.monotonic() - began)
            assert min(took) < 0.1
        for store in stores:
            await store.aclose()

    asyncio.run(main())


def test_after_a_loss_everything_is_read_again() -> None:
    async def scenario(revocations: Revocations, store: OwnStore, clock: MovableClock) -> None:
        # As if nobody had told.
        await store.put(KIND, Revocation("partner", jti="t2").record(FAR))
        store._records.pop((KIND, Revocation("partner", jti="t1").key))
        assert not hits(revocations, "partner alice t2 -")
        store.lose()
        await until(lambda: hits(revocations, "partner alice t2 -"))
        assert not hits(revocations, "partner alice t1 -")

    run(scenario, Revocation("partner", jti="t1").record(FAR))


def test_what_changes_while_everything_is_read_is_not_missed() -> None:
    async def scenario(revocations: Revocations, store: OwnStore, clock: MovableClock) -> None:
        one, other = Revocation("partner", jti="t1"), Revocation("partner", jti="t2")

        async def change() -> None:
            store.during_scan = None
            await store.announce(KIND, other.record(FAR))
            await store.delete(KIND, one.key)

        store.during_scan = change
        store.lose()
        await until(lambda: hits(revocations, "partner alice t2 -"))
        await until(lambda: not hits(revocations, "partner alice t1 -"))

    run(scenario, Revocation("partner", jti="t1").record(FAR))


def test_a_loss_while_everything_is_read_reads_it_once_more() -> None:
    async def scenario(revocations: Revocations, store: OwnStore, clock: MovableClock) -> None:
        async def lose() -> None:
            store.during_scan = None
            await store.put(KIND, Revocation("partner", jti="t1").record(FAR))
            store.lose()

        store.during_scan = lose
        store.lose()
        await until(lambda: hits(revocations, "partner alice t1 -"))
        assert store.scans == 3

    run(scenario)


def test_while_the_store_is_away_what_was_known_counts_for_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(revocations: Revocations, store: OwnStore, clock: MovableClock) -> None:
        clock.advance(1000)
        store.away = True
        store.lose()
        await until(lambda: "cannot be read: away" in caplog.text)
        clock.advance(GRACE - 1)
        # Lost again at each try: the minute is that of the first.
        store.lose()
        known = [revocations.known]
        assert hits(revocations, "partner alice t1 -")
        clock.advance(1)
        assert [*known, revocations.known] == [True, False]
        store.away = False
        await until(lambda: revocations.known)
        assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]

    with caplog.at_level(logging.WARNING):
        run(scenario, Revocation("partner", jti="t1").record(FAR))


def test_a_change_that_cannot_be_read_reads_everything_again() -> None:
    async def scenario(revocations: Revocations, store: OwnStore, clock: MovableClock) -> None:
        store.away = True
        await store.announce(KIND, Revocation("partner", jti="t1").record(FAR))
        await until(lambda: not revocations._is_whole)
        store.away = False
        await until(lambda: hits(revocations, "partner alice t1 -"))

    run(scenario)


def test_nobody_follows_any_more_and_nothing_is_known_soon() -> None:
    async def main() -> None:
        clock = MovableClock()
        revocations = Revocations(OwnStore(clock), clock)
        async with followed(revocations):
            clock.advance(10_000)
            known = [revocations.known]
        clock.advance(GRACE)
        assert [*known, revocations.known] == [True, False]

    asyncio.run(main())


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"[]",
        b"[" * 100_000,
        b"{}",
        b'{"source":"partner","jti":5,"name":"","before":null}',
        b'{"source":"partner","jti":"","name":"","before":5}',
        b'{"source":"partner","jti":"","name":"","before":NaN}',
        b'{"source":"partner","jti":"t","name":"","before":null,"more":1}',
    ],
    ids=range(8),
)
def test_a_record_that_is_not_understood_is_not_passed_over(value: bytes) -> None:
    """What a newer authgate wrote revokes something too."""

    async def scenario(revocations: Revocations, store: OwnStore, clock: MovableClock) -> None:
        await store.announce(KIND, Record("ab" * 32, value, "partner", FAR))
        await until(lambda: not revocations._is_whole)
        clock.advance(GRACE)
        assert not revocations.known
        await store.delete(KIND, "ab" * 32)
        await until(lambda: revocations.known)

    assert decode(Record("a", value, "partner", FAR)) is None
    run(scenario)


def test_more_than_can_be_kept_are_not_half_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_REVOCATIONS", 2)
    monkeypatch.setattr(module, "_SLACK", 0)

    async def scenario(revocations: Revocations, store: OwnStore, clock: MovableClock) -> None:
        for number in range(3):
            await store.announce(KIND, Revocation("partner", jti=f"t{number}").record(clock.now + 5))
        await until(lambda: not revocations._is_whole)
        clock.advance(GRACE)
        assert not revocations.known
        await store.purge(clock.now, 10)
        await until(lambda: revocations.known)

    run(scenario)


def test_many_are_read_and_found_quickly() -> None:
    async def main() -> None:
        clock = MovableClock()
        store = OwnStore(clock)
        for number in range(20_000):
            record = Revocation("partner", jti=f"t{number}").record(FAR)
            store._records[KIND, record.key] = record
        revocations = Revocations(store, clock)
        async with followed(revocations):
            assert revocations.count == 20_000
            began = time.perf_counter()
            for _ in range(10_000):
                assert not revocations.hits("partner", "alice", "x", 5.0)
            assert time.perf_counter() - began < 0.5

    asyncio.run(main())
