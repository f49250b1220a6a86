"""`authgate reload` on a real service; what nginx sees of it is in tests/deploy/test_reload.py."""

import json
import os
import signal
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from authgate.cli.reload import reload
from authgate.config import load
from authgate.server.status import pid_file, read_pid, read_status, status_file
from tests import servers
from tests.server.test_supervisor import RULES, House

STAYS = "authgate: the configuration was not reloaded; the one before stays in force"


@pytest.fixture
def house() -> Iterator[House]:
    with servers.open_folder() as folder:
        made = House(folder)
        made.configure()
        yield made


def run(house: House) -> Result:
    return CliRunner().invoke(reload, ["--config", str(house.config)])


def version(house: House) -> str:
    return load(house.config).version


def test_changed_rules_are_in_force_when_it_ends(house: House) -> None:
    with house.serving() as server:
        for name in ("second", "third", "fourth"):
            house.configure(rules=RULES.format(name=name))

            result = run(house)

            assert house.rule() == name
            assert (result.exit_code, result.stderr) == (0, "")
            assert result.stdout == f"reloaded: {version(house)} (1 rule)\n"
            assert f"authgate: configuration reloaded: {version(house)} (1 rules)\n" in server.text()


def test_unchanged_configuration_starts_new_workers_all_the_same(house: House) -> None:
    """Handlers are code that is imported anew; it is no part of the version."""
    with house.serving() as server:
        before = servers.children(server.process.pid)

        assert run(house).exit_code == 0

        servers.eventually(lambda: not set(before) & set(servers.children(server.process.pid)), "all new", server)


def test_broken_file_is_reported_and_the_service_not_even_asked(house: House) -> None:
    with house.serving() as server:
        house.config.write_text("rules = 7\n[session]\nidle_timeout = 1\n")

        result = run(house)

        assert result.exit_code == 1
        assert "authgate: authgate.toml: session.idle_timeout: " in result.stderr
        assert "authgate: authgate.toml: rules: " in result.stderr
        assert house.rule() == "first"
        assert server.text() == "authgate: ready\n"


def test_vanished_file_is_reported(house: House) -> None:
    with house.serving():
        house.config.unlink()

        result = run(house)

        assert result.exit_code == 1
        assert "no such file or directory" in result.stderr
        assert house.rule() == "first"


def test_wrong_user_file_is_reported(house: House) -> None:
    with house.serving():
        (house.folder / "users.htpasswd").write_text("alice:plain\n")
        house.configure(rest='[users]\nhtpasswd = "users.htpasswd"')

        result = run(house)

        assert result.exit_code == 1
        assert 'line 1, user "alice"' in result.stderr
        assert house.rule() == "first"


def test_what_workers_refuse_is_reported_in_their_words(house: House) -> None:
    with house.serving() as server:
        (house.folder / "state" / "authgate.db").chmod(0o644)
        house.configure(rules=RULES.format(name="second"))

        result = run(house)

        assert result.exit_code == 1
        assert "chmod 600" in result.stderr
        assert STAYS in result.stderr
        assert house.rule() == "first"
        status = read_status(house.sockets[0])
        assert status is not None
        assert (status.state, status.begun, status.finished) == ("failed", 1, 1)
        assert "chmod 600" in status.failure
        assert "the one before stays in force" in server.text()


def test_policy_that_one_worker_refuses_has_decided_nothing(house: House) -> None:
    """The first worker of a new policy could serve it for as long as the second takes to fail."""
    (house.folder / "pair.py").write_text(
        "import asyncio\nfrom pathlib import Path\n"
        "async def setup():\n"
        "    try:\n"
        f"        Path({str(house.folder / 'first')!r}).touch(exist_ok=False)\n"
        "    except FileExistsError:\n"
        "        await asyncio.sleep(0.5)\n"
        "        raise RuntimeError('only one connection') from None\n"
        "def asked(request):\n    return None\n"
    )
    second = RULES.format(name="second").replace('"anyone"', '"handler:pair::asked", "anyone"')
    with house.serving() as server:
        house.configure(rules=second)
        server.process.send_signal(signal.SIGHUP)
        while "stays in force" not in server.text():
            assert house.rule() == "first"

        assert "setup() failed: RuntimeError: only one connection" in server.text()


