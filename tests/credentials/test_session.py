import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from authgate.credentials.directory import Directory
from authgate.credentials.people import FRESH, People, Standing
from authgate.credentials.session import (
    BAD,
    EXPIRED,
    FAILED,
    KIND,
    REVOKED,
    UNKNOWN,
    SessionData,
    Sessions,
    decode,
    encode,
    key_of,
)
from authgate.credentials.users import LocalUsers
from authgate.errors import CredentialError, StoreUnavailable
from authgate.model import CredentialKind, Identity, Reason, Site, Subject, user
from authgate.stores import Record
from authgate.stores.cache import CachedRecords
from authgate.stores.memory import MemoryStore
from tests.clock import MovableClock
from tests.credentials.people import SITE, settle, sha, users, write
from tests.stores.following import until

IDLE, LIFETIME = 1800.0, 43200.0
ALICE = Subject("", "alice", frozenset({"staff"}))


class OwnStore(MemoryStore):
    """A memory store that counts, that can be away, and whose changes can be late."""

    def __init__(self, clock: MovableClock) -> None:
        super().__init__(clock)
        self.away = False
        self.late = False
        self.touches = 0
        self.reads = 0

    async def get(self, kind: str, key: str) -> Record | None:
        self.reads += 1
        self._check()
        return await super().get(kind, key)

    async def put(self, kind: str, record: Record) -> None:
        self._check()
        await super().put(kind, record)

    async def delete(self, kind: str, key: str) -> bool:
        self._check()
        return await super().delete(kind, key)

    async def touch(self, kind: str, record: Record) -> bool:
        self.touches += 1
        self._check()
        return await super().touch(kind, record)

    async def follow(self, on_deleted: Callable[[str, str], None], on_lost: Callable[[], None]) -> None:
        await super().follow(lambda kind, key: None if self.late else on_deleted(kind, key), on_lost)

    def _check(self) -> None:
        if self.away:
            raise StoreUnavailable("away")


@dataclass
class Worker:
    """The sessions of one worker, the parts they work with, and what tests ask of them."""

    clock: MovableClock
    store: OwnStore
    users: LocalUsers
    sessions: Sessions
    records: CachedRecords[SessionData]
    folder: Path

    async def log_in(self, site: Site = SITE) -> str:
        value = await self.sessions.begin(ALICE, site)
        assert (await self.sessions.verify(value, site)).failure is None
        return value

    async def stored(self, value: str) -> SessionData:
        record = await MemoryStore.get(self.store, KIND, key_of(value))
        assert record is not None
        data = decode(record)
        assert data is not None
        return data

    async def use(self, value: str) -> Identity:
        """Ask as the hot path does, and let what that set going come to an end."""
        identity = self.sessions.peek(value, SITE) or await self.sessions.verify(value, SITE)
        for _ in range(5):
            await asyncio.sleep(0)
        return identity


@asynccontextmanager
async def working(
    folder: Path, clock: MovableClock, store: OwnStore, lifetime: float = LIFETIME
) -> AsyncIterator[Worker]:
    loaded = users(folder, f"alice:{sha('a')}\nbob:{sha('b')}\n", "staff: alice\n")
    records = CachedRecords(store, KIND, decode, 100)
    follower = asyncio.create_task(records.run())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    sessions = Sessions(records, store, loaded, IDLE, lifetime, clock)
    try:
        yield Worker(clock, store, loaded, sessions, records, folder)
    finally:
        follower.cancel()
        with suppress(asyncio.CancelledError):
            await follower


Run = Callable[[Callable[..., Awaitable[None]]], None]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def run(scenario: Callable[[Worker], Awaitable[None]]) -> None:
        async def main() -> None:
            clock = MovableClock()
            async with working(tmp_path, clock, OwnStore(clock)) as worker:
                await scenario(worker)

        asyncio.run(main())

    return run


