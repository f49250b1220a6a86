import asyncio
import base64
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from authgate.credentials.basic import BAD, BRAKED, BUSY, FAILED, FRESH, UNKNOWN, BasicVerifier, parse
from authgate.credentials.directory import Directory
from authgate.credentials.passwords import RUNNING, WAITING, Passwords
from authgate.credentials.users import LocalUsers
from authgate.errors import StoreUnavailable
from authgate.model import ANONYMOUS, CredentialKind, Identity, Reason, Subject, user
from authgate.stores import Count
from authgate.stores.memory import MemoryStore
from tests.clock import MovableClock
from tests.credentials.people import HOME, address, logins, settle, sha, users, write
from tests.credentials.test_passwords import Recorder
from tests.stores.following import until

CONTENT = f"alice:{sha('wonder:land')}\nbob:{sha('builder')}\nkäthe:{sha('grün')}\nab:{sha('c')}\na:{sha('c')}\n"


def header(name: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


@pytest.fixture
def loaded(tmp_path: Path) -> LocalUsers:
    return users(tmp_path, CONTENT, "staff: alice\n")


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def passwords(loaded: LocalUsers, recorder: Recorder) -> Iterator[Passwords]:
    made = Passwords(loaded, recorder)
    yield made
    recorder.gate.set()
    made.close()


@pytest.fixture
def basic(loaded: LocalUsers, passwords: Passwords) -> BasicVerifier:
    return BasicVerifier(loaded, logins(loaded, passwords), MovableClock())


def test_right_password_proves_the_subject(basic: BasicVerifier) -> None:
    alice = asyncio.run(basic.verify(header("alice", "wonder:land"), HOME))
    kaethe = asyncio.run(basic.verify(header("käthe", "grün"), HOME))

    assert alice == Identity(Subject("", "alice", frozenset({"staff"})), CredentialKind.BASIC)
    assert kaethe.subject is not None
    assert kaethe.subject.name == "käthe"


@pytest.mark.parametrize("scheme", ["Basic", "basic", "BASIC", "bAsIc"])
def test_scheme_is_read_in_any_case(scheme: str) -> None:
    """RFC 7617 section 2: "the scheme and parameter names are matched case-insensitively"."""
    assert parse(header("bob", "builder").replace("Basic", scheme)) == ("bob", "builder")


def test_wrong_password_is_bad_each_time_and_never_remembered(basic: BasicVerifier, recorder: Recorder) -> None:
    for _ in range(3):
        assert basic.peek(header("bob", "wrong"), HOME) is None
        assert asyncio.run(basic.verify(header("bob", "wrong"), HOME)) == BAD
    assert len(recorder.seen) == 3
    assert Identity(ANONYMOUS, CredentialKind.BASIC, Reason.BAD_CREDENTIAL) == BAD


@pytest.mark.parametrize(
    "value",
    [
        "",
        "Basic",
        "Basic ",
        "Basic  ",
        "Bearer abc",
        "Negotiate YII=",
        "Basi " + header("bob", "builder")[6:],
        "Basic\t" + header("bob", "builder")[6:],
        " " + header("bob", "builder"),
        header("bob", "builder") + ", " + header("bob", "builder"),
        header("bob", "builder") + "\n",
        header("bob", "builder")[:-1],
        header("bob", "builder") + "=",
        header("bob", "builder").replace("=", "") + "A",
        header("bob", "builder")[:9] + " " + header("bob", "builder")[9:],
        "Basic Ym9iOmI_",
        "Basic Ym9iOmJ=",
        "Basic !!!!",
        "Basic \xfcber",
        "Basic " + base64.b64encode(b"bob").decode(),
        "Basic " + base64.b64encode(b":builder").decode(),
        "Basic " + base64.b64encode(b"bob:gr\xfcn").decode(),
        "Basic " + base64.b64encode(b"bob:\xed\xa0\x80").decode(),
        "Basic " + base64.b64encode(b"bob:buil\0der").decode(),
        "Basic " + base64.b64encode(b"bob:builder\r\n").decode(),
        "Basic " + base64.b64encode(b"bo\x7fb:builder").decode(),
        "Basic " + "A" * 4096,
        "Basic " + "=" * 64,
    ],
)
def test_malformed_header_is_bad_without_a_hash(basic: BasicVerifier, recorder: Recorder, value: str) -> None:
    assert basic.peek(value, HOME) == BAD
    assert asyncio.run(basic.verify(value, HOME)) == BAD
    assert recorder.seen == []


def test_second_request_costs_no_hash(basic: BasicVerifier, recorder: Recorder) -> None:
    first = asyncio.run(basic.verify(header("bob", "builder"), HOME))

    assert basic.peek(header("bob", "builder"), HOME) == first
    assert asyncio.run(basic.verify(header("bob", "builder"), HOME)) == first
    assert len(recorder.seen) == 1


def test_remembered_result_is_for_exactly_this_name_and_password(basic: BasicVerifier) -> None:
    """Both have the same line; without lengths, "ab" + "c" and "a" + "bc" would be one entry."""
    asyncio.run(basic.verify(header("ab", "c"), HOME))
    asyncio.run(basic.verify(header("bob", "builder"), HOME))

    assert basic.peek(header("a", "bc"), HOME) is None
    assert asyncio.run(basic.verify(header("a", "bc"), HOME)) == BAD
    assert basic.peek(header("bob", "builder "), HOME) is None
    assert basic.peek(header("ab", ""), HOME) is None


def test_changed_line_or_removed_user_is_not_remembered(
    basic: BasicVerifier, loaded: LocalUsers, tmp_path: Path
) -> None:
    asyncio.run(basic.verify(header("bob", "builder"), HOME))
    asyncio.run(basic.verify(header("a", "c"), HOME))
    write(tmp_path / "users.htpasswd", f"bob:{sha('changed')}\n")
    settle(loaded, MovableClock())

    for value in (header("bob", "builder"), header("a", "c")):
        assert basic.peek(value, HOME) is None
        assert asyncio.run(basic.verify(value, HOME)) == BAD


def test_remembered_result_has_the_groups_of_now(basic: BasicVerifier, loaded: LocalUsers, tmp_path: Path) -> None:
    asyncio.run(basic.verify(header("alice", "wonder:land"), HOME))
    write(tmp_path / "groups", "finance: alice\n")
    settle(loaded, MovableClock())

    assert basic.peek(header("alice", "wonder:land"), HOME) == Identity(
        Subject("", "alice", frozenset({"finance"})), CredentialKind.BASIC
    )


def test_least_used_result_is_forgotten_first(loaded: LocalUsers, passwords: Passwords) -> None:
    basic = BasicVerifier(loaded, logins(loaded, passwords), MovableClock(), capacity=2)
    for name, password in (("bob", "builder"), ("a", "c")):
        asyncio.run(basic.verify(header(name, password), HOME))
    assert basic.peek(header("bob", "builder"), HOME) is not None
    asyncio.run(basic.verify(header("ab", "c"), HOME))

    assert basic.peek(header("bob", "builder"), HOME) is not None
    assert basic.peek(header("ab", "c"), HOME) is not None
    assert basic.peek(header("a", "c"), HOME) is None


def test_equal_requests_at_the_same_time_share_one_hash(basic: BasicVerifier, recorder: Recorder) -> None:
    async def scenario() -> None:
        recorder.gate.clear()
        requests = [asyncio.create_task(basic.verify(header("bob", "builder"), HOME)) for _ in range(100)]
        await until(lambda: len(recorder.seen) == 1)
        # The one that began it hangs up; the others have their answer all the same.
        requests[0].cancel()
        recorder.gate.set()
        answers = await asyncio.gather(*requests[1:])

        assert {answer.subject.name for answer in answers if answer.subject} == {"bob"}
        assert len(answers) == 99
        assert len(recorder.seen) == 1

    asyncio.run(scenario())


def test_too_many_hashes_leave_the_subject_unknown(basic: BasicVerifier, recorder: Recorder) -> None:
    async def scenario() -> None:
        recorder.gate.clear()
        requests = [
            asyncio.create_task(basic.verify(header("bob", str(n)), address(f"192.0.2.{n}")))
            for n in range(RUNNING + WAITING)
        ]
        await until(lambda: len(recorder.seen) == RUNNING)

        assert await basic.verify(header("bob", "builder"), HOME) == BUSY
        assert BUSY.subject is None
        assert BUSY.failure is Reason.BUSY

        recorder.gate.set()
        await asyncio.gather(*requests)
        # Not remembered either.
        assert (await basic.verify(header("bob", "builder"), HOME)).failure is None

    asyncio.run(scenario())


class Site:
    """The site's `verify`, and how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.says: Subject | Exception | None = user("alice", None, {"mail": "a"})
        self.gate = asyncio.Event()
        self.gate.set()

    async def verify(self, username: str, password: str) -> Subject | None:
        self.asked += 1
        await self.gate.wait()
        if isinstance(self.says, Exception):
            raise self.says
        return self.says if password == "right" else None


@dataclass
class Scene:
    clock: MovableClock
    site: Site
    store: MemoryStore
    basic: BasicVerifier


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[[Callable[[Scene], Awaitable[None]]], None]]:
    loaded = users(tmp_path, f"bob:{sha('builder')}\n", "staff: alice\n")
    passwords = Passwords(loaded)

    def run(scenario: Callable[[Scene], Awaitable[None]]) -> None:
        async def main() -> None:
            clock, site = MovableClock(), Site()
            store = MemoryStore(clock)
            login = logins(loaded, passwords, clock, Directory(site.verify), store)
            await scenario(Scene(clock, site, store, BasicVerifier(loaded, login, clock)))

        asyncio.run(main())

    yield run
    passwords.close()


Run = Callable[[Callable[[Scene], Awaitable[None]]], None]
ALICE = header("Alice", "right")


def test_what_the_site_verified_is_remembered_for_five_minutes(run: Run) -> None:
    async def scenario(scene: Scene) -> None:
        alice = Identity(user("alice", ["staff"], {"mail": "a"}), CredentialKind.BASIC)
        assert await scene.basic.verify(ALICE, HOME) == alice
        scene.clock.advance(FRESH - 1)
        assert scene.basic.peek(ALICE, HOME) == alice
        assert await scene.basic.verify(ALICE, HOME) == alice
        assert scene.site.asked == 1

        scene.clock.advance(1)
        assert scene.basic.peek(ALICE, HOME) is None
        scene.site.says = None
        assert await scene.basic.verify(ALICE, HOME) == BAD
        assert scene.site.asked == 2

    run(scenario)


def test_clock_set_back_forgets_what_the_site_verified(run: Run) -> None:
    async def scenario(scene: Scene) -> None:
        await scene.basic.verify(ALICE, HOME)
        scene.clock.advance(-1)
        assert scene.basic.peek(ALICE, HOME) is None

    run(scenario)


def test_person_of_the_site_who_gets_a_line_in_the_htpasswd_file_is_not_remembered(run: Run, tmp_path: Path) -> None:
    async def scenario(scene: Scene) -> None:
        await scene.basic.verify(ALICE, HOME)
        write(tmp_path / "users.htpasswd", f"alice:{sha('other')}\n")
        settle(scene.basic._users, MovableClock())

        # Asked as "Alice", who has no line: it is the name which the site gave that has one now.
        assert scene.basic.peek(ALICE, HOME) is None
        assert await scene.basic.verify(ALICE, HOME) == BAD

    run(scenario)


def test_client_with_too_many_wrong_passwords_is_told_so_without_a_look_into_the_store(run: Run) -> None:
    async def scenario(scene: Scene) -> None:
        assert (await scene.basic.verify(header("bob", "builder"), HOME)).failure is None
        for number in range(10):
            assert await scene.basic.verify(header("bob", str(number)), HOME) == BAD
        assert await scene.basic.verify(header("bob", "eleventh"), HOME) == BRAKED
        assert BRAKED.subject is None
        assert BRAKED.failure is Reason.TOO_MANY_ATTEMPTS

        operations = scene.store.operations
        assert scene.basic.peek(header("bob", "twelfth"), HOME) == BRAKED
        assert await scene.basic.verify(header("bob", "twelfth"), HOME) == BRAKED
        assert scene.store.operations == operations
        # Elsewhere, and what was verified before, is as ever.
        assert scene.basic.peek(header("bob", "twelfth"), address("192.0.2.8")) is None
        assert await scene.basic.verify(header("bob", "twelfth"), address("192.0.2.8")) == BAD
        known = scene.basic.peek(header("bob", "builder"), HOME)
        assert known is not None
        assert known.failure is None

    run(scenario)


def test_one_that_has_to_wait_does_not_answer_for_another_client(run: Run) -> None:
    async def scenario(scene: Scene) -> None:
        for number in range(11):
            await scene.basic.verify(header("Alice", str(number)), HOME)
        both = (scene.basic.verify(ALICE, HOME), scene.basic.verify(ALICE, address("192.0.2.8")))
        braked, right = await asyncio.gather(*both)
        assert braked == BRAKED
        assert right.failure is None

    run(scenario)


def test_failure_of_the_site_leaves_the_subject_unknown(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(scene: Scene) -> None:
        scene.site.says = ConnectionError()
        assert await scene.basic.verify(ALICE, HOME) == FAILED
        assert FAILED.subject is None
        assert FAILED.failure is Reason.HANDLER_ERROR
        assert scene.basic.peek(ALICE, HOME) is None

    run(scenario)


def test_store_that_is_away_leaves_the_subject_unknown(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(scene: Scene) -> None:
        async def away(key: str) -> Count:
            raise StoreUnavailable

        await scene.basic.verify(ALICE, HOME)
        scene.store.counted = away  # type: ignore[method-assign] # the store of this test
        assert await scene.basic.verify(header("bob", "builder"), HOME) == UNKNOWN
        assert UNKNOWN.failure is Reason.STORE_UNAVAILABLE
        # What was verified needs no store.
        assert (await scene.basic.verify(ALICE, HOME)).failure is None

    run(scenario)


def test_slow_verification_goes_on_when_its_request_has_ended(run: Run) -> None:
    """A decision ends after 1.5 s, a verification after 5: the next request finds its outcome."""

    async def scenario(scene: Scene) -> None:
        scene.site.gate.clear()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await scene.basic.verify(ALICE, HOME)
        scene.site.gate.set()
        await until(lambda: scene.basic.peek(ALICE, HOME) is not None)
        assert scene.site.asked == 1

    run(scenario)


def test_header_that_was_answered_from_memory_ends_with_its_line(
    basic: BasicVerifier, loaded: LocalUsers, tmp_path: Path
) -> None:
    sent = header("bob", "builder")
    asyncio.run(basic.verify(sent, HOME))
    assert basic.peek(sent, HOME) is not None
    write(tmp_path / "users.htpasswd", f"bob:{sha('changed')}\n")
    settle(loaded, MovableClock())

    assert basic.peek(sent, HOME) is None
    assert asyncio.run(basic.verify(sent, HOME)) == BAD