def test_after_a_failure_the_next_good_one_is_taken(house: House) -> None:
    with house.serving() as server:
        house.config.write_text("[[")
        server.process.send_signal(signal.SIGHUP)
        servers.eventually(lambda: "stays in force" in server.text(), "refused", server)
        house.configure(rules=RULES.format(name="second"))

        assert run(house).exit_code == 0

        assert house.rule() == "second"
        status = read_status(house.sockets[0])
        assert status is not None
        assert (status.state, status.failure, status.version) == ("running", "", version(house))


def test_changed_sockets_and_store_are_named(house: House) -> None:
    with house.serving():
        house.configure(
            top='store = "sqlite:other.db"',
            rest='[listen]\nweb = "unix:run/other.sock"',
            rules=RULES.format(name="second"),
        )

        result = run(house)

        assert result.exit_code == 0
        assert result.stderr == "authgate: changed but not in force before the next start: listen.web, store\n"
        assert house.rule() == "second"


def test_changed_check_socket_is_another_service(house: House) -> None:
    with house.serving():
        house.configure(rest='[listen]\ncheck = "unix:run/other.sock"')

        result = run(house)

        assert result.exit_code == 1
        assert f"nothing answers on {house.folder}/run/other.sock" in result.stderr
        assert "if listen.check was changed" in result.stderr


def test_without_a_service_it_fails(house: House) -> None:
    result = run(house)

    assert result.exit_code == 1
    assert result.stderr.startswith("authgate: authgate does not run: nothing answers on ")


def test_files_of_a_killed_service_are_not_believed(house: House) -> None:
    with house.serving() as server:
        left = servers.children(server.process.pid)
        server.process.kill()
        server.process.wait(servers.DEADLINE)
        servers.eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in left), "the workers end")
    assert read_pid(house.sockets[0]) == server.process.pid

    assert run(house).exit_code == 1

    with house.serving() as again:
        assert read_pid(house.sockets[0]) == again.process.pid
        assert run(house).exit_code == 0


@pytest.mark.parametrize("text", ["", "0", "1", "-1", "x\n", "²", "99999999999"])
def test_pid_file_that_names_nobody_is_an_error(house: House, text: str) -> None:
    with house.serving():
        pid_file(house.sockets[0]).write_text(text)

        result = run(house)

        assert result.exit_code == 1
        assert "does not name the process" in result.stderr


def test_pid_file_that_names_somebody_else_signals_nobody(house: House) -> None:
    with house.serving(), servers.child(["sleep", "60"], house.folder / "sleep.log") as other:
        pid_file(house.sockets[0]).write_text(f"{other.process.pid}\n")

        result = run(house)

        assert result.exit_code == 1
        assert f"does not say what process {other.process.pid} is doing" in result.stderr
        assert other.process.poll() is None


def test_service_that_does_not_get_there_is_an_error(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("authgate.cli.reload.LIMIT", 0.3)
    with house.serving() as server:
        os.kill(server.process.pid, signal.SIGSTOP)
        try:
            result = run(house)
        finally:
            os.kill(server.process.pid, signal.SIGCONT)

        assert result.exit_code == 1
        assert "authgate: not in force in every worker after 0 s" in result.stderr


def test_files_are_readable_by_all_and_go_with_the_service(house: House) -> None:
    with house.serving() as server:
        files = [pid_file(house.sockets[0]), status_file(house.sockets[0])]
        assert [stat.S_IMODE(path.stat().st_mode) for path in files] == [0o644, 0o644]
        assert files[0].read_text() == f"{server.process.pid}\n"
        said = json.loads(files[1].read_text())
        assert (said["pid"], said["state"], said["rules"]) == (server.process.pid, "running", 1)
        assert said["version"] == version(house)

        assert server.stop() == 0
        assert not any(path.exists() for path in files)
