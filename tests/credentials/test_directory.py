"""The site's functions count for what they return; whatever else they do ends with them."""

import asyncio
import json
import sys
import threading
from collections.abc import Callable, Iterator
from urllib.parse import quote

import pytest

from authgate.credentials.directory import MAX_NAME, Directory, is_name, wanted
from authgate.errors import Busy, SiteFunctionFailed
from authgate.handlers.bounded import RUNNING, WAITING
from authgate.model import Subject, allow, user
from tests.stores.following import until

ALICE = user("alice", ["staff"], {"mail": "alice@example.com"})


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("authgate.credentials.directory.VERIFY_DEADLINE", 0.05)
    monkeypatch.setattr("authgate.credentials.directory.LOOKUP_DEADLINE", 0.05)


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    opened = threading.Event()
    yield opened
    opened.set()


def both(function: Callable[[str, str], object]) -> list[Callable[..., object]]:
    """Return a `verify` as it is and as one with ``async``."""

    async def asynchronous(username: str, password: str) -> object:
        return function(username, password)

    return [function, asynchronous]


def verified(function: Callable[..., object], name: str = "alice", password: str = "wonderland") -> Subject | None:
    async def run() -> Subject | None:
        directory = Directory(function)
        try:
            return await directory.verify(name, password)
        finally:
            directory.close()

    return asyncio.run(run())


@pytest.mark.parametrize("kind", [0, 1])
def test_function_is_asked_with_name_and_password(kind: int) -> None:
    def verify(username: str, password: str) -> Subject | None:
        return ALICE if (username, password) == ("alice", "wonderland") else None

    assert verified(both(verify)[kind]) == ALICE
    assert verified(both(verify)[kind], "alice", "Wonderland") is None


def test_lookup_is_asked_with_the_name_alone() -> None:
    async def run() -> None:
        directory = Directory(None, {"alice": ALICE}.get)
        assert (directory.verifies, directory.looks_up) == (False, True)
        assert await directory.lookup("alice") == ALICE
        assert await directory.lookup("bob") is None
        assert await directory.verify("alice", "x") is None
        directory.close()

    asyncio.run(run())


def test_without_functions_nobody_is_known() -> None:
    assert asyncio.run(Directory().lookup("alice")) is None
    assert asyncio.run(Directory().verify("alice", "x")) is None


def test_empty_password_is_never_asked_about() -> None:
    """RFC 4513 section 5.1.2: a bind with a name and no password succeeds, anonymously."""
    assert verified(lambda *_: ALICE, password="") is None


def test_name_that_the_site_spells_otherwise_counts_as_the_site_spells_it() -> None:
    assert verified(lambda *_: user("alice"), "ALICE") == Subject("", "alice", None)


NAMES = [
    "",
    "a/b",
    "/",
    "al\nice",
    "al\x00ice",
    "alice\x7f",
    "a\x85b",
    " alice",
    "alice ",
    "\ud800",
    "ü" * 129,
    7,
    None,
    b"a",
]


@pytest.mark.parametrize("name", NAMES)
def test_odd_name_is_no_answer(name: object) -> None:
    with pytest.raises(SiteFunctionFailed, match="a name that is"):
        verified(lambda *_: Subject("", name))  # type: ignore[arg-type] # what a site may do


def test_long_and_odd_but_lawful_names_are_names() -> None:
    for name in ("ü" * (MAX_NAME // 2), "Alice Liddell", "alice@example.com", "a:b", "#a", "名前"):
        assert is_name(name)
        assert verified(lambda *_, name=name: user(name)) == user(name)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (True, "returned bool, not"),
        ("alice", "returned str, not"),
        (("", "alice"), "returned tuple, not"),
        (allow(), "returned Decision, not"),
        (Subject("partner", "alice"), "somebody of another source"),
        (Subject("", "alice", frozenset({"a/b"})), "groups that are no names"),
        (Subject("", "alice", frozenset({""})), "groups that are no names"),
        (Subject("", "alice", frozenset({7})), "groups that are no names"),  # type: ignore[arg-type]
        (Subject("", "alice", ["staff"]), "groups that are no names"),  # type: ignore[arg-type]
        (Subject("", "alice", "staff"), "groups that are no names"),  # type: ignore[arg-type]
        (Subject("", "alice", None, frozenset({("level", 3)})), "claims that are not text"),  # type: ignore[arg-type]
        (Subject("", "alice", None, frozenset({"level"})), "claims that are not text"),  # type: ignore[arg-type]
        (Subject("", "alice", None, {"a": "b"}), "claims that are not text"),  # type: ignore[arg-type]
        (Subject("", "alice", None, frozenset({("a", "\ud800")})), "claims that are not text"),
    ],
)
def test_nonsense_is_no_answer(said: object, words: str, caplog: pytest.LogCaptureFixture) -> None:
    for function in both(lambda *_: said):
        with pytest.raises(SiteFunctionFailed, match=words):
            verified(function)
    assert all(words in record.message for record in caplog.records)


def _exit(*_: str) -> None:
    sys.exit("bye")


