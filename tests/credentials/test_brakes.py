import asyncio
from collections.abc import Awaitable, Callable

import pytest

from authgate.credentials.brakes import BY_CLIENT, BY_CLIENT_AND_NAME, MINUTES, Brakes
from authgate.errors import Busy, StoreUnavailable, TooManyAttempts
from authgate.networks import Address
from authgate.stores import Count
from authgate.stores.memory import MemoryStore
from tests.clock import MovableClock
from tests.credentials.people import HOME, address

AWAY = address("198.51.100.1")


class OwnStore(MemoryStore):
    """A memory store that notes the keys of counters, and that can be away for writing or altogether."""

    def __init__(self, clock: MovableClock) -> None:
        super().__init__(clock)
        self.keys: set[str] = set()
        self.away = False
        self.read_only = False

    async def add(self, key: str, seconds: float) -> Count:
        self.keys.add(key)
        if self.away or self.read_only:
            raise StoreUnavailable("away")
        return await super().add(key, seconds)

    async def counted(self, key: str) -> Count:
        if self.away:
            raise StoreUnavailable("away")
        return await super().counted(key)

    async def clear(self, key: str) -> None:
        if self.away or self.read_only:
            raise StoreUnavailable("away")
        await super().clear(key)


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock()


@pytest.fixture
def store(clock: MovableClock) -> OwnStore:
    return OwnStore(clock)


@pytest.fixture
def brakes(store: OwnStore, clock: MovableClock) -> Brakes:
    return Brakes(store, clock)


async def right() -> str | None:
    return "somebody"


async def wrong() -> str | None:
    return None


def tried(
    brakes: Brakes,
    client: Address | None,
    name: str,
    prove: Callable[[], Awaitable[str | None]] = wrong,
    times: int = 1,
) -> str | None:
    """Try that many times and return what came out last; TooManyAttempts as a value."""
    said: str | None = None
    for _ in range(times):
        try:
            said = asyncio.run(brakes.attempt(client, name, prove))
        except TooManyAttempts as error:
            said = f"wait {error.seconds:.0f}"
    return said


def test_the_eleventh_attempt_at_a_name_has_to_wait_whether_right_or_wrong(brakes: Brakes) -> None:
    assert tried(brakes, HOME, "alice", times=BY_CLIENT_AND_NAME) is None
    assert tried(brakes, HOME, "alice", right) == "wait 600"
    assert brakes.engaged == 1


def test_right_passwords_are_not_counted(brakes: Brakes) -> None:
    assert tried(brakes, HOME, "alice", right, times=BY_CLIENT + 1) == "somebody"


def test_nobody_is_locked_out_by_somebody_elses_address(brakes: Brakes) -> None:
    tried(brakes, AWAY, "alice", times=BY_CLIENT * 2)

    assert tried(brakes, AWAY, "alice", right) == "wait 600"
    assert tried(brakes, HOME, "alice", right) == "somebody"


def test_others_at_the_same_address_go_on_until_a_hundred_were_wrong(brakes: Brakes) -> None:
    tried(brakes, HOME, "alice", times=BY_CLIENT_AND_NAME)
    assert tried(brakes, HOME, "bob", right) == "somebody"

    for number in range(BY_CLIENT - BY_CLIENT_AND_NAME):
        assert tried(brakes, HOME, f"name{number}") is None
    assert tried(brakes, HOME, "bob", right) == "wait 600"


def test_attempts_that_had_to_wait_do_not_count(brakes: Brakes, clock: MovableClock) -> None:
    tried(brakes, HOME, "alice", times=BY_CLIENT_AND_NAME + 500)

    clock.advance(MINUTES * 60)

    assert tried(brakes, HOME, "alice", right) == "somebody"
    assert tried(brakes, HOME, "bob", right) == "somebody"


def test_time_is_up_ten_minutes_after_the_first_wrong_password(brakes: Brakes, clock: MovableClock) -> None:
    for _ in range(BY_CLIENT_AND_NAME):
        tried(brakes, HOME, "alice")
        clock.advance(30)

    assert tried(brakes, HOME, "alice", right) == "wait 300"
    clock.advance(299)
    assert tried(brakes, HOME, "alice", right) == "wait 1"
    clock.advance(1)
    assert tried(brakes, HOME, "alice", right) == "somebody"


def test_success_clears_the_name_and_not_the_client(brakes: Brakes) -> None:
    """Or whoever has an account could guess at others for ever."""
    for number in range(BY_CLIENT // 2):
        assert tried(brakes, HOME, "alice", times=2) is None
        last = tried(brakes, HOME, "alice", right)
        assert last == ("somebody" if number < BY_CLIENT // 2 - 1 else "wait 600")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("192.0.2.1", "192.0.2.2", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
    ],
)
def test_an_ipv6_client_is_its_64(brakes: Brakes, one: str, other: str, same: bool) -> None:
    tried(brakes, address(one), "alice", times=BY_CLIENT_AND_NAME)

    assert (tried(brakes, address(other), "alice", right) == "somebody") is not same


def test_clients_without_a_readable_address_are_one(brakes: Brakes) -> None:
    tried(brakes, None, "alice", times=BY_CLIENT_AND_NAME)

    assert tried(brakes, None, "alice", right) == "wait 600"
    assert tried(brakes, HOME, "alice", right) == "somebody"


