"""The process that Apache starts for its rewrite map, asked through pipes as Apache asks it."""

import asyncio
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from authgate.config import Settings, load
from authgate.credentials.session import KIND, Sessions, decode
from authgate.credentials.users import LocalUsers
from authgate.model import Subject
from authgate.server.status import State, Status, write_status
from authgate.stores.cache import CachedRecords
from authgate.stores.sqlite import SqliteStore
from tests.credentials.people import sha, write
from tests.servers import DEADLINE, PACKAGE_ROOT, eventually

SITE = '[[sites]]\norigin = "http://files.example.com"\n[users]\nhtpasswd = "users"\ngroups = "groups"\n'
STAFF = '[[rules]]\nname = "staff"\npaths = ["/**"]\nallow = ["group:staff"]\n'
ANYONE = STAFF.replace("group:staff", "anyone")


class Program:
    """A running program, and the folder of its configuration."""

    def __init__(self, folder: Path, process: subprocess.Popen[bytes]) -> None:
        self.config = folder / "authgate.toml"
        self.process = process
        assert process.stdin
        assert process.stdout
        self.questions, self.answers = process.stdin.fileno(), process.stdout.fileno()

    def tell(self, text: str | bytes) -> None:
        os.write(self.questions, text.encode() if isinstance(text, str) else text)

    def hear(self) -> str:
        """Return the next line."""
        said = b""
        while not said.endswith(b"\n"):
            assert self.is_answered(DEADLINE), self.log()
            piece = os.read(self.answers, 1)
            assert piece, self.log()
            said += piece
        return said.decode("ascii")

    def is_answered(self, seconds: float) -> bool:
        return bool(select.select([self.answers], [], [], seconds)[0])

    def ask(self, cookie: str = "", nonce: str = "n", path: str = "/x") -> str:
        """Ask, again when a busy machine was not fast enough, and return the answer without what is behind it."""
        end = time.monotonic() + DEADLINE
        while True:
            self.tell(f"{nonce} GET 192.0.2.1 http files.example.com {path}  {cookie} */* \n")
            said = self.hear_words()
            if said[1:] != ["DENY", "503"] or time.monotonic() > end:
                return " ".join(said)

    def hear_words(self) -> list[str]:
        return self.hear().split()[:3]

    def log(self) -> str:
        return self.config.with_suffix(".log").read_text()


def settle(folder: Path, text: str = SITE + STAFF) -> Settings:
    """Write a configuration and the files that it names."""
    write(folder / "users", f"alice:{sha('a')}\nbob:{sha('b')}\n")
    write(folder / "groups", "staff: alice\n")
    (folder / "authgate.toml").write_text(text)
    settings = load(folder / "authgate.toml")
    if settings.store != "memory:":
        SqliteStore(database(folder), time.time).prepare()
    return settings


def database(folder: Path) -> Path:
    return folder / "state" / "authgate.db"


def log_in(folder: Path, name: str = "alice") -> str:
    """Begin a session, as the login page does in another process, and return the cookie."""

    async def begun() -> str:
        settings = load(folder / "authgate.toml")
        users = LocalUsers(settings.htpasswd, settings.groups)
        users.load()
        store = SqliteStore(database(folder), time.time)
        records = CachedRecords(store, KIND, decode, 1)
        sessions = Sessions(records, store, users, settings.idle_timeout, settings.lifetime, time.time)
        value = await sessions.begin(Subject("", name), settings.sites[0])
        await store.aclose()
        return f"authgate={value}"

    return asyncio.run(begun())


def log_out_everybody(folder: Path) -> None:
    async def ended() -> None:
        store = SqliteStore(database(folder), time.time)
        await store.delete_owned(KIND, None)
        await store.aclose()

    asyncio.run(ended())


@contextmanager
def running(folder: Path) -> Iterator[Program]:
    """Run the program until the end of the block."""
    config = folder / "authgate.toml"
    command = [sys.executable, "-m", "authgate", "rewritemap", "--config", str(config)]
    with (
        config.with_suffix(".log").open("wb") as log,
        subprocess.Popen(
            command, bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, cwd=PACKAGE_ROOT
        ) as process,
    ):
        program = Program(folder, process)
        try:
            eventually(
                lambda: "rewritemap: ready" in program.log() or process.poll() is not None, "the program is ready"
            )
            yield program
        finally:
            process.kill()


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    settle(tmp_path)
    with running(tmp_path) as started:
        yield started


def test_a_session_of_another_process_is_known(program: Program, tmp_path: Path) -> None:
    assert program.ask() == "n DENY 401"
    assert program.ask(log_in(tmp_path)) == "n OK alice"
    assert program.ask(log_in(tmp_path, "bob")) == "n DENY 403"


def test_a_revocation_is_in_force_within_100_ms(program: Program, tmp_path: Path) -> None:
    cookie = log_in(tmp_path)
    assert program.ask(cookie) == program.ask(cookie) == "n OK alice"

    log_out_everybody(tmp_path)
    began = time.monotonic()
    while program.ask(cookie) != "n DENY 401":
        assert time.monotonic() - began < DEADLINE
    took = time.monotonic() - began

    assert took < 0.1