def _interrupt(*_: str) -> None:
    raise KeyboardInterrupt


def _stop(*_: str) -> None:
    raise StopIteration


def _cancel(*_: str) -> None:
    raise asyncio.CancelledError


@pytest.mark.parametrize("function", [_exit, _interrupt, _stop, _cancel, lambda *_: 1 / 0, lambda *_: open("/nowhere")])  # noqa: PTH123, SIM115 - it fails
def test_whatever_is_raised_is_no_answer(function: Callable[..., object]) -> None:
    for kind in both(function):
        with pytest.raises(SiteFunctionFailed):
            verified(kind)


def test_cause_is_in_the_log_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    def verify(username: str, password: str) -> None:
        raise ConnectionError("the directory is away")

    with pytest.raises(SiteFunctionFailed):
        verified(verify)

    (record,) = caplog.records
    assert record.message.startswith("users.verify failed\nTraceback")
    assert "ConnectionError: the directory is away" in record.message
    assert __file__ in record.message


@pytest.mark.parametrize("password", ["won'der\\land", "wönder länd", "w" * 1000, "a", '\x01\x02%&"', "\U0001f511\n"])
@pytest.mark.parametrize(
    "quoted",
    [str, repr, lambda p: repr(p.encode()), lambda p: json.dumps({"password": p}), quote],
    ids=["str", "repr", "bytes", "json", "url"],
)
def test_password_is_never_in_the_log(
    caplog: pytest.LogCaptureFixture, password: str, quoted: Callable[[str], str]
) -> None:
    def verify(username: str, given: str) -> None:
        cause = ValueError(f"bad credentials for {username}: {quoted(given)}")
        raise RuntimeError("login failed") from cause

    for function in both(verify):
        with pytest.raises(SiteFunctionFailed) as caught:
            verified(function, password=password)
        assert "bad credentials" not in str(caught.value)

    assert len(caplog.records) == 2
    for record in caplog.records:
        assert "bad credentials" not in record.message
        assert "RuntimeError" in record.message
        assert __file__ in record.message


@pytest.mark.usefixtures("short")
def test_function_that_takes_too_long_is_no_answer(gate: threading.Event) -> None:
    async def forever(*_: str) -> None:
        await asyncio.Event().wait()

    async def stubborn(*_: str) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0)

    for function in (lambda *_: gate.wait(10), forever, stubborn):
        with pytest.raises(SiteFunctionFailed, match=r"took over 0\.05 s"):
            verified(function)


@pytest.mark.usefixtures("short")
def test_threads_that_hang_refuse_at_once_and_leave_lookup_alone(gate: threading.Event) -> None:
    async def run() -> None:
        directory = Directory(lambda *_: gate.wait(10), {"alice": ALICE}.get)
        hanging = [asyncio.create_task(directory.verify("alice", "x")) for _ in range(RUNNING)]
        await asyncio.wait(hanging)
        assert all(isinstance(task.exception(), SiteFunctionFailed) for task in hanging)

        with pytest.raises(Busy, match="hang"):
            await directory.verify("alice", "x")
        assert await directory.lookup("alice") == ALICE

        gate.set()
        directory.close()

    asyncio.run(run())


def test_some_run_some_wait_and_the_next_is_told_at_once(gate: threading.Event) -> None:
    async def run() -> None:
        running, most = 0, 0
        lock = threading.Lock()

        def verify(username: str, password: str) -> Subject:
            nonlocal running, most
            with lock:
                running += 1
                most = max(most, running)
            gate.wait(10)
            with lock:
                running -= 1
            return ALICE

        directory = Directory(verify)
        tasks = [asyncio.create_task(directory.verify("alice", "x")) for _ in range(RUNNING + WAITING)]
        await until(lambda: running == RUNNING)
        with pytest.raises(Busy):
            await directory.verify("alice", "x")
        gate.set()
        assert await asyncio.gather(*tasks) == [ALICE] * len(tasks)
        assert most == RUNNING
        assert await directory.verify("alice", "x") == ALICE
        directory.close()

    asyncio.run(run())


@pytest.mark.usefixtures("short")
def test_nobody_waits_for_a_turn_longer_than_for_an_answer() -> None:
    async def run() -> None:
        async def forever(_: str) -> None:
            await asyncio.Event().wait()

        directory = Directory(None, forever)
        tasks = [asyncio.create_task(directory.lookup("alice")) for _ in range(RUNNING + WAITING)]
        done, _ = await asyncio.wait(tasks, timeout=5)
        ends = [type(task.exception()) for task in tasks]
        assert len(done) == RUNNING + WAITING
        assert (ends.count(SiteFunctionFailed), ends.count(Busy)) == (RUNNING, WAITING)

    asyncio.run(run())


def test_settings_name_what_is_to_be_imported() -> None:
    assert wanted(None, None) == []
    verify, lookup = wanted("site::verify", "site::lookup")
    assert (verify.place, verify.arguments) == ("users.verify: site::verify", ("username", "password"))
    assert (lookup.place, lookup.arguments) == ("users.lookup: site::lookup", ("username",))