@pytest.mark.parametrize("spelling", ["ALICE", " alice", "Alice  ", "aLiCe"])
def test_spellings_of_one_name_are_one(brakes: Brakes, spelling: str) -> None:
    tried(brakes, HOME, "alice", times=BY_CLIENT_AND_NAME)

    assert tried(brakes, HOME, spelling, right) == "wait 600"


@pytest.mark.parametrize("name", ["", "a" * 100_000, "\ud800", "a\0b", "a/b"])
def test_any_text_is_a_name(brakes: Brakes, name: str) -> None:
    assert tried(brakes, HOME, name, times=BY_CLIENT_AND_NAME) is None
    assert tried(brakes, HOME, name) == "wait 600"


def test_store_learns_neither_names_nor_addresses(brakes: Brakes, store: OwnStore) -> None:
    tried(brakes, HOME, "alice")

    assert len(store.keys) == 2
    assert all("alice" not in key and "192.0.2" not in key for key in store.keys)


def test_brakes_of_two_workers_count_together(store: OwnStore, clock: MovableClock) -> None:
    one, two = Brakes(store, clock), Brakes(store, clock)
    for _ in range(BY_CLIENT_AND_NAME // 2):
        tried(one, HOME, "alice")
        tried(two, HOME, "alice")

    assert tried(one, HOME, "alice", right) == tried(two, HOME, "alice", right) == "wait 600"


def test_brake_that_holds_costs_the_store_nothing(brakes: Brakes, store: OwnStore) -> None:
    tried(brakes, HOME, "alice", times=BY_CLIENT_AND_NAME + 1)
    operations = store.operations

    assert tried(brakes, HOME, "alice", times=1000) == "wait 600"
    assert store.operations == operations
    for number in range(BY_CLIENT + 1):
        tried(brakes, HOME, f"name{number}")
    operations = store.operations
    assert tried(brakes, HOME, "anybody", times=1000) == "wait 600"
    assert store.operations == operations


def test_what_holds_is_known_without_asking_until_it_lets_go(brakes: Brakes, clock: MovableClock) -> None:
    assert brakes.remaining(HOME, "alice") == 0
    tried(brakes, HOME, "alice", times=BY_CLIENT_AND_NAME + 1)

    assert brakes.remaining(HOME, "alice") == 600
    assert brakes.remaining(HOME, "bob") == brakes.remaining(AWAY, "alice") == 0
    clock.advance(600)
    assert brakes.remaining(HOME, "alice") == 0


def test_memory_is_bounded_and_what_was_forgotten_still_holds(store: OwnStore, clock: MovableClock) -> None:
    brakes = Brakes(store, clock, capacity=3)
    for number in range(6):
        tried(brakes, address(f"192.0.2.{number}"), "alice", times=BY_CLIENT_AND_NAME + 1)

    assert brakes.remaining(address("192.0.2.0"), "alice") == 0
    assert tried(brakes, address("192.0.2.0"), "alice", right) == "wait 600"


def test_attempts_at_the_same_time_are_no_more_than_may_be_wrong(brakes: Brakes) -> None:
    async def scenario() -> None:
        gate, proved = asyncio.Event(), 0

        async def slowly_wrong() -> None:
            nonlocal proved
            proved += 1
            await gate.wait()

        attempts = [asyncio.create_task(brakes.attempt(HOME, "alice", slowly_wrong)) for _ in range(50)]
        refused, _ = await asyncio.wait(attempts, return_when=asyncio.FIRST_EXCEPTION)
        while len(refused) < 40:
            await asyncio.sleep(0)
            refused = {attempt for attempt in attempts if attempt.done()}
        assert all(isinstance(attempt.exception(), Busy) for attempt in refused)
        assert proved == BY_CLIENT_AND_NAME
        gate.set()
        await asyncio.wait(attempts)
        assert proved == BY_CLIENT_AND_NAME
        with pytest.raises(TooManyAttempts):
            await brakes.attempt(HOME, "alice", right)

    asyncio.run(scenario())


def test_place_is_given_back_however_the_attempt_ends(brakes: Brakes) -> None:
    async def raises() -> None:
        raise Busy

    for _ in range(BY_CLIENT + 1):
        with pytest.raises(Busy):
            asyncio.run(brakes.attempt(HOME, "alice", raises))
    assert tried(brakes, HOME, "alice", right) == "somebody"


def test_without_the_store_no_password_is_verified(brakes: Brakes, store: OwnStore) -> None:
    store.away = True
    asked = 0

    async def prove() -> None:
        nonlocal asked
        asked += 1

    with pytest.raises(StoreUnavailable):
        asyncio.run(brakes.attempt(HOME, "alice", prove))
    assert asked == 0


def test_wrong_password_that_cannot_be_counted_is_no_answer_and_a_right_one_is(brakes: Brakes, store: OwnStore) -> None:
    store.read_only = True

    with pytest.raises(StoreUnavailable):
        tried(brakes, HOME, "alice")
    assert tried(brakes, HOME, "alice", right) == "somebody"


def test_clock_set_back_locks_nobody_out_for_longer(brakes: Brakes, store: OwnStore, clock: MovableClock) -> None:
    tried(brakes, HOME, "alice", times=BY_CLIENT_AND_NAME + 1)
    clock.advance(-86400)

    assert brakes.remaining(HOME, "alice") == 0
    assert tried(brakes, HOME, "alice", times=BY_CLIENT_AND_NAME) is None
    assert tried(brakes, HOME, "alice", right) == "wait 600"