def test_a_user_who_is_taken_out_of_the_file_is_out(program: Program, tmp_path: Path) -> None:
    cookie = log_in(tmp_path)
    assert program.ask(cookie) == "n OK alice"

    write(tmp_path / "users", f"bob:{sha('b')}\n")

    eventually(lambda: program.ask(cookie) == "n DENY 401", "the file is read")


def test_the_program_ends_with_its_input(program: Program) -> None:
    assert program.process.stdin
    program.process.stdin.close()

    assert program.process.wait(DEADLINE) == 0
    assert os.read(program.answers, 1) == b""


def test_the_program_ends_when_nobody_reads_its_answers(program: Program) -> None:
    assert program.process.stdout
    program.process.stdout.close()
    program.tell("n\n")

    assert program.process.wait(DEADLINE) == 0
    assert "Traceback" not in program.log()


def is_asleep(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "S"


def test_a_program_that_was_asked_to_end_answers_as_long_as_it_is_asked(program: Program) -> None:
    eventually(lambda: is_asleep(program.process.pid), "it waits to be asked")
    program.process.send_signal(signal.SIGTERM)

    for _ in range(10):
        assert program.ask(nonce="after") == "after DENY 401"
    assert program.process.wait(DEADLINE) == 0


@pytest.mark.parametrize(
    ("question", "nonce"),
    [(b"", "-"), (2**20 * b"x", "-"), (b"n " + 2**20 * b"x", "n"), (b"a b\r", "a"), (b"\xff\0 ", "-"), (b"n\0 x", "-")],
    ids=range(6),
)
def test_a_line_that_is_no_question_gets_one_line_and_the_next_its_own(
    program: Program, question: bytes, nonce: str
) -> None:
    for _ in range(3):
        program.tell(question + b"\n")

        assert program.hear_words() == [nonce, "DENY", "403"]
        assert program.ask(nonce="next") == "next DENY 401"


def test_lines_that_arrive_together_are_answered_in_order(program: Program) -> None:
    program.tell("a\n\nb c\n")

    assert [program.hear_words()[0] for _ in range(3)] == ["a", "-", "b"]


def test_nothing_is_said_unasked(program: Program) -> None:
    program.tell("n GET 192.0.2.1 http files.example.com /x   */* ")

    assert not program.is_answered(0.3)


def test_an_answer_that_was_not_read_is_refused_once_and_shifts_nothing(program: Program, tmp_path: Path) -> None:
    cookie = log_in(tmp_path)
    assert program.ask(cookie) == "n OK alice"
    question = f"{{}} GET 192.0.2.1 http files.example.com /x  {cookie} */* \n"
    program.tell(question.format("dead"))
    assert program.is_answered(DEADLINE)

    program.tell(question.format("next"))
    eventually(lambda: "an answer was not read" in program.log(), "it is noticed")

    assert program.hear_words() == ["dead", "OK", "alice"]
    assert program.ask(cookie, "after") == "after OK alice"


def status(version: str, finished: int = 1) -> Status:
    return Status(
        pid=1, state=State.RUNNING, version=version, rules=1, begun=1, finished=finished, message="", failure="",
        note="", when=0.0,
    )  # fmt: skip


def test_a_policy_that_the_service_has_is_taken_over(program: Program, tmp_path: Path) -> None:
    assert program.ask() == "n DENY 401"
    settings = settle(tmp_path, SITE + ANYONE)
    settings.check_socket.parent.mkdir()

    write_status(settings.check_socket, status(settings.version))

    eventually(lambda: program.ask() == "n OK -", "the new policy decides")
    log_out_everybody(tmp_path)
    assert program.ask(log_in(tmp_path)) == "n OK alice"


def test_a_policy_that_the_service_does_not_have_is_not_taken_over(program: Program, tmp_path: Path) -> None:
    settings = settle(tmp_path, SITE + ANYONE)
    settings.check_socket.parent.mkdir()

    write_status(settings.check_socket, status("0123456789ab"))

    eventually(lambda: "stays in force" in program.log(), "the difference is said")
    assert f"holds policy {settings.version}, and the service has 0123456789ab" in program.log()
    assert program.ask() == "n DENY 401"


@pytest.mark.parametrize("broken", ["rules", 'store = "memory:"\nworkers = 1\n' + SITE + ANYONE])
def test_a_policy_that_cannot_be_used_changes_nothing(program: Program, tmp_path: Path, broken: str) -> None:
    before = load(program.config)
    program.config.write_text(broken)
    before.check_socket.parent.mkdir()

    write_status(before.check_socket, status("0123456789ab"))
    eventually(lambda: f"policy {before.version} stays in force" in program.log(), "it is refused")
    assert program.ask() == "n DENY 401"
    settings = settle(tmp_path, SITE + ANYONE)
    write_status(before.check_socket, status(settings.version, finished=2))

    eventually(lambda: program.ask() == "n OK -", "the next one is taken over")


def test_an_audit_file_that_was_moved_away_is_made_again(tmp_path: Path) -> None:
    settle(tmp_path, SITE + STAFF + '[audit]\nfile = "state/audit.log"\n')
    file = tmp_path / "state" / "audit.log"
    with running(tmp_path) as program:
        program.ask()
        eventually(lambda: "login_required" in file.read_text(), "the audit is written")
        file.rename(file.with_suffix(".1"))
        eventually(file.exists, "there is another file")
        program.ask()
        eventually(lambda: "login_required" in file.read_text(), "the audit is written there")
