import asyncio
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from authgate.credentials import hashes
from authgate.credentials.passwords import NICENESS, RUNNING, WAITING, Passwords, hash_password, is_acceptable
from authgate.credentials.users import LocalUsers
from authgate.errors import Busy
from authgate.model import Subject
from tests.clock import MovableClock
from tests.credentials.people import CHEAP, cheap, settle, sha, users, write
from tests.stores.following import until


class Recorder:
    """Verifies as usual and writes down what it was given; holds the threads while `gate` is closed."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, bytes]] = []
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, line: str, password: bytes) -> bool:
        self.seen.append((line, password))
        self.gate.wait(10)
        return hashes.verify(line, password)


@pytest.fixture
def loaded(tmp_path: Path) -> LocalUsers:
    lines = {"alice": cheap("wonderland"), "bob": sha("builder")}
    return users(tmp_path, "".join(f"{name}:{line}\n" for name, line in lines.items()), "staff: alice\n")


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def passwords(loaded: LocalUsers, recorder: Recorder) -> Iterator[Passwords]:
    made = Passwords(loaded, recorder)
    yield made
    recorder.gate.set()
    made.close()


def test_right_password_gives_the_subject_with_its_groups(passwords: Passwords) -> None:
    assert asyncio.run(passwords.verify("alice", "wonderland")) == Subject("", "alice", frozenset({"staff"}))
    assert asyncio.run(passwords.verify("bob", "builder")) == Subject("", "bob", frozenset())


@pytest.mark.parametrize(
    ("name", "password"),
    [
        ("alice", "Wonderland"),
        ("alice", ""),
        ("alice", "builder"),
        ("Alice", "wonderland"),
        ("alice ", "wonderland"),
        ("", "wonderland"),
        ("staff", "wonderland"),
        ("mallory", "wonderland"),
        ("mal\0lory", "builder"),
        ("\ud800", "wonderland"),
    ],
)
def test_anything_else_is_refused_after_one_hash(
    passwords: Passwords, recorder: Recorder, name: str, password: str
) -> None:
    assert asyncio.run(passwords.verify(name, password)) is None
    assert len(recorder.seen) == 1


def test_name_that_does_not_exist_costs_the_hash_of_somebody_who_does(
    passwords: Passwords, recorder: Recorder, loaded: LocalUsers
) -> None:
    for number in range(40):
        # The right password of the line that stands in: it must not open anything.
        for password in ("wonderland", "builder"):
            assert asyncio.run(passwords.verify(f"mallory{number}", password)) is None

    assert {line for line, _ in recorder.seen} == {loaded.find("alice"), loaded.find("bob")}
    assert len(recorder.seen) == 80
    # One name, one line: measured twice it takes equally long.
    assert all(recorder.seen[2 * number][0] == recorder.seen[2 * number + 1][0] for number in range(40))


def test_name_costs_a_production_hash_while_nobody_exists(tmp_path: Path) -> None:
    recorder = Recorder()
    passwords = Passwords(users(tmp_path, ""), recorder)

    assert asyncio.run(passwords.verify("alice", "wonderland")) is None

    [(line, _)] = recorder.seen
    assert hashes.problem(line) is None
    assert line.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    passwords.close()


@pytest.mark.parametrize("password", ["a\0b", "wonderland\0", "x" * 1025, "ü" * 513, "\ud800", "x" * 5_000_000])
def test_password_that_no_hash_may_see_is_refused_without_one(
    passwords: Passwords, recorder: Recorder, password: str
) -> None:
    assert not is_acceptable(password)
    assert asyncio.run(passwords.verify("alice", password)) is None
    assert recorder.seen == []


def test_password_of_1_kib_is_verified(tmp_path: Path) -> None:
    passwords = Passwords(users(tmp_path, f"alice:{cheap('ü' * 512)}\n"))

    assert asyncio.run(passwords.verify("alice", "ü" * 512)) is not None
    assert asyncio.run(passwords.verify("alice", "ü" * 511 + "u")) is None
    passwords.close()


def test_two_are_hashed_sixteen_wait_and_the_next_is_told_at_once(passwords: Passwords, recorder: Recorder) -> None:
    async def scenario() -> None:
        recorder.gate.clear()
        requests = [asyncio.create_task(passwords.verify("bob", "builder")) for _ in range(RUNNING + WAITING)]
        await until(lambda: len(recorder.seen) == RUNNING)

        for name in ("bob", "mallory"):
            with pytest.raises(Busy):
                await passwords.verify(name, "builder")
        assert len(recorder.seen) == RUNNING

        recorder.gate.set()
        assert all(await asyncio.gather(*requests))
        assert await passwords.verify("bob", "builder") is not None

    asyncio.run(scenario())


def test_client_that_hangs_up_gives_its_place_back_only_when_its_hash_is_over(
    passwords: Passwords, recorder: Recorder
) -> None:
    async def scenario() -> None:
        recorder.gate.clear()
        requests = [asyncio.create_task(passwords.verify("bob", "builder")) for _ in range(RUNNING + WAITING)]
        await until(lambda: len(recorder.seen) == RUNNING)
        for request in requests:
            request.cancel()
        await asyncio.gather(*requests, return_exceptions=True)

        # Those that waited are gone; those in the threads are not, however impatient their clients are.
        waiting = [asyncio.create_task(passwords.verify("bob", "builder")) for _ in range(WAITING)]
        await asyncio.sleep(0)
        with pytest.raises(Busy):
            await passwords.verify("bob", "builder")

        recorder.gate.set()
        assert all(await asyncio.gather(*waiting))

    asyncio.run(scenario())


def test_password_changed_while_the_old_one_is_hashed_is_refused(
    passwords: Passwords, recorder: Recorder, loaded: LocalUsers, tmp_path: Path
) -> None:
    async def scenario() -> None:
        clock = MovableClock()
        recorder.gate.clear()
        request = asyncio.create_task(passwords.verify("bob", "builder"))
        await until(lambda: len(recorder.seen) == 1)
        write(tmp_path / "users.htpasswd", f"bob:{sha('changed')}\n")
        settle(loaded, clock)
        recorder.gate.set()

        assert await request is None
        assert await passwords.verify("bob", "changed") is not None

    asyncio.run(scenario())


def test_new_hash_is_argon2id_with_the_low_memory_profile_of_rfc_9106() -> None:
    line = hash_password("wonderland")

    assert line.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    assert hashes.problem(line) is None
    assert hashes.verify(line, b"wonderland")


def test_equal_passwords_have_different_hashes() -> None:
    assert hash_password("wonderland", CHEAP) != hash_password("wonderland", CHEAP)


def test_threads_that_hash_stand_back(loaded: LocalUsers) -> None:
    def niceness(*_: object) -> bool:
        seen.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        return False

    seen: list[int] = []
    passwords = Passwords(loaded, niceness)
    asyncio.run(passwords.verify("alice", "x"))
    passwords.close()

    own = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    assert seen == [min(own + NICENESS, 19)]