@pytest.fixture
def run_two(tmp_path: Path) -> Run:
    def run(scenario: Callable[[Worker, Worker], Awaitable[None]]) -> None:
        async def main() -> None:
            clock = MovableClock()
            store = OwnStore(clock)
            async with working(tmp_path, clock, store) as one, working(tmp_path, clock, store) as two:
                await scenario(one, two)

        asyncio.run(main())

    return run


def test_cookie_of_a_session_proves_its_subject(run: Run) -> None:
    async def scenario(worker: Worker) -> None:
        value = await worker.sessions.begin(ALICE, SITE)

        assert worker.sessions.peek(value, SITE) is None
        assert await worker.sessions.verify(value, SITE) == Identity(ALICE, CredentialKind.SESSION)
        # From here on the hot path asks no store.
        reads = worker.store.reads
        assert worker.sessions.peek(value, SITE) == Identity(ALICE, CredentialKind.SESSION)
        assert worker.store.reads == reads

    run(scenario)


def test_store_never_sees_the_cookie(run: Run) -> None:
    async def scenario(worker: Worker) -> None:
        value = await worker.log_in()

        [record] = await worker.store.scan(KIND)

        assert record.key == hashlib.sha256(value.encode()).hexdigest()
        assert record.owner == "alice"
        assert value.encode() not in record.value
        assert b"staff" not in record.value
        assert worker.sessions.peek(record.key[:43], SITE) is None
        assert await worker.sessions.verify(record.key[:43], SITE) == BAD

    run(scenario)


def test_each_login_has_a_cookie_of_its_own(run: Run) -> None:
    async def scenario(worker: Worker) -> None:
        values = {await worker.log_in() for _ in range(50)}

        assert len(values) == 50
        assert all(len(value) == 43 for value in values)

    run(scenario)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "x",
        "x" * 42,
        "x" * 44,
        "x" * 8192,
        "x" * 42 + "\n",
        "x" * 43 + "\n",
        "x" * 42 + "=",
        '"' + "x" * 41 + '"',
        "\xe9" * 43,
        "\u0664" * 43,
        "\0" * 43,
    ],
)
def test_value_of_another_form_is_bad_without_a_look_into_the_store(run: Run, value: str) -> None:
    async def scenario(worker: Worker) -> None:
        assert worker.sessions.peek(value, SITE) == BAD
        assert await worker.sessions.verify(value, SITE) == BAD
        assert not await worker.sessions.end(value)
        assert worker.store.reads == 0

    run(scenario)


def test_unknown_cookie_is_bad(run: Run) -> None:
    async def scenario(worker: Worker) -> None:
        assert worker.sessions.peek("x" * 43, SITE) is None
        assert await worker.sessions.verify("x" * 43, SITE) == BAD

    run(scenario)


def test_session_is_bad_at_another_site(run: Run) -> None:
    other = Site("https", "other.example.com")
    shared = [Site("https", f"{name}.example.org", cookie_domain="example.org") for name in ("a", "b")]

    async def scenario(worker: Worker) -> None:
        value = await worker.log_in()
        together = await worker.log_in(shared[0])

        assert worker.sessions.peek(value, other) == BAD
        assert await worker.sessions.verify(value, other) == BAD
        assert await worker.sessions.verify(value, shared[0]) == BAD
        assert await worker.sessions.verify(together, SITE) == BAD
        assert (await worker.sessions.verify(together, shared[1])).failure is None

    run(scenario)


def test_session_that_is_not_used_ends_after_the_idle_timeout(run: Run) -> None:
    async def scenario(worker: Worker) -> None:
        value = await worker.log_in()
        worker.clock.advance(IDLE - 1)
        assert (await worker.sessions.verify(value, SITE)).failure is None

        idle = await worker.log_in()
        worker.clock.advance(IDLE)
        assert worker.sessions.peek(idle, SITE) is None
        assert await worker.sessions.verify(idle, SITE) == EXPIRED

    run(scenario)


