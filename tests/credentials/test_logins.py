"""Where a name and a password are verified, and what keeps one from being verified."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from authgate.credentials.brakes import BY_CLIENT_AND_NAME
from authgate.credentials.directory import Directory
from authgate.credentials.logins import Logins
from authgate.credentials.passwords import RUNNING, WAITING, Passwords
from authgate.credentials.users import LocalUsers
from authgate.errors import Busy, SiteFunctionFailed, TooManyAttempts
from authgate.model import Subject, user
from tests.clock import MovableClock
from tests.credentials.people import HOME, address, logins, settle, sha, users, write
from tests.credentials.test_passwords import Recorder
from tests.stores.following import until


class Site:
    """The site's `verify`: everybody's password is their name backwards; the names it was asked about."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def verify(self, username: str, password: str) -> Subject | None:
        self.asked.append(username)
        await self.gate.wait()
        if username == "broken":
            raise ConnectionError
        return user(username.lower(), ["directory"]) if password == username[::-1] else None


@pytest.fixture
def loaded(tmp_path: Path) -> LocalUsers:
    return users(tmp_path, f"root:{sha('secret')}\n", "staff: root\n")


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def passwords(loaded: LocalUsers, recorder: Recorder) -> Iterator[Passwords]:
    made = Passwords(loaded, recorder)
    yield made
    recorder.gate.set()
    made.close()


Run = Callable[[Callable[[Logins, Site], Awaitable[None]]], None]


@pytest.fixture
def run(loaded: LocalUsers, passwords: Passwords) -> Run:
    def run(scenario: Callable[[Logins, Site], Awaitable[None]]) -> None:
        async def main() -> None:
            site = Site()
            await scenario(logins(loaded, passwords, MovableClock(), Directory(site.verify)), site)

        asyncio.run(main())

    return run


def test_name_in_the_htpasswd_file_is_proved_by_that_file_alone(run: Run) -> None:
    async def scenario(login: Logins, site: Site) -> None:
        assert await login.verify("root", "secret", HOME) == Subject("", "root", frozenset({"staff"}))
        assert await login.verify("root", "toor", HOME) is None
        assert site.asked == []

    run(scenario)


def test_other_names_are_proved_by_the_site_without_a_hash(run: Run, recorder: Recorder) -> None:
    async def scenario(login: Logins, site: Site) -> None:
        assert await login.verify("Alice", "ecilA", HOME) == user("alice", ["directory"])
        assert await login.verify("alice", "wrong", HOME) is None
        assert site.asked == ["Alice", "alice"]
        assert recorder.seen == []
        assert (login.verifications, login.wrong, login.refused_busy) == (2, 1, 0)

    run(scenario)


def test_site_cannot_say_that_somebody_is_a_person_of_the_htpasswd_file(run: Run) -> None:
    async def scenario(login: Logins, site: Site) -> None:
        for _ in range(BY_CLIENT_AND_NAME):
            assert await login.verify("ROOT", "TOOR", HOME) is None
        assert site.asked == ["ROOT"] * BY_CLIENT_AND_NAME
        # A failed login like any other.
        with pytest.raises(TooManyAttempts):
            await login.verify("ROOT", "TOOR", HOME)

    run(scenario)


@pytest.mark.parametrize("name", ["", "a/b", " alice", "al\nice", "\ud800", "a" * 300])
def test_site_is_not_asked_about_what_is_no_name(run: Run, name: str) -> None:
    async def scenario(login: Logins, site: Site) -> None:
        assert await login.verify(name, name[::-1], HOME) is None
        assert site.asked == []

    run(scenario)


@pytest.mark.parametrize("password", ["", "a\0b", "x" * 1025, "\ud800"])
def test_site_is_not_asked_with_what_is_no_password(run: Run, password: str) -> None:
    async def scenario(login: Logins, site: Site) -> None:
        assert await login.verify("alice", password, HOME) is None
        assert site.asked == []

    run(scenario)


def test_account_that_the_htpasswd_file_gets_meanwhile_is_not_the_sites(
    run: Run, loaded: LocalUsers, tmp_path: Path
) -> None:
    async def scenario(login: Logins, site: Site) -> None:
        site.gate.clear()
        attempt = asyncio.create_task(login.verify("alice", "ecila", HOME))
        await until(lambda: bool(site.asked))
        write(tmp_path / "users.htpasswd", f"alice:{sha('new')}\n")
        settle(loaded, MovableClock())
        site.gate.set()
        assert await attempt is None

    run(scenario)


def test_brakes_hold_for_both_kinds(run: Run) -> None:
    async def scenario(login: Logins, site: Site) -> None:
        for name, password in (("root", "secret"), ("alice", "ecila")):
            for _ in range(BY_CLIENT_AND_NAME):
                assert await login.verify(name, "wrong", HOME) is None
            assert login.wait(name, HOME) == 0
            with pytest.raises(TooManyAttempts):
                await login.verify(name, password, HOME)
            assert login.wait(name, HOME) == 600
            assert await login.verify(name, password, address("192.0.2.8")) is not None

    run(scenario)


def test_failure_of_the_site_is_no_wrong_password(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(login: Logins, site: Site) -> None:
        for _ in range(BY_CLIENT_AND_NAME + 5):
            with pytest.raises(SiteFunctionFailed):
                await login.verify("broken", "x", HOME)

    run(scenario)


def test_more_than_can_be_hashed_are_refused_and_counted(run: Run, recorder: Recorder) -> None:
    async def scenario(login: Logins, site: Site) -> None:
        recorder.gate.clear()
        hosts = [address(f"192.0.2.{number}") for number in range(50)]
        attempts = [asyncio.create_task(login.verify("root", "secret", host)) for host in hosts]
        await until(lambda: login.refused_busy == 50 - RUNNING - WAITING)
        recorder.gate.set()
        done = await asyncio.gather(*attempts, return_exceptions=True)
        assert sum(isinstance(end, Busy) for end in done) == 50 - RUNNING - WAITING
        assert sum(isinstance(end, Subject) for end in done) == RUNNING + WAITING

    run(scenario)


def test_without_verify_a_missing_name_costs_a_hash(
    loaded: LocalUsers, passwords: Passwords, recorder: Recorder
) -> None:
    assert asyncio.run(logins(loaded, passwords).verify("alice", "x", HOME)) is None
    assert len(recorder.seen) == 1


def test_known_names_are_those_of_the_htpasswd_file(loaded: LocalUsers, passwords: Passwords) -> None:
    login = logins(loaded, passwords)

    assert login.is_known("root")
    assert not login.is_known("my password")
