"""What every store promises, asked of each of them."""

import asyncio

import pytest

from authgate.stores import NOTHING_COUNTED, Count, Record, Store
from tests.clock import MovableClock
from tests.stores.conftest import Run
from tests.stores.following import Follower, until

ODD_KEYS = [
    "",
    " ",
    "it's",
    'say "x"',
    "'; DROP TABLE records; --",
    "a\0b",
    "a\0c",
    "%",
    "_",
    "\u00fc",
    "u\u0308",
    "\U0001f511",
    "a\nb",
    "A",
    "a",
    "k" * 10_000,
]


def record(key: str, owner: str = "alice", expires: float = 2_000_000_000.0, value: bytes = b"v") -> Record:
    return Record(key, value, owner, expires)


def test_a_record_is_returned_as_it_was_put(run: Run) -> None:
    async def scenario(store: Store) -> None:
        await store.put("session", record("a", "alice", 1_234.5, b"first"))
        assert await store.get("session", "a") == Record("a", b"first", "alice", 1_234.5)

    run(scenario)


def test_a_key_that_was_never_put_is_absent(run: Run) -> None:
    async def scenario(store: Store) -> None:
        assert await store.get("session", "a") is None

    run(scenario)


def test_put_replaces_the_record_with_the_same_key(run: Run) -> None:
    async def scenario(store: Store) -> None:
        await store.put("session", record("a", "alice", 1.0, b"first"))
        await store.put("session", record("a", "bob", 2.0, b"second"))
        assert await store.get("session", "a") == Record("a", b"second", "bob", 2.0)
        assert await store.scan("session", "alice") == []

    run(scenario)


def test_kinds_are_apart(run: Run) -> None:
    async def scenario(store: Store) -> None:
        await store.put("session", record("a", value=b"session"))
        await store.put("token", record("a", value=b"token"))
        assert await store.delete("session", "a")
        assert await store.get("session", "a") is None
        assert await store.get("token", "a") == record("a", value=b"token")
        assert await store.delete_owned("session", None) == 0
        assert await store.scan("token") == [record("a", value=b"token")]

    run(scenario)


@pytest.mark.parametrize("value", [b"", b"\0", b"a\0b\0", bytes(range(256)), b"\xff" * 3, bytes(1 << 20)], ids=len)
def test_bytes_come_back_exactly(run: Run, value: bytes) -> None:
    async def scenario(store: Store) -> None:
        await store.put("session", record("a", value=value))
        found = await store.get("session", "a")
        assert found is not None
        assert found.value == value

    run(scenario)


def test_odd_keys_and_owners_are_told_apart(run: Run) -> None:
    async def scenario(store: Store) -> None:
        for key in ODD_KEYS:
            await store.put("session", record(key, key, value=key.encode()))
        for key in ODD_KEYS:
            assert await store.get("session", key) == record(key, key, value=key.encode())
            assert await store.scan("session", key) == [record(key, key, value=key.encode())]
        assert await store.delete_owned("session", "%") == 1
        assert await store.delete("session", "a\0b")
        assert await store.get("session", "a\0c") is not None
        assert len(await store.scan("session")) == len(ODD_KEYS) - 2

    run(scenario)


def test_an_expired_record_is_still_returned(run: Run, clock: MovableClock) -> None:
    async def scenario(store: Store) -> None:
        await store.put("session", record("a", expires=clock.now + 10))
        clock.advance(100)
        assert await store.get("session", "a") == record("a", expires=clock.now - 90)

    run(scenario)


def test_touch_replaces_a_record_that_exists(run: Run) -> None:
    async def scenario(store: Store) -> None:
        await store.put("session", record("a", "alice", 1.0, b"first"))
        assert await store.touch("session", Record("a", b"second", "bob", 2.0))
        assert await store.get("session", "a") == Record("a", b"second", "bob", 2.0)

    run(scenario)


def test_touch_never_brings_a_deleted_record_back(run: Run) -> None:
    async def scenario(one: Store, other: Store) -> None:
        await one.put("session", record("a"))
        assert await other.delete("session", "a")
        assert not await one.touch("session", record("a"))
        assert await one.get("session", "a") is None
        assert await one.scan("session") == []

    run(scenario, workers=2)


def test_delete_says_whether_there_was_a_record(run: Run) -> None:
    async def scenario(store: Store) -> None:
        await store.put("session", record("a"))
        assert await store.delete("session", "a")
        assert not await store.delete("session", "a")
        assert await store.get("session", "a") is None

    run(scenario)