def test_used_session_ends_at_the_end_of_its_lifetime(run: Run) -> None:
    async def scenario(worker: Worker) -> None:
        value = await worker.log_in()
        for _ in range(int(LIFETIME / 600) - 1):
            worker.clock.advance(600)
            assert (await worker.use(value)).failure is None

        worker.clock.advance(600)
        assert await worker.use(value) == EXPIRED
        [record] = await worker.store.scan(KIND)
        assert record.expires == worker.clock()

    run(scenario)


def test_use_is_noted_at_most_ten_times_in_an_idle_timeout(run: Run) -> None:
    async def scenario(worker: Worker) -> None:
        value = await worker.log_in()
        begun = worker.clock()
        for _ in range(180):
            worker.clock.advance(IDLE / 180)
            await worker.use(value)

        assert worker.store.touches == 10
        data = await worker.stored(value)
        assert data.seen == worker.clock()
        assert data.created == begun
        [record] = await worker.store.scan(KIND)
        assert record.expires == worker.clock() + IDLE

    run(scenario)


def test_hot_path_answers_before_the_use_is_noted_and_notes_it_once(run: Run) -> None:
    async def scenario(worker: Worker) -> None:
        value = await worker.log_in()
        worker.clock.advance(IDLE / 2)

        for _ in range(100):
            assert worker.sessions.peek(value, SITE) == Identity(ALICE, CredentialKind.SESSION)
        assert worker.store.touches == 0

        await until(lambda: worker.store.touches > 0)
        await worker.use(value)
        assert worker.store.touches == 1

    run(scenario)


def test_session_touched_by_another_worker_is_read_again_before_it_is_refused(run_two: Run) -> None:
    async def scenario(one: Worker, two: Worker) -> None:
        value = await one.log_in()
        await two.sessions.verify(value, SITE)
        one.clock.advance(IDLE * 0.6)
        await one.use(value)
        one.clock.advance(IDLE * 0.6)

        assert two.sessions.peek(value, SITE) is None
        assert await two.use(value) == Identity(ALICE, CredentialKind.SESSION)
        assert two.sessions.peek(value, SITE) is not None

    run_two(scenario)


def test_session_ended_in_one_worker_is_ended_in_all(run_two: Run) -> None:
    async def scenario(one: Worker, two: Worker) -> None:
        value, other = await one.log_in(), await one.log_in()
        for cookie in (value, other):
            assert (await two.sessions.verify(cookie, SITE)).failure is None

        assert await one.sessions.end(value)
        assert not await one.sessions.end(value)

        for worker in (one, two):
            assert worker.sessions.peek(value, SITE) is None
            assert await worker.sessions.verify(value, SITE) == BAD
            assert (await worker.sessions.verify(other, SITE)).failure is None

    run_two(scenario)


def test_session_is_ended_in_its_own_worker_before_the_change_comes_round(run: Run) -> None:
    async def scenario(worker: Worker) -> None:
        value = await worker.log_in()
        worker.store.late = True

        await worker.sessions.end(value)

        assert worker.sessions.peek(value, SITE) is None
        assert await worker.sessions.verify(value, SITE) == BAD

    run(scenario)


def test_touch_does_not_bring_an_ended_session_back(run: Run) -> None:
    async def scenario(worker: Worker) -> None:
        value = await worker.log_in()
        worker.clock.advance(IDLE / 2)
        assert worker.sessions.peek(value, SITE) is not None  # a touch is now on its way
        await worker.sessions.end(value)

        assert await worker.use(value) == BAD
        assert await worker.store.scan(KIND) == []

    run(scenario)


@pytest.mark.parametrize("content", [f"bob:{sha('b')}\n", f"alice:{sha('changed')}\nbob:{sha('b')}\n"])
def test_session_of_a_removed_user_or_an_old_password_is_revoked(run: Run, content: str) -> None:
    async def scenario(worker: Worker) -> None:
        value = await worker.log_in()
        write(worker.folder / "users.htpasswd", content)
        settle(worker.users, MovableClock())

        assert worker.sessions.peek(value, SITE) == REVOKED
        assert await worker.sessions.verify(value, SITE) == REVOKED

    run(scenario)


