import asyncio
import base64
from collections.abc import Iterator
from pathlib import Path

import pytest

from authgate.credentials.basic import BAD, BUSY, BasicVerifier, parse
from authgate.credentials.passwords import RUNNING, WAITING, Passwords
from authgate.credentials.users import LocalUsers
from authgate.model import ANONYMOUS, CredentialKind, Identity, Reason, Subject
from tests.clock import MovableClock
from tests.credentials.people import settle, sha, users, write
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
    return BasicVerifier(loaded, passwords)


def test_right_password_proves_the_subject(basic: BasicVerifier) -> None:
    alice = asyncio.run(basic.verify(header("alice", "wonder:land")))
    kaethe = asyncio.run(basic.verify(header("käthe", "grün")))

    assert alice == Identity(Subject("", "alice", frozenset({"staff"})), CredentialKind.BASIC)
    assert kaethe.subject is not None
    assert kaethe.subject.name == "käthe"


@pytest.mark.parametrize("scheme", ["Basic", "basic", "BASIC", "bAsIc"])
def test_scheme_is_read_in_any_case(scheme: str) -> None:
    """RFC 7617 section 2: "the scheme and parameter names are matched case-insensitively"."""
    assert parse(header("bob", "builder").replace("Basic", scheme)) == ("bob", "builder")


def test_wrong_password_is_bad_each_time_and_never_remembered(basic: BasicVerifier, recorder: Recorder) -> None:
    for _ in range(3):
        assert basic.peek(header("bob", "wrong")) is None
        assert asyncio.run(basic.verify(header("bob", "wrong"))) == BAD
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
    assert basic.peek(value) == BAD
    assert asyncio.run(basic.verify(value)) == BAD
    assert recorder.seen == []


def test_second_request_costs_no_hash(basic: BasicVerifier, recorder: Recorder) -> None:
    first = asyncio.run(basic.verify(header("bob", "builder")))

    assert basic.peek(header("bob", "builder")) == first
    assert asyncio.run(basic.verify(header("bob", "builder"))) == first
    assert len(recorder.seen) == 1


def test_remembered_result_is_for_exactly_this_name_and_password(basic: BasicVerifier) -> None:
    """Both have the same line; without lengths, "ab" + "c" and "a" + "bc" would be one entry."""
    asyncio.run(basic.verify(header("ab", "c")))
    asyncio.run(basic.verify(header("bob", "builder")))

    assert basic.peek(header("a", "bc")) is None
    assert asyncio.run(basic.verify(header("a", "bc"))) == BAD
    assert basic.peek(header("bob", "builder ")) is None
    assert basic.peek(header("ab", "")) is None


def test_changed_line_or_removed_user_is_not_remembered(
    basic: BasicVerifier, loaded: LocalUsers, tmp_path: Path
) -> None:
    asyncio.run(basic.verify(header("bob", "builder")))
    asyncio.run(basic.verify(header("a", "c")))
    write(tmp_path / "users.htpasswd", f"bob:{sha('changed')}\n")
    settle(loaded, MovableClock())

    for value in (header("bob", "builder"), header("a", "c")):
        assert basic.peek(value) is None
        assert asyncio.run(basic.verify(value)) == BAD


def test_remembered_result_has_the_groups_of_now(basic: BasicVerifier, loaded: LocalUsers, tmp_path: Path) -> None:
    asyncio.run(basic.verify(header("alice", "wonder:land")))
    write(tmp_path / "groups", "finance: alice\n")
    settle(loaded, MovableClock())

    assert basic.peek(header("alice", "wonder:land")) == Identity(
        Subject("", "alice", frozenset({"finance"})), CredentialKind.BASIC
    )


def test_least_used_result_is_forgotten_first(loaded: LocalUsers, passwords: Passwords) -> None:
    basic = BasicVerifier(loaded, passwords, capacity=2)
    for name, password in (("bob", "builder"), ("a", "c")):
        asyncio.run(basic.verify(header(name, password)))
    assert basic.peek(header("bob", "builder")) is not None
    asyncio.run(basic.verify(header("ab", "c")))

    assert basic.peek(header("bob", "builder")) is not None
    assert basic.peek(header("ab", "c")) is not None
    assert basic.peek(header("a", "c")) is None


def test_equal_requests_at_the_same_time_share_one_hash(basic: BasicVerifier, recorder: Recorder) -> None:
    async def scenario() -> None:
        recorder.gate.clear()
        requests = [asyncio.create_task(basic.verify(header("bob", "builder"))) for _ in range(100)]
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
        requests = [asyncio.create_task(basic.verify(header("bob", str(n)))) for n in range(RUNNING + WAITING)]
        await until(lambda: len(recorder.seen) == RUNNING)

        assert await basic.verify(header("bob", "builder")) == BUSY
        assert BUSY.subject is None
        assert BUSY.failure is Reason.BUSY

        recorder.gate.set()
        await asyncio.gather(*requests)
        # Not remembered either.
        assert (await basic.verify(header("bob", "builder"))).failure is None

    asyncio.run(scenario())