def test_delete_owned_removes_one_owners_records(run: Run) -> None:
    async def scenario(store: Store) -> None:
        for key, owner in (("a", "alice"), ("b", "bob"), ("c", "alice"), ("d", "")):
            await store.put("session", record(key, owner))
        assert await store.delete_owned("session", "alice") == 2
        assert await store.delete_owned("session", "alice") == 0
        assert {found.key for found in await store.scan("session")} == {"b", "d"}
        # Nobody in particular is an owner of his own, not everybody.
        assert await store.delete_owned("session", "") == 1
        assert {found.key for found in await store.scan("session")} == {"b"}

    run(scenario)


def test_delete_owned_by_everybody_removes_all(run: Run) -> None:
    async def scenario(store: Store) -> None:
        for key, owner in (("a", "alice"), ("b", "bob"), ("c", "")):
            await store.put("session", record(key, owner))
        assert await store.delete_owned("session", None) == 3
        assert await store.scan("session") == []

    run(scenario)


def test_scan_lists_the_soonest_to_expire_first(run: Run) -> None:
    async def scenario(store: Store) -> None:
        late, soon, other = record("a", expires=30), record("b", expires=10), record("c", "bob", 20)
        for one in (late, soon, other):
            await store.put("session", one)
        assert await store.scan("session") == [soon, other, late]
        assert await store.scan("session", "alice") == [soon, late]
        assert await store.scan("session", "carol") == []

    run(scenario)


def test_purge_removes_expired_records_in_bounded_steps_oldest_first(run: Run) -> None:
    async def scenario(store: Store) -> None:
        for expires in (50, 10, 40, 20, 30):
            await store.put("session", record(f"k{expires}", expires=expires))
        assert await store.purge(40, 2) == 2
        assert [found.expires for found in await store.scan("session")] == [30, 40, 50]
        assert await store.purge(40, 2) == 1
        assert await store.purge(40, 2) == 0
        # Expiring at this very moment is not expired before it.
        assert [found.expires for found in await store.scan("session")] == [40, 50]

    run(scenario)


def test_purge_covers_all_kinds_and_announces_nothing(run: Run) -> None:
    async def scenario(store: Store) -> None:
        async with Follower(store) as follower:
            await store.put("session", record("a", expires=1))
            await store.put("token", record("a", expires=2))
            await store.put("session", record("last"))
            assert await store.purge(10, 10) == 2
            await store.delete("session", "last")
            await until(lambda: bool(follower.deleted))
            assert follower.deleted == [("session", "last")]

    run(scenario)


def test_a_purged_record_cannot_be_touched(run: Run) -> None:
    async def scenario(store: Store) -> None:
        await store.put("session", record("a", expires=1))
        assert await store.purge(10, 10) == 1
        assert not await store.touch("session", record("a"))

    run(scenario)


def test_a_deletion_is_seen_by_every_follower(run: Run) -> None:
    async def scenario(one: Store, other: Store) -> None:
        await one.put("session", record("a"))
        async with Follower(one) as own, Follower(other) as others:
            await one.delete("session", "a")
            await until(lambda: bool(own.deleted and others.deleted))
            assert own.deleted == others.deleted == [("session", "a")]
            assert (own.lost, others.lost) == (0, 0)

    run(scenario, workers=2)


def test_the_deletions_of_an_owners_records_are_each_seen(run: Run) -> None:
    async def scenario(one: Store, other: Store) -> None:
        for key, owner in (("a", "alice"), ("b", "bob"), ("c", "alice")):
            await one.put("session", record(key, owner))
        async with Follower(other) as follower:
            await one.delete_owned("session", "alice")
            await until(lambda: len(follower.deleted) == 2)
            assert set(follower.deleted) == {("session", "a"), ("session", "c")}
            await one.delete_owned("session", None)
            await until(lambda: len(follower.deleted) == 3)
            assert follower.deleted[2] == ("session", "b")

    run(scenario, workers=2)


def test_what_takes_nothing_away_is_not_announced(run: Run) -> None:
    async def scenario(one: Store, other: Store) -> None:
        async with Follower(other) as follower:
            await one.put("session", record("a"))
            await one.put("session", record("a", value=b"again"))
            await one.touch("session", record("a"))
            await one.delete("session", "absent")
            await one.delete("session", "a")
            await until(lambda: bool(follower.deleted))
            assert follower.deleted == [("session", "a")]

    run(scenario, workers=2)