def test_user_of_the_same_name_does_not_inherit_a_session(run: Run) -> None:
    async def scenario(worker: Worker) -> None:
        value = await worker.log_in()
        for content in (f"bob:{sha('b')}\n", f"alice:{sha('new alice')}\nbob:{sha('b')}\n"):
            write(worker.folder / "users.htpasswd", content)
            settle(worker.users, MovableClock())

        assert await worker.sessions.verify(value, SITE) == REVOKED

    run(scenario)


def test_groups_are_those_of_now(run: Run) -> None:
    async def scenario(worker: Worker) -> None:
        value = await worker.log_in()
        write(worker.folder / "groups", "finance: alice\n")
        settle(worker.users, MovableClock())

        identity = worker.sessions.peek(value, SITE)
        assert identity is not None
        assert identity.subject == Subject("", "alice", frozenset({"finance"}))

    run(scenario)


def test_clock_set_back_ends_a_session_rather_than_prolong_it(run: Run) -> None:
    async def scenario(worker: Worker) -> None:
        value = await worker.log_in()
        worker.clock.advance(-3600)

        assert worker.sessions.peek(value, SITE) is None
        assert await worker.use(value) == EXPIRED

    run(scenario)


def test_last_use_in_the_future_is_corrected(run: Run) -> None:
    async def scenario(worker: Worker) -> None:
        value = await worker.log_in()
        worker.clock.advance(IDLE * 0.9)
        await worker.use(value)
        worker.clock.advance(-IDLE * 0.5)

        assert (await worker.use(value)).failure is None
        assert (await worker.stored(value)).seen == worker.clock()

    run(scenario)


@pytest.mark.parametrize(
    ("created", "seen"),
    [
        (1e12, 1.7e9),
        (float("nan"), 1.7e9),
        (1.7e9, float("nan")),
        (float("-inf"), 1.7e9),
        (float("inf"), float("inf")),
        (0.0, 1e300),
    ],
)
def test_record_with_impossible_times_is_never_live(run: Run, created: float, seen: float) -> None:
    async def scenario(worker: Worker) -> None:
        assert worker.clock() == 1.7e9
        value = await worker.log_in()
        data = replace(await worker.stored(value), created=created, seen=seen)
        await worker.store.delete(KIND, key_of(value))
        await worker.store.put(KIND, Record(key_of(value), encode(data), "alice", 1e18))

        assert await worker.use(value) == EXPIRED

    run(scenario)


def test_session_of_a_source_that_is_not_configured_is_revoked(run: Run) -> None:
    async def scenario(worker: Worker) -> None:
        value = await worker.log_in()
        data = replace(await worker.stored(value), source="partner")
        await worker.store.delete(KIND, key_of(value))
        await worker.store.put(KIND, Record(key_of(value), encode(data), "partner/alice", 1e18))

        assert await worker.use(value) == REVOKED

    run(scenario)


def test_session_begins_only_for_a_local_user(run: Run) -> None:
    async def scenario(worker: Worker) -> None:
        for subject in (Subject("", "mallory"), Subject("partner", "alice"), Subject("", "")):
            with pytest.raises(CredentialError):
                await worker.sessions.begin(subject, SITE)
        assert await worker.store.scan(KIND) == []

    run(scenario)


def test_store_that_is_away_leaves_the_subject_unknown(run: Run) -> None:
    async def scenario(worker: Worker) -> None:
        known = await worker.log_in()
        fresh = await worker.sessions.begin(ALICE, SITE)
        worker.store.away = True

        assert await worker.sessions.verify(fresh, SITE) == UNKNOWN
        assert UNKNOWN.subject is None
        # What is in memory goes on; only what must be read cannot.
        assert worker.sessions.peek(known, SITE) is not None
        with pytest.raises(StoreUnavailable):
            await worker.sessions.begin(ALICE, SITE)
        with pytest.raises(StoreUnavailable):
            await worker.sessions.end(known)
        worker.clock.advance(IDLE)
        assert await worker.sessions.verify(known, SITE) == UNKNOWN

    run(scenario)


