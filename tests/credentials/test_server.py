"""The name that the web server's own login hands on."""

import asyncio
from pathlib import Path

import pytest

from authgate.credentials.directory import Directory
from authgate.credentials.people import FRESH, People
from authgate.credentials.server import BAD, UNKNOWN, ServerLogin
from authgate.credentials.users import LocalUsers
from authgate.model import CredentialKind, Identity, Subject, user
from tests.clock import MovableClock
from tests.credentials.people import sha, users

SERVER = CredentialKind.SERVER


@pytest.fixture
def loaded(tmp_path: Path) -> LocalUsers:
    return users(tmp_path, f"root:{sha('r')}\n", "staff: root alice jürgen\n")


def server(loaded: LocalUsers, directory: Directory | None = None, clock: MovableClock | None = None) -> ServerLogin:
    return ServerLogin(loaded, People(directory or Directory(), clock or MovableClock()))


def wire(name: str) -> str:
    """Return a name as the door decodes what nginx sends."""
    return name.encode().decode("latin-1")


def test_name_is_a_local_subject_with_the_groups_of_the_group_file(loaded: LocalUsers) -> None:
    login = server(loaded)

    assert login.peek("root") == Identity(Subject("", "root", frozenset({"staff"})), SERVER)
    assert login.peek("alice") == Identity(Subject("", "alice", frozenset({"staff"})), SERVER)
    assert login.peek("bob") == Identity(Subject("", "bob", frozenset()), SERVER)
    assert login.peek(wire("jürgen")) == Identity(Subject("", "jürgen", frozenset({"staff"})), SERVER)
    assert asyncio.run(login.verify("alice")) == login.peek("alice")


def test_groups_are_unknown_without_a_group_file(tmp_path: Path) -> None:
    assert server(users(tmp_path, "")).peek("alice") == Identity(Subject("", "alice", None), SERVER)


@pytest.mark.parametrize(
    "name", ["a/b", "partner/alice", "a\nb", "a\0", "\x7f", "j\xfcrgen", " root", "root ", "a" * 257, "\x85"]
)
def test_name_that_cannot_be_one_is_bad(loaded: LocalUsers, name: str) -> None:
    login = server(loaded, Directory(None, lambda username: user("alice")))

    assert login.peek(name) == BAD
    assert asyncio.run(login.verify(name)) == BAD


def test_lookup_says_who_it_is(loaded: LocalUsers) -> None:
    asked: list[str] = []

    def lookup(username: str) -> Subject | None:
        asked.append(username)
        return user(username.lower(), ["directory"], {"mail": "a@example.com"}) if username != "bob" else None

    async def run() -> None:
        login = server(loaded, Directory(None, lookup))
        alice = Identity(user("alice", ["directory"], {"mail": "a@example.com"}), SERVER)
        assert login.peek("ALICE") is None
        assert await login.verify("ALICE") == alice
        assert login.peek("ALICE") == alice
        assert await login.verify("bob") == BAD
        # The htpasswd file's own people are not looked up, and a name is not mapped to one of them.
        assert login.peek("root") == Identity(Subject("", "root", frozenset({"staff"})), SERVER)
        assert await login.verify("ROOT") == BAD
        assert asked == ["ALICE", "bob", "ROOT"]

    asyncio.run(run())


def test_groups_that_lookup_leaves_out_are_those_of_the_group_file(loaded: LocalUsers) -> None:
    login = server(loaded, Directory(None, user))

    assert asyncio.run(login.verify("alice")) == Identity(Subject("", "alice", frozenset({"staff"})), SERVER)


def test_lookup_that_fails_leaves_unknown_who_asks(loaded: LocalUsers, caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        clock = MovableClock()
        answers = [user("alice", ["staff"]), None]
        login = server(loaded, Directory(None, lambda username: answers.pop(0) or 1 / 0), clock)
        known = await login.verify("alice")
        assert known.failure is None
        clock.advance(FRESH)
        assert await login.verify("alice") == known
        assert login.peek("alice") == known

        assert await login.verify("bob") == UNKNOWN
        assert login.peek("bob") == UNKNOWN
        assert UNKNOWN.subject is None

    asyncio.run(run())