def test_what_is_announced_is_seen_by_every_follower_when_it_can_be_read(run: Run) -> None:
    async def scenario(one: Store, other: Store) -> None:
        async with Follower(one) as own, Follower(other) as others:
            for value in (b"first", b"second"):
                own.deleted.clear()
                others.deleted.clear()
                await one.announce("revocation", record("a", value=value))
                await until(lambda: bool(own.deleted and others.deleted))
                assert own.deleted == others.deleted == [("revocation", "a")]
                assert await other.get("revocation", "a") == record("a", value=value)
            assert (own.lost, others.lost) == (0, 0)

    run(scenario, workers=2)


def test_several_may_follow_one_store(run: Run) -> None:
    async def scenario(store: Store) -> None:
        async with Follower(store) as first:
            # Who joins later may have missed something before, and is told so; the others are not.
            async with Follower(store) as second:
                assert first.lost == 0
                await store.announce("revocation", record("a"))
                await until(lambda: bool(first.deleted and second.deleted))
                assert first.deleted == second.deleted
            await store.delete("revocation", "a")
            await until(lambda: len(first.deleted) == 2)
            assert (len(second.deleted), store.up) == (1, True)
        assert not store.up
        async with Follower(store) as third:
            await store.announce("revocation", record("b"))
            await until(lambda: third.deleted == [("revocation", "b")])

    run(scenario)


def test_a_follower_hears_nothing_of_what_was_before(run: Run) -> None:
    async def scenario(store: Store) -> None:
        await store.put("session", record("old"))
        await store.delete("session", "old")
        async with Follower(store) as follower:
            await store.put("session", record("new"))
            await store.delete("session", "new")
            await until(lambda: bool(follower.deleted))
            assert follower.deleted == [("session", "new")]

    run(scenario)


def test_many_deletions_arrive_complete_and_once(run: Run) -> None:
    async def scenario(one: Store, other: Store) -> None:
        keys = [f"k{number}" for number in range(2500)]
        await asyncio.gather(*(one.put("session", record(key)) for key in keys))
        async with Follower(other) as follower:
            assert await one.delete_owned("session", "alice") == len(keys)
            await until(lambda: len(follower.deleted) >= len(keys))
            assert sorted(follower.deleted) == sorted(("session", key) for key in keys)
            assert follower.lost == 0

    run(scenario, workers=2)


def test_a_follower_that_ends_leaves_the_others_alone(run: Run) -> None:
    async def scenario(store: Store) -> None:
        async with Follower(store) as staying:
            async with Follower(store) as leaving:
                pass
            await store.put("session", record("a"))
            await store.delete("session", "a")
            await until(lambda: bool(staying.deleted))
            assert leaving.deleted == []

    run(scenario)


def test_what_one_worker_puts_another_reads(run: Run) -> None:
    async def scenario(one: Store, other: Store) -> None:
        for number in range(20):
            await one.put("session", record("a", value=str(number).encode()))
            assert await other.get("session", "a") == record("a", value=str(number).encode())

    run(scenario, workers=2)


def test_counter_counts_until_its_end(run: Run, clock: MovableClock) -> None:
    async def scenario(store: Store) -> None:
        ends = clock.now + 600
        assert await store.counted("a") == NOTHING_COUNTED
        assert await store.add("a", 600) == Count(1, ends)
        clock.advance(599)
        # The first one counted says when it ends, not the last.
        assert await store.add("a", 600) == Count(2, ends)
        assert await store.counted("a") == Count(2, ends)
        clock.advance(1)
        assert await store.counted("a") == NOTHING_COUNTED
        assert await store.add("a", 600) == Count(1, ends + 600)

    run(scenario)


def test_counter_that_is_cleared_begins_anew(run: Run, clock: MovableClock) -> None:
    async def scenario(store: Store) -> None:
        await store.add("a", 600)
        await store.add("b", 600)
        await store.clear("a")
        await store.clear("absent")
        assert await store.counted("a") == NOTHING_COUNTED
        clock.advance(1)
        assert await store.add("a", 600) == Count(1, clock.now + 600)
        assert (await store.counted("b")).number == 1

    run(scenario)


def test_counter_that_would_end_too_late_begins_anew(run: Run, clock: MovableClock) -> None:
    """The clock was set back."""

    async def scenario(store: Store) -> None:
        await store.add("a", 600)
        clock.advance(-86400)
        assert await store.add("a", 600) == Count(1, clock.now + 600)

    run(scenario)