def test_touch_that_fails_is_reported_and_not_tried_at_each_request(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(worker: Worker) -> None:
        value = await worker.log_in()
        worker.clock.advance(IDLE / 2)
        worker.store.away = True
        for _ in range(50):
            assert (await worker.use(value)).failure is None
        assert worker.store.touches == 1
        assert len(caplog.records) == 1

        worker.store.away = False
        worker.clock.advance(6)
        await worker.use(value)
        assert (await worker.stored(value)).seen == worker.clock()

    run(scenario)


GOOD = SessionData("", "alice", "f" * 32, "host:files.example.com", 1.5, 2.5)


def test_record_is_read_as_it_was_written() -> None:
    assert decode(Record("k", encode(GOOD), "alice", 3.0)) == GOOD


def changed(**change: object) -> bytes:
    found = json.loads(encode(GOOD)) | change
    return json.dumps({key: value for key, value in found.items() if value is not None}).encode()


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"[" * 100_000,
        changed(v=2),
        changed(v=None),
        changed(name=None),
        changed(name=7),
        changed(name=["alice"]),
        changed(created="1"),
        changed(created=True),
        changed(seen=None),
        changed(extra="x"),
        encode(GOOD)[:-1],
        encode(GOOD) + b"x",
    ],
)
def test_record_of_another_form_counts_as_absent(value: bytes) -> None:
    assert decode(Record("k", value, "alice", 3.0)) is None


def test_form_token_belongs_to_one_cookie_and_gives_nothing_of_it_away() -> None:
    tokens = {Sessions.form_token(value) for value in ("x" * 43, "y" * 43)}

    assert len(tokens) == 2
    assert key_of("x" * 43) not in tokens
    assert all(len(token) == 64 for token in tokens)


CARLA = user("carla", ["directory"], {"mail": "c@example.com"})


