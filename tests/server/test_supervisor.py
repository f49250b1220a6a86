"""The supervisor with real processes on real sockets."""

import base64
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from authgate.cli.token import token
from tests import servers

RULES = """
[[rules]]
name = "{name}"
paths = ["/**"]
allow = ["anyone"]
"""

STAYS = "the one before stays in force"

API = '[listen]\napi = "unix:run/api.sock"\n'

# Prepares itself until somebody makes the file `go`.
SLOW = """
import asyncio
import os
from pathlib import Path

async def setup():
    Path(__file__).with_name(f"begun-{os.getpid()}").touch()
    while not Path(__file__).with_name("go").exists():
        await asyncio.sleep(0.01)

def asked(request):
    return None
"""


@dataclass(frozen=True, slots=True)
class House:
    """A folder with a configuration."""

    folder: Path

    @property
    def config(self) -> Path:
        return self.folder / "authgate.toml"

    @property
    def sockets(self) -> list[Path]:
        return [self.folder / "run" / "check.sock", self.folder / "run" / "web.sock"]

    def configure(self, *, top: str = "", rules: str = RULES.format(name="first"), rest: str = "") -> None:
        self.config.write_text(f'{top}\n[[sites]]\norigin = "http://localhost"\n{rest}\n{rules}')

    @contextmanager
    def serving(self) -> Iterator[servers.Server]:
        with servers.authgate(self.config) as server:
            yield server

    def serve_in_vain(self) -> tuple[int, str]:
        """Start where it cannot start; return exit status and what it said."""
        command = [sys.executable, "-m", "authgate", "serve", "--config", str(self.config)]
        ended = subprocess.run(
            command, cwd=servers.PACKAGE_ROOT, capture_output=True, text=True, timeout=servers.DEADLINE, check=False
        )
        return ended.returncode, ended.stderr

    def api(self, path: str, method: str = "GET", token: str = "") -> httpx.Response:
        """Ask the listener ``api`` on a connection of its own."""
        transport = httpx.HTTPTransport(uds=str(self.folder / "run" / "api.sock"))
        with httpx.Client(transport=transport) as client:
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            return client.request(method, f"http://authgate{path}", headers=headers)

    def token(self, *arguments: str) -> str:
        """Make an access token of alice, who has to be in the htpasswd file."""
        given = ["create", "--owner", "alice", *arguments, "--config", str(self.config)]
        return CliRunner().invoke(token, given).stdout.strip()

    def figures(self) -> dict[str, float]:
        """Return what ``/metrics`` says, by name and labels as they are written there."""
        lines = [line for line in self.api("/metrics").text.splitlines() if not line.startswith("#")]
        return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}

    def rule(self) -> str:
        """Return which rule decides."""
        return str(self.ask().headers["x-authgate-rule"])

    def ask(self, user: str = "") -> httpx.Response:
        """Ask for a decision on a connection of its own.

        Args:
            user: name and password, ``alice:secret``.
        """
        headers = {"X-Authgate-Path": "/x", "X-Authgate-Method": "GET", "X-Authgate-Host": "localhost"}
        headers |= {"X-Authgate-Scheme": "http", "X-Authgate-Client": "192.0.2.1"}
        if user:
            headers["Authorization"] = f"Basic {base64.b64encode(user.encode()).decode()}"
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(self.sockets[0]))) as client:
            return client.get("http://authgate/check", headers=headers)

    @contextmanager
    def login_under_way(self) -> Iterator["Login"]:
        """Send a login but for the last byte of its form."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(servers.DEADLINE)
            connection.connect(str(self.sockets[1]))
            connection.sendall(
                b"POST /authgate/login HTTP/1.1\r\nHost: x\r\nX-Authgate-Host: localhost\r\n"
                b"X-Authgate-Scheme: http\r\nX-Authgate-Client: 192.0.2.1\r\nExpect: 100-continue\r\n"
                b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 10\r\n\r\n"
            )
            # Only an application that is reading the body asks for it: the request runs.
            assert connection.recv(100).startswith(b"HTTP/1.1 100 ")
            connection.sendall(b"name=alic")
            yield Login(connection)


@dataclass(frozen=True, slots=True)
class Login:
    """A login under way."""

    connection: socket.socket

    def finish(self) -> bytes:
        """Send the last byte; return all that comes back."""
        self.connection.sendall(b"e")
        answer = b""
        while chunk := self.connection.recv(65536):
            answer += chunk
        return answer


@pytest.fixture
def house() -> Iterator[House]:
    with servers.open_folder() as folder:
        made = House(folder)
        made.configure()
        yield made


def gone(pids: list[int]) -> Callable[[], bool]:
    return lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids)


def workers(server: servers.Server) -> list[int]:
    return servers.children(server.process.pid)


def reload(server: servers.Server, word: str) -> None:
    """Send SIGHUP and wait for the log to say `word` once more than before."""
    before = server.text().count(word)
    server.process.send_signal(signal.SIGHUP)
    servers.eventually(lambda: server.text().count(word) > before, word, server)


def test_ready_means_that_every_worker_serves(house: House) -> None:
    house.configure(top="workers = 3")
    with house.serving() as server:
        assert len(workers(server)) == 3
        assert house.rule() == "first"
        assert server.text() == "authgate: ready\n"


def test_sockets_are_open_to_owner_and_group_only(house: House) -> None:
    with house.serving():
        assert [stat.S_IMODE(path.stat().st_mode) for path in house.sockets] == [0o660, 0o660]


def test_sigterm_ends_all_processes_and_removes_the_sockets(house: House) -> None:
    with house.serving() as server:
        family = server.family()

        assert server.stop() == 0

        assert gone(family)()
        assert list((house.folder / "run").iterdir()) == []


def test_sigterm_lets_a_running_request_finish(house: House) -> None:
    with house.serving() as server, house.login_under_way() as login:
        server.process.terminate()
        servers.eventually(lambda: not house.sockets[1].exists(), "the drain has begun", server)

        answer = login.finish()

        # No matter which: this login lacks its token. It is answered, and the connection closed behind it.
        assert answer.startswith(b"HTTP/1.1 403 ")
        assert server.process.wait(servers.DEADLINE) == 0


def test_sigterm_closes_idle_connections(house: House) -> None:
    with house.serving() as server, socket.socket(socket.AF_UNIX) as idle:
        idle.settimeout(servers.DEADLINE)
        idle.connect(str(house.sockets[0]))
        idle.sendall(b"GET /check HTTP/1.1\r\nHost: x\r\n\r\n")
        assert idle.recv(4096).startswith(b"HTTP/1.1 403 ")

        assert server.stop() == 0

        assert idle.recv(4096) == b""


def test_second_signal_does_not_wait_for_a_running_request(house: House) -> None:
    with house.serving() as server, house.login_under_way():
        server.process.terminate()
        servers.eventually(lambda: not house.sockets[1].exists(), "the drain has begun", server)

        server.process.terminate()

        assert server.process.wait(servers.DEADLINE) == 1
        assert "is killed with requests still running" in server.text()
        assert "Traceback" not in server.text()


def test_ctrl_c_of_a_terminal_drains_as_well(house: House) -> None:
    with house.serving() as server, house.login_under_way() as login:
        # A terminal sends it to every process.
        server.signal(signal.SIGINT)
        servers.eventually(lambda: not house.sockets[1].exists(), "the drain has begun", server)

        assert login.finish().startswith(b"HTTP/1.1 403 ")
        assert server.process.wait(servers.DEADLINE) == 0


def test_killed_worker_is_replaced_and_its_end_is_logged(house: House) -> None:
    house.configure(top="workers = 1")
    with house.serving() as server:
        [killed] = workers(server)

        os.kill(killed, signal.SIGKILL)

        servers.eventually(lambda: workers(server) not in ([], [killed]), "another worker", server)
        servers.eventually(lambda: house.rule() == "first", "it serves", server)
        assert f"worker {killed} was ended by SIGKILL; another one starts" in server.text()


def test_workers_end_with_a_parent_that_is_killed(house: House) -> None:
    with house.serving() as server:
        orphans = workers(server)

        server.process.kill()
        server.process.wait(servers.DEADLINE)

        servers.eventually(gone(orphans), "the workers end")


def test_sockets_of_a_killed_authgate_are_taken_over(house: House) -> None:
    with house.serving() as server:
        orphans = workers(server)
        server.process.kill()
        server.process.wait(servers.DEADLINE)
        servers.eventually(gone(orphans), "the workers end")
    assert all(path.exists() for path in house.sockets)

    with house.serving():
        assert house.rule() == "first"


def test_second_authgate_on_the_same_sockets_is_refused(house: House) -> None:
    with house.serving():
        status, said = house.serve_in_vain()

        assert status == 2
        assert said == (
            f"authgate: authgate.toml: listen.check: another authgate is running on {house.sockets[0]}\n"
            "hint: stop it first\n"
        )
        assert house.rule() == "first"


def test_memory_store_with_several_workers_is_refused(house: House) -> None:
    house.configure(top='store = "memory:"\nworkers = 2')

    status, said = house.serve_in_vain()

    assert status == 2
    assert said.startswith("authgate: authgate.toml: store: ")
    assert not (house.folder / "run").exists()


def test_wrong_users_file_is_reported_once_and_nothing_starts(house: House) -> None:
    (house.folder / "users.htpasswd").write_text("alice:plain\n")
    house.configure(rest='[users]\nhtpasswd = "users.htpasswd"')

    status, said = house.serve_in_vain()

    assert status == 2
    assert said.count('line 1, user "alice"') == 1
    assert "plain\n" not in said
    assert not (house.folder / "run").exists()


def test_store_that_workers_refuse_ends_the_start(house: House) -> None:
    (house.folder / "state").mkdir()
    (house.folder / "state" / "authgate.db").touch(0o644)

    status, said = house.serve_in_vain()

    assert status == 2
    assert "chmod 600" in said
    assert list((house.folder / "run").iterdir()) == []


def test_sighup_puts_a_good_configuration_in_force(house: House) -> None:
    with house.serving() as server:
        before = workers(server)
        house.configure(rules=RULES.format(name="second"))

        reload(server, "configuration reloaded")

        servers.eventually(gone(before), "the old workers end", server)
        assert house.rule() == "second"
        assert len(workers(server)) == 2


def test_sighup_loses_no_running_request(house: House) -> None:
    with house.serving() as server, house.login_under_way() as login:
        reload(server, "configuration reloaded")

        assert login.finish().startswith(b"HTTP/1.1 403 ")


def test_sighup_refuses_nobody_meanwhile(house: House) -> None:
    with house.serving() as server:
        server.process.send_signal(signal.SIGHUP)
        while "configuration reloaded" not in server.text():
            assert house.rule() == "first"
        assert house.rule() == "first"


@pytest.mark.parametrize("broken", ["rules = 7", "[[", None])
def test_sighup_with_a_broken_configuration_changes_nothing(house: House, broken: str | None) -> None:
    with house.serving() as server:
        before = workers(server)
        if broken is None:
            house.config.unlink()
        else:
            house.config.write_text(broken)

        reload(server, STAYS)

        assert workers(server) == before
        assert house.rule() == "first"


def test_sighup_whose_workers_fail_changes_nothing(house: House) -> None:
    with house.serving() as server:
        before = workers(server)
        # Nothing is wrong with the file, yet no worker can run with it.
        (house.folder / "state" / "authgate.db").chmod(0o644)
        house.configure(rules=RULES.format(name="second"))

        reload(server, STAYS)

        servers.eventually(lambda: workers(server) == before, "only the old workers are left", server)
        assert "ended with status 2; " in server.text()
        assert house.rule() == "first"


def test_sighup_can_change_the_number_of_workers(house: House) -> None:
    with house.serving() as server:
        house.configure(top="workers = 1")

        reload(server, "configuration reloaded")

        servers.eventually(lambda: len(workers(server)) == 1, "one worker", server)


def test_sighup_keeps_sockets_and_store_and_says_so(house: House) -> None:
    with house.serving() as server:
        before = workers(server)
        house.configure(
            top='store = "sqlite:other.db"',
            rest='[listen]\ncheck = "unix:run/other.sock"',
            rules=RULES.format(name="second"),
        )

        reload(server, "configuration reloaded")

        servers.eventually(gone(before), "the old workers end", server)
        assert "changed but not in force before the next start: listen.check, store" in server.text()
        assert house.rule() == "second"
        assert not (house.folder / "run" / "other.sock").exists()
        assert not (house.folder / "other.db").exists()


def test_reloads_leave_no_descriptor_and_no_process_behind(house: House) -> None:
    def descriptors() -> int:
        return len(list(Path(f"/proc/{server.process.pid}/fd").iterdir()))

    with house.serving() as server:
        reload(server, "configuration reloaded")
        servers.eventually(lambda: len(workers(server)) == 2, "the old workers end", server)
        before = descriptors()

        for _ in range(5):
            reload(server, "configuration reloaded")

        servers.eventually(lambda: len(workers(server)) == 2, "the old workers end", server)
        servers.eventually(lambda: descriptors() == before, "the pipes are closed", server)


def test_reload_during_a_reload_ends_with_the_last_configuration(house: House) -> None:
    with house.serving() as server:
        for number in range(5):
            house.configure(rules=RULES.format(name=f"r{number}"))
            server.process.send_signal(signal.SIGHUP)

        servers.eventually(lambda: house.rule() == "r4", "the last one decides", server)
        servers.eventually(lambda: len(workers(server)) == 2, "all others end", server)
        assert "Traceback" not in server.text()


def test_worker_killed_while_a_reload_is_prepared_is_no_policy(house: House) -> None:
    (house.folder / "slow.py").write_text(SLOW)
    with house.serving() as server:
        before = workers(server)
        house.configure(rules=RULES.format(name="second").replace('"anyone"', '"handler:slow::asked", "anyone"'))
        server.process.send_signal(signal.SIGHUP)
        servers.eventually(lambda: len(workers(server)) == 4, "new workers prepare themselves", server)

        os.kill(next(pid for pid in workers(server) if pid not in before), signal.SIGKILL)

        servers.eventually(lambda: STAYS in server.text(), "given up", server)
        servers.eventually(lambda: workers(server) == before, "only the old ones are left", server)
        assert house.rule() == "first"


# Figures and health

ALLOWED = 'authgate_decisions_total{credential="none",outcome="allow",reason="allowed"}'


def of_rule(name: str) -> str:
    return f'authgate_rule_decisions_total{{outcome="allow",rule="{name}"}}'


def test_decisions_are_counted_exactly_over_workers_their_deaths_and_reloads(house: House) -> None:
    house.configure(top="workers = 3", rest=API)
    with house.serving() as server:
        for _ in range(30):
            house.rule()
        assert house.figures()[ALLOWED] == 30

        [killed, *_] = workers(server)
        os.kill(killed, signal.SIGKILL)
        servers.eventually(lambda: len(workers(server)) == 3 and killed not in workers(server), "another", server)
        for _ in range(30):
            house.rule()
        assert house.figures()[ALLOWED] == 60

        house.configure(top="workers = 3", rest=API, rules=RULES.format(name="second"))
        reload(server, "configuration reloaded")
        for _ in range(30):
            house.rule()
        figures = house.figures()

    assert (figures[ALLOWED], figures[of_rule("first")], figures[of_rule("second")]) == (90, 60, 30)


def test_figures_never_fall_while_a_reload_is_under_way(house: House) -> None:
    house.configure(rest=API)
    with house.serving() as server:
        asked = 0
        for _ in range(3):
            word = server.text().count("configuration reloaded")
            server.process.send_signal(signal.SIGHUP)
            while server.text().count("configuration reloaded") == word:
                house.rule()
                asked += 1
                assert house.figures()[of_rule("first")] == asked


def test_parent_counts_workers_and_reloads(house: House) -> None:
    house.configure(rest=API)
    with house.serving() as server:
        figures = house.figures()
        assert (figures["authgate_workers_wanted"], figures["authgate_workers_ready"]) == (2, 2)
        assert figures["authgate_worker_ends_total"] == 0

        os.kill(workers(server)[0], signal.SIGKILL)
        servers.eventually(lambda: house.figures()["authgate_worker_ends_total"] == 1, "an end", server)
        servers.eventually(lambda: house.figures()["authgate_workers_ready"] == 2, "another one", server)

        reload(server, "configuration reloaded")
        house.config.write_text("[[")
        reload(server, STAYS)

        def failed() -> bool:
            figures = house.figures()
            counted = [figures[f"authgate_reloads_{how}_total"] for how in ("succeeded", "failed")]
            return (*counted, figures["authgate_last_reload_failed"]) == (1, 1, 1)

        servers.eventually(failed, "both are counted", server)


def test_gauges_of_killed_workers_are_gone(house: House) -> None:
    def following(number: int) -> Callable[[], bool]:
        return lambda: house.figures()["authgate_workers_following"] == number

    house.configure(rest=API)
    with house.serving() as server:
        servers.eventually(following(2), "both follow", server)
        before = workers(server)
        with house.login_under_way():
            reload(server, "configuration reloaded")
            servers.eventually(following(3), "one of the old workers is still there", server)

            [old] = [pid for pid in before if pid in workers(server)]
            os.kill(old, signal.SIGKILL)

            servers.eventually(following(2), "nothing is left of it", server)


def test_wrong_passwords_are_counted(house: House) -> None:
    hashed = "alice:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=\n"  # "password"
    (house.folder / "users.htpasswd").write_text(hashed)
    (house.folder / "users.htpasswd").chmod(0o600)
    rules = RULES.format(name="first").replace("anyone", "user:alice")
    house.configure(rest=f'[users]\nhtpasswd = "users.htpasswd"\n{API}', rules=rules)
    with house.serving() as server:
        for password in ("wrong", "password"):
            house.ask(f"alice:{password}")

        def published() -> bool:
            figures = house.figures()
            return (figures["authgate_password_verifications_total"], figures["authgate_password_wrong_total"]) == (
                2,
                1,
            )

        servers.eventually(published, "both are published", server)
        figures = house.figures()
        assert figures['authgate_decisions_total{credential="basic",outcome="login",reason="bad_credential"}'] == 1
        assert figures["authgate_decision_wait_seconds_count"] == 2


def test_without_the_listener_there_is_no_socket(house: House) -> None:
    with house.serving():
        assert {path.name for path in (house.folder / "run").glob("*.sock")} == {"check.sock", "web.sock"}


def test_api_keeps_no_connection_and_answers_nothing_else(house: House) -> None:
    house.configure(rest=API)
    with house.serving():
        assert house.api("/healthz").headers["connection"] == "close"
        assert [house.api(path).status_code for path in ("/healthz", "/readyz", "/check")] == [200, 200, 404]
        assert house.api("/metrics", "POST").status_code == 405
        assert stat.S_IMODE((house.folder / "run" / "api.sock").stat().st_mode) == 0o660


def test_failed_reload_is_a_problem_and_no_reason_to_be_unready(house: House) -> None:
    (house.folder / "users.htpasswd").write_text("alice:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=\n")
    house.configure(rest=f'{API}[users]\nhtpasswd = "users.htpasswd"\n')
    with house.serving() as server:
        good = house.token("--api", "manage")
        assert house.api("/readyz").json() == {"ready": True}
        assert house.api("/readyz", token=good).json() == {"ready": True, "problems": []}
        assert house.api("/metrics", token=good).status_code == 403
        house.config.write_text("rules = 7")
        reload(server, STAYS)

        servers.eventually(lambda: house.api("/readyz", token=good).json()["problems"], "the problem is said", server)

        answer = house.api("/readyz", token=good)
        assert (answer.status_code, answer.json()["ready"]) == (200, True)
        [problem] = answer.json()["problems"]
        assert problem.startswith("the last reload failed, and the policy before it stays in force: authgate.toml: ")


def test_unreachable_store_makes_unready(house: House) -> None:
    house.configure(top="workers = 1", rest=API)
    with house.serving() as server:
        (house.folder / "state").rename(house.folder / "away")

        servers.eventually(lambda: house.api("/readyz").status_code == 503, "the worker notices", server)

        assert house.api("/readyz").json()["ready"] is False
        assert house.api("/healthz").status_code == 200
        (house.folder / "away").rename(house.folder / "state")
        servers.eventually(lambda: house.api("/readyz").status_code == 200, "it has it again", server)


def test_listener_of_figures_stays_as_it_was_at_the_start(house: House) -> None:
    with house.serving() as server:
        house.configure(rest=API)

        reload(server, "configuration reloaded")

        assert "not in force before the next start: listen.api" in server.text()
        assert not (house.folder / "run" / "api.sock").exists()


# The audit


def test_sigusr1_makes_workers_open_their_audit_again(house: House) -> None:
    log, rotated = house.folder / "state" / "audit.log", house.folder / "state" / "audit.log.1"
    (house.folder / "state").mkdir()
    house.configure(rest=f'[audit]\nfile = "{log}"', rules=RULES.format(name="first").replace("allow", "deny"))
    with house.serving() as server:
        before = workers(server)
        house.rule()
        servers.eventually(lambda: log.exists() and log.read_text(), "a line is written", server)

        log.rename(rotated)
        server.process.send_signal(signal.SIGUSR1)

        # Whichever worker is asked, none may go on with the old file.
        servers.eventually(lambda: house.rule() and log.exists() and log.read_text(), "a new file", server)
        for _ in range(20):
            house.rule()
        servers.eventually(lambda: log.read_text().count("\n") >= 20, "all lines are in it", server)
        assert workers(server) == before


def test_worker_that_prepares_itself_opens_its_audit_again_as_well(house: House) -> None:
    log, rotated = house.folder / "state" / "audit.log", house.folder / "state" / "audit.log.1"
    (house.folder / "state").mkdir()
    (house.folder / "slow.py").write_text(SLOW)
    refusing = RULES.format(name="first").replace("allow", "deny")
    audit = f'[audit]\nfile = "{log}"'
    house.configure(rest=audit, rules=refusing)
    with house.serving() as server:
        house.configure(rest=audit, rules=refusing.replace('"anyone"', '"handler:slow::asked", "anyone"'))
        server.process.send_signal(signal.SIGHUP)
        servers.eventually(lambda: len(list(house.folder.glob("begun-*"))) == 2, "two prepare themselves", server)

        log.rename(rotated)
        server.process.send_signal(signal.SIGUSR1)
        (house.folder / "go").touch()
        servers.eventually(lambda: "configuration reloaded" in server.text(), "they serve", server)

        servers.eventually(lambda: house.rule() and log.exists() and log.read_text(), "a new file", server)
        old = rotated.read_text()
        for _ in range(20):
            house.rule()
        servers.eventually(lambda: log.read_text().count("\n") >= 20, "all lines are in it", server)
        assert rotated.read_text() == old