def test_odd_keys_of_counters_are_told_apart(run: Run) -> None:
    async def scenario(store: Store) -> None:
        for number, key in enumerate(ODD_KEYS, start=1):
            for _ in range(number):
                await store.add(key, 600)
        for number, key in enumerate(ODD_KEYS, start=1):
            assert (await store.counted(key)).number == number

    run(scenario)


def test_workers_that_count_at_once_lose_nothing(run: Run) -> None:
    async def scenario(*stores: Store) -> None:
        counts = await asyncio.gather(*(store.add("a", 600) for store in stores * 25))
        assert sorted(count.number for count in counts) == list(range(1, 101))
        assert len({count.ends for count in counts}) == 1

    run(scenario, workers=4)


def test_purge_removes_counters_that_ended_in_bounded_steps(run: Run, clock: MovableClock) -> None:
    async def scenario(store: Store) -> None:
        for seconds in (10, 20, 30, 40):
            await store.add(f"k{seconds}", seconds)
        now = clock.now
        clock.advance(-1000)
        for removed in ({"k10", "k20"}, {"k10", "k20", "k30"}):
            assert await store.purge(now + 35, 2) == 0
            left = {key for key in ("k10", "k20", "k30", "k40") if await store.counted(key) != NOTHING_COUNTED}
            assert left == {"k10", "k20", "k30", "k40"} - removed

    run(scenario)


def test_counting_is_not_announced(run: Run) -> None:
    async def scenario(one: Store, other: Store) -> None:
        async with Follower(other) as follower:
            await one.add("a", 600)
            await one.clear("a")
            await one.put("session", record("a"))
            await one.delete("session", "a")
            await until(lambda: bool(follower.deleted))
            assert follower.deleted == [("session", "a")]

    run(scenario, workers=2)


DAY = 86400.0


def test_uses_are_taken_until_none_is_left(run: Run, clock: MovableClock) -> None:
    async def scenario(store: Store) -> None:
        ends = clock.now + 10 * DAY
        assert await store.counted("a") == NOTHING_COUNTED
        for number in (1, 2, 3):
            assert await store.take("a", f"u{number}", 3, ends, DAY) == clock.now + DAY
            assert await store.counted("a") == Count(number, ends)
        assert await store.take("a", "u4", 3, ends, DAY) is None
        assert await store.counted("a") == Count(3, ends)
        assert await store.take("b", "u4", 1, ends, DAY) is not None

    run(scenario)


def test_unit_that_stands_costs_nothing_more(run: Run, clock: MovableClock) -> None:
    async def scenario(store: Store) -> None:
        ends, stands = clock.now + 10 * DAY, clock.now + DAY
        assert await store.take("a", "u", 2, ends, DAY) == stands
        clock.advance(DAY - 1)
        # The first request says until when it stands, not the last.
        assert await store.take("a", "u", 2, ends, DAY) == stands
        assert (await store.counted("a")).number == 1
        clock.advance(1)
        assert await store.take("a", "u", 2, ends, DAY) == stands + DAY
        assert (await store.counted("a")).number == 2
        # Used up, but not for who has it.
        assert await store.take("a", "v", 2, ends, DAY) is None
        assert await store.take("a", "u", 2, ends, DAY) == stands + DAY
        clock.advance(DAY)
        assert await store.take("a", "u", 2, ends, DAY) is None

    run(scenario)


def test_unit_of_another_key_does_not_stand(run: Run, clock: MovableClock) -> None:
    async def scenario(store: Store) -> None:
        await store.take("a", "u", 1, clock.now + DAY, DAY)
        assert (await store.counted("b")).number == 0
        await store.take("b", "u", 1, clock.now + DAY, DAY)
        assert (await store.counted("b")).number == 1

    run(scenario)


def test_unit_stands_no_longer_than_its_counter(run: Run, clock: MovableClock) -> None:
    async def scenario(store: Store) -> None:
        assert await store.take("a", "u", 1, clock.now + 60, DAY) == clock.now + 60
        clock.advance(60)
        assert await store.counted("a") == NOTHING_COUNTED
        assert not await store.is_left("a", "u", 0, DAY)

    run(scenario)


def test_counter_of_uses_ends_with_the_last_that_is_asked_for(run: Run, clock: MovableClock) -> None:
    async def scenario(store: Store) -> None:
        now = clock.now
        for seconds, counted in ((60, Count(1, now + 60)), (90, Count(2, now + 90)), (30, Count(3, now + 90))):
            await store.take("a", str(seconds), 5, now + seconds, DAY)
            assert await store.counted("a") == counted
        clock.advance(90)
        await store.take("a", "u", 5, now + 100, DAY)
        assert await store.counted("a") == Count(1, now + 100)

    run(scenario)