class SiteSays:
    """The site's `lookup`, and how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.says: Subject | Exception | None = CARLA

    async def lookup(self, username: str) -> Subject | None:
        self.asked += 1
        if isinstance(self.says, Exception):
            raise self.says
        return self.says


def verify(username: str, password: str) -> Subject | None:
    return CARLA


def with_site(worker: Worker, directory: Directory, lifetime: float = LIFETIME) -> Sessions:
    """Return the sessions of a worker whose site has these functions."""
    people = People(directory, worker.clock)
    return Sessions(worker.records, worker.store, worker.users, IDLE, lifetime, worker.clock, people)


def test_person_of_the_site_has_the_groups_and_claims_of_the_login(run: Run) -> None:
    async def scenario(worker: Worker) -> None:
        sessions = with_site(worker, Directory(verify))
        value = await sessions.begin(CARLA, SITE)
        carla = Identity(CARLA, CredentialKind.SESSION)

        assert await sessions.verify(value, SITE) == carla
        assert sessions.peek(value, SITE) == carla
        # Without groups from the site: those of the group file, of now.
        value = await sessions.begin(user("carla"), SITE)
        write(worker.folder / "groups", "finance: carla\n")
        settle(worker.users, MovableClock())
        identity = await sessions.verify(value, SITE)
        assert identity.subject == user("carla", ["finance"])

    run(scenario)


def test_session_of_somebody_who_cannot_be_looked_up_ends_after_an_hour(run: Run) -> None:
    async def scenario(worker: Worker) -> None:
        sessions = with_site(worker, Directory(verify))
        value = await sessions.begin(CARLA, SITE)
        for _ in range(3599 // 600):
            worker.clock.advance(600)
            assert (await sessions.verify(value, SITE)).failure is None
            await until(lambda: not sessions._touches)
        worker.clock.advance(600)

        assert await sessions.verify(value, SITE) == EXPIRED
        [record] = await worker.store.scan(KIND)
        assert record.expires == worker.clock()

    run(scenario)


def test_lookup_is_asked_every_five_minutes_and_keeps_a_session_alive(run: Run) -> None:
    async def scenario(worker: Worker) -> None:
        site = SiteSays()
        sessions = with_site(worker, Directory(verify, site.lookup))
        value = await sessions.begin(user("carla", ["before"]), SITE)
        assert (await sessions.verify(value, SITE)).subject == user("carla", ["before"])
        assert site.asked == 0

        for round_ in range(1, 37):
            worker.clock.advance(FRESH)
            assert sessions.peek(value, SITE) is None
            assert await sessions.verify(value, SITE) == Identity(CARLA, CredentialKind.SESSION)
            assert sessions.peek(value, SITE) == Identity(CARLA, CredentialKind.SESSION)
            assert site.asked == round_
            await until(lambda: not sessions._touches)

    run(scenario)


def test_session_of_somebody_who_is_gone_is_ended(run: Run) -> None:
    async def scenario(worker: Worker) -> None:
        site = SiteSays()
        sessions = with_site(worker, Directory(verify, site.lookup))
        value = await sessions.begin(CARLA, SITE)
        worker.clock.advance(FRESH)
        site.says = None

        assert await sessions.verify(value, SITE) == REVOKED
        assert await worker.store.scan(KIND) == []
        # It does not come back with the account.
        site.says = CARLA
        worker.clock.advance(FRESH)
        assert await sessions.verify(value, SITE) == BAD

    run(scenario)


def test_session_that_ends_while_the_site_is_asked_is_refused(run: Run) -> None:
    async def scenario(worker: Worker) -> None:
        async def lookup(username: str) -> Subject | None:
            await sessions.end(value)
            return CARLA

        sessions = with_site(worker, Directory(verify, lookup))
        value = await sessions.begin(CARLA, SITE)
        worker.clock.advance(FRESH)
        assert await sessions.verify(value, SITE) == BAD

    run(scenario)


def test_session_of_somebody_who_is_gone_is_refused_also_when_it_cannot_be_ended(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(worker: Worker) -> None:
        site = SiteSays()
        sessions = with_site(worker, Directory(verify, site.lookup))
        value = await sessions.begin(CARLA, SITE)
        await sessions.verify(value, SITE)
        worker.clock.advance(FRESH)
        site.says, worker.store.away = None, True
        for _ in range(3):
            assert await sessions.verify(value, SITE) == REVOKED

    run(scenario)


def test_lookup_that_fails_keeps_what_was_known_for_an_hour_and_then_nothing(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(worker: Worker) -> None:
        site = SiteSays()
        sessions = with_site(worker, Directory(verify, site.lookup))
        value = await sessions.begin(CARLA, SITE)
        site.says = ConnectionError()
        for _ in range(5):
            worker.clock.advance(600)
            assert await sessions.verify(value, SITE) == Identity(CARLA, CredentialKind.SESSION)
            await until(lambda: not sessions._touches)
        worker.clock.advance(600)
        assert await sessions.verify(value, SITE) == FAILED
        assert sessions.peek(value, SITE) == FAILED
        assert FAILED.subject is None
        assert FAILED.failure is Reason.HANDLER_ERROR
        # Nothing was ended.
        site.says = CARLA
        worker.clock.advance(60)
        assert (await sessions.verify(value, SITE)).failure is None

    run(scenario)


def test_session_of_the_site_is_revoked_when_the_htpasswd_file_gets_the_name(run: Run) -> None:
    async def scenario(worker: Worker) -> None:
        site = SiteSays()
        for directory in (Directory(verify), Directory(verify, site.lookup)):
            sessions = with_site(worker, directory)
            value = await sessions.begin(user("dora"), SITE)
            assert (await sessions.verify(value, SITE)).failure is None
            write(worker.folder / "users.htpasswd", f"alice:{sha('a')}\nbob:{sha('b')}\ndora:{sha('d')}\n")
            settle(worker.users, MovableClock())
            assert sessions.peek(value, SITE) == REVOKED
            assert await sessions.verify(value, SITE) == REVOKED
            write(worker.folder / "users.htpasswd", f"alice:{sha('a')}\nbob:{sha('b')}\n")
            settle(worker.users, MovableClock())

    run(scenario)


def test_lookup_cannot_make_somebody_a_person_of_the_htpasswd_file(run: Run) -> None:
    async def scenario(worker: Worker) -> None:
        site = SiteSays()
        sessions = with_site(worker, Directory(verify, site.lookup))
        value = await sessions.begin(CARLA, SITE)
        worker.clock.advance(FRESH)
        site.says = user("alice")

        assert await sessions.verify(value, SITE) == REVOKED
        assert sessions.peek(value, SITE) == REVOKED

    run(scenario)


def test_session_of_the_site_is_revoked_when_verify_is_no_longer_configured(run: Run) -> None:
    async def scenario(worker: Worker) -> None:
        value = await with_site(worker, Directory(verify)).begin(CARLA, SITE)

        for sessions in (worker.sessions, with_site(worker, Directory(None, SiteSays().lookup))):
            assert await sessions.verify(value, SITE) == REVOKED
            assert sessions.peek(value, SITE) == REVOKED

    run(scenario)


def test_person_who_left_the_htpasswd_file_is_not_the_sites(run: Run) -> None:
    async def scenario(worker: Worker) -> None:
        sessions = with_site(worker, Directory(verify))
        value = await sessions.begin(ALICE, SITE)
        write(worker.folder / "users.htpasswd", f"bob:{sha('b')}\n")
        settle(worker.users, MovableClock())

        assert await sessions.verify(value, SITE) == REVOKED

    run(scenario)


def test_record_of_a_person_of_the_htpasswd_file_is_as_older_versions_read_it() -> None:
    assert json.loads(encode(GOOD)) == {
        "v": 1,
        "source": "",
        "name": "alice",
        "fingerprint": "f" * 32,
        "scope": "host:files.example.com",
        "created": 1.5,
        "seen": 2.5,
    }


OF_THE_SITE = SessionData("", "carla", None, "host:a", 1.5, 2.5, CARLA.groups, CARLA.claims)


@pytest.mark.parametrize("groups", [None, frozenset[str](), frozenset({"a", "b"})])
def test_record_of_a_person_of_the_site_is_read_as_it_was_written(groups: frozenset[str] | None) -> None:
    data = replace(OF_THE_SITE, groups=groups)

    assert decode(Record("k", encode(data), "carla", 3.0)) == data
    assert data.login == Standing(CARLA._replace(groups=groups), 1.5)


@pytest.mark.parametrize(
    "change",
    [
        {"v": 1},
        {"v": 3},
        {"v": True},
        {"v": [2]},
        {"v": 2.0},
        {"fingerprint": "f"},
        {"fingerprint": None},
        {"groups": "ab"},
        {"groups": [1]},
        {"groups": [["a"]]},
        {"groups": {"a": "b"}},
        {"claims": None},
        {"claims": "ab"},
        {"claims": [["a"]]},
        {"claims": ["ab"]},
        {"claims": [["a", 1]]},
        {"claims": [["a", "b", "c"]]},
        {"claims": {"a": "b"}},
    ],
)
def test_record_of_a_person_of_the_site_of_another_form_counts_as_absent(change: dict[str, object]) -> None:
    value = json.dumps(json.loads(encode(OF_THE_SITE)) | change).encode()

    assert decode(Record("k", value, "carla", 3.0)) is None


def test_record_of_another_source_is_no_person_of_the_site(run: Run) -> None:
    async def scenario(worker: Worker) -> None:
        # The site knows its own Carla, and not the partner's.
        sessions = with_site(worker, Directory(verify, SiteSays().lookup))
        value = await sessions.begin(CARLA, SITE)
        data = replace(await worker.stored(value), source="partner")
        await worker.store.delete(KIND, key_of(value))
        await worker.store.put(KIND, Record(key_of(value), encode(data), "partner/carla", 1e18))

        assert await sessions.verify(value, SITE) == REVOKED

    run(scenario)