def test_unit_that_would_stand_too_long_does_not_stand(run: Run, clock: MovableClock) -> None:
    """The clock was set back."""

    async def scenario(store: Store) -> None:
        ends = clock.now + DAY
        await store.take("a", "u", 2, ends, 600)
        clock.advance(-7200)
        assert await store.take("a", "u", 2, ends, 600) == clock.now + 600
        assert (await store.counted("a")).number == 2

    run(scenario)


def test_looking_whether_a_use_is_left_takes_none(run: Run, clock: MovableClock) -> None:
    async def scenario(store: Store) -> None:
        ends = clock.now + 10 * DAY
        for _ in range(3):
            assert await store.is_left("a", "u", 1, DAY)
        assert await store.counted("a") == NOTHING_COUNTED
        await store.take("a", "u", 1, ends, DAY)
        assert await store.is_left("a", "u", 1, DAY)
        assert not await store.is_left("a", "v", 1, DAY)
        assert await store.is_left("a", "v", 2, DAY)
        clock.advance(DAY)
        assert not await store.is_left("a", "u", 1, DAY)

    run(scenario)


def test_odd_units_are_told_apart(run: Run, clock: MovableClock) -> None:
    async def scenario(store: Store) -> None:
        for number, key in enumerate(ODD_KEYS, start=1):
            await store.take("a", key, 1000, clock.now + DAY, DAY)
            assert (await store.counted("a")).number == number
            await store.take(key + "*", "u", 1000, clock.now + DAY, DAY)
            assert (await store.counted(key + "*")).number == 1

    run(scenario)


def test_workers_that_take_at_once_take_no_more_than_there_is(run: Run, clock: MovableClock) -> None:
    async def scenario(*stores: Store) -> None:
        async def take(number: int) -> bool:
            store = stores[number % len(stores)]
            return await store.take("a", f"u{number}", 3, clock.now + DAY, DAY) is not None

        assert sum(await asyncio.gather(*map(take, range(50)))) == 3
        assert (await stores[0].counted("a")).number == 3

    run(scenario, workers=4)


def test_workers_that_take_one_unit_at_once_take_one_use(run: Run, clock: MovableClock) -> None:
    async def scenario(*stores: Store) -> None:
        taken = await asyncio.gather(*(store.take("a", "u", 3, clock.now + DAY, DAY) for store in stores * 10))
        assert set(taken) == {clock.now + DAY}
        assert (await stores[0].counted("a")).number == 1

    run(scenario, workers=4)


def test_purge_removes_units_that_ended_in_bounded_steps(run: Run, clock: MovableClock) -> None:
    async def scenario(store: Store) -> None:
        now = clock.now
        for seconds in (10, 20, 30, 40):
            await store.take("a", f"u{seconds}", 4, now + DAY, seconds)
        for removed in (2, 3):
            assert await store.purge(now + 35, 2) == 0
            standing = [await store.is_left("a", f"u{seconds}", 4, DAY) for seconds in (10, 20, 30, 40)]
            assert standing == [False] * removed + [True] * (4 - removed)
        assert (await store.counted("a")).number == 4

    run(scenario)


def test_taking_a_use_is_not_announced(run: Run, clock: MovableClock) -> None:
    async def scenario(one: Store, other: Store) -> None:
        async with Follower(other) as follower:
            await one.take("a", "u", 1, clock.now + DAY, DAY)
            await one.put("session", record("a"))
            await one.delete("session", "a")
            await until(lambda: bool(follower.deleted))
            assert follower.deleted == [("session", "a")]

    run(scenario, workers=2)


def test_operations_are_counted(run: Run) -> None:
    async def scenario(store: Store) -> None:
        assert (store.operations, store.errors) == (0, 0)
        await store.put("session", record("a"))
        await store.get("session", "a")
        await store.touch("session", record("a"))
        await store.scan("session")
        await store.delete("session", "a")
        await store.add("a", 1)
        await store.counted("a")
        await store.clear("a")
        await store.purge(0, 1)
        await store.announce("session", record("a"))
        await store.take("a", "u", 1, 2e9, 1)
        await store.is_left("a", "u", 1, 1)
        assert (store.operations, store.errors) == (12, 0)

    run(scenario)


def test_store_is_up_while_it_is_followed(run: Run) -> None:
    async def scenario(store: Store) -> None:
        seen = [store.up]
        async with Follower(store):
            seen.append(store.up)
        seen.append(store.up)
        assert seen == [False, True, False]

    run(scenario)
