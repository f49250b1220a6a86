"""`authgate serve` as an operator sees it; what it does with processes is in `tests/server`."""

import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

from click.testing import CliRunner

from authgate.cli.explain import explain
from authgate.cli.serve import serve
from tests import servers


def test_refused_configuration_ends_with_2(tmp_path: Path) -> None:
    config = tmp_path / "authgate.toml"
    config.write_text("")

    result = CliRunner().invoke(serve, ["--config", str(config)])

    assert result.exit_code == 2
    assert result.stderr.startswith("authgate: authgate.toml: sites: ")


def test_client_that_talks_nonsense_gets_no_traceback() -> None:
    with servers.open_folder() as folder:
        config = folder / "authgate.toml"
        config.write_text('[[sites]]\norigin = "http://localhost"\n')
        with servers.authgate(config) as server, socket.socket(socket.AF_UNIX) as client:
            client.settimeout(servers.DEADLINE)
            client.connect(str(folder / "run" / "check.sock"))
            client.sendall(b"\x16\x03\x01 no http\r\n\r\n")
            answer = client.recv(4096)

            assert answer.startswith(b"HTTP/1.1 400 ")
            assert b"Traceback" not in answer
            assert "Traceback" not in server.text()
            assert all(line.startswith("authgate: ") for line in server.text().splitlines())


def test_answers_name_no_server_software() -> None:
    with servers.open_folder() as folder:
        config = folder / "authgate.toml"
        config.write_text('[[sites]]\norigin = "http://localhost"\n')
        with servers.authgate(config), socket.socket(socket.AF_UNIX) as client:
            client.settimeout(servers.DEADLINE)
            client.connect(str(folder / "run" / "check.sock"))
            client.sendall(b"GET /check HTTP/1.1\r\nHost: x\r\n\r\n")
            answer = client.recv(4096).lower()

            assert answer.startswith(b"http/1.1 403 ")
            assert b"\r\nserver:" not in answer
            # nginx sets its own.
            assert b"\r\ndate:" not in answer


CONFIG = """\
node = "n1"
[[sites]]
origin = "http://localhost"
[audit]
file = "audit.jsonl"
[[rules]]
name = "reports"
paths = ["/**"]
allow = ["ip:10.0.0.0/8"]
"""


def asked(check: Path, *headers: str) -> dict[str, str]:
    """Ask as nginx would and return the headers of the answer, in lower case."""
    lines = ["GET /check HTTP/1.1", "Host: authgate", "Connection: close", "X-Authgate-Path: /q3 \u00e4.pdf",
             "X-Authgate-Method: GET", "X-Authgate-Host: localhost", "X-Authgate-Scheme: http",
             "X-Authgate-Client: 192.0.2.1", *headers]  # fmt: skip
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(servers.DEADLINE)
        client.connect(str(check))
        client.sendall("\r\n".join([*lines, "", ""]).encode())
        answer = b"".join(iter(lambda: client.recv(4096), b"")).decode()
    head = answer.partition("\r\n\r\n")[0].splitlines()[1:]
    return {name.lower(): value for name, _, value in (line.partition(": ") for line in head)}


def test_refusal_is_explained_by_the_id_of_its_answer() -> None:
    with servers.open_folder() as folder:
        config, file = folder / "authgate.toml", folder / "audit.jsonl"
        config.write_text(CONFIG)
        with servers.authgate(config):
            decision = asked(folder / "run" / "check.sock", "Cookie: authgate=s3cret")["x-authgate-decision"]
            servers.eventually(lambda: decision in file.read_text(), "the refusal is in the audit")

            result = CliRunner().invoke(explain, [decision, "--config", str(config)])
        text = file.read_text()

    assert decision.startswith("n1-")
    assert result.exit_code == 1
    assert "GET http://localhost/q3 ä.pdf\n" in result.stdout
    assert "missing: 192.0.2.1 is not in 10.0.0.0/8\n" in result.stdout
    assert "note:" not in result.stdout
    assert "s3cret" not in text


def test_what_waits_is_written_before_the_end() -> None:
    with servers.open_folder() as folder:
        (folder / "authgate.toml").write_text(CONFIG)
        with servers.authgate(folder / "authgate.toml"):
            ids = [asked(folder / "run" / "check.sock")["x-authgate-decision"] for _ in range(20)]
        text = (folder / "audit.jsonl").read_text()

    assert all(one in text for one in ids)


def test_every_worker_writes_whole_lines() -> None:
    with servers.open_folder() as folder:
        (folder / "authgate.toml").write_text(CONFIG.replace('file = "audit.jsonl"', ""))
        with servers.authgate(folder / "authgate.toml") as server:
            ids = [asked(folder / "run" / "check.sock")["x-authgate-decision"] for _ in range(40)]
            servers.eventually(lambda: all(one in server.text() for one in ids), "all is on stderr")
            lines = [line for line in server.text().splitlines() if not line.startswith("authgate: ")]

    assert sorted(json.loads(line)["id"] for line in lines) == sorted(ids)


def test_audit_file_that_cannot_be_opened_ends_with_2() -> None:
    with servers.open_folder() as folder:
        config = folder / "authgate.toml"
        config.write_text(CONFIG)
        (folder / "audit.jsonl").mkdir()
        command = [sys.executable, "-m", "authgate", "serve", "--config", str(config)]

        done = subprocess.run(command, cwd=servers.PACKAGE_ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 2
    assert "authgate.toml: audit.file: cannot open" in done.stderr
    assert "Traceback" not in done.stderr


def test_log_requests_shows_questions_and_answers_also_after_a_reload() -> None:
    with servers.open_folder() as folder:
        config, check = folder / "authgate.toml", folder / "run" / "check.sock"
        config.write_text(CONFIG)
        command = [sys.executable, "-m", "authgate", "serve", "--log-requests", "--config", str(config)]
        with servers.child(command, config.with_suffix(".log")) as server:
            servers.eventually(lambda: "authgate: ready" in server.text(), "authgate serves", server)
            asked(check, "Cookie: authgate=s3cret", "Authorization: Basic s3cret", "X-Authgate-Query: ag=s3cret")
            servers.eventually(lambda: "answered: 403" in server.text(), "the question is logged", server)
            config.write_text(f"{CONFIG}# changed\n")
            server.process.send_signal(signal.SIGHUP)
            servers.eventually(lambda: "reloaded" in server.text(), "the policy is reloaded", server)
            asked(check, "Cookie: authgate=s3cret")
            servers.eventually(lambda: server.text().count("answered: 403") == 2, "it goes on", server)
            text = server.text()

    assert "authgate: asked: GET /check\n" in text
    assert "  X-Authgate-Path: /q3 ä.pdf\n" in text
    assert "  Authorization: Basic ***\n" in text
    assert "  X-Authgate-Reason: not_admitted\n" in text
    assert "s3cret" not in text


def test_questions_are_not_logged_unless_asked_for() -> None:
    with servers.open_folder() as folder:
        (folder / "authgate.toml").write_text(CONFIG)
        with servers.authgate(folder / "authgate.toml") as server:
            asked(folder / "run" / "check.sock")

            text = server.text()

    assert "asked:" not in text


def test_moved_audit_file_is_left_at_sigusr1() -> None:
    with servers.open_folder() as folder:
        config, check, file = folder / "authgate.toml", folder / "run" / "check.sock", folder / "audit.jsonl"
        config.write_text(CONFIG)
        with servers.authgate(config) as server:
            asked(check)
            servers.eventually(file.read_text, "a line in the file", server)
            file.rename(folder / "audit.jsonl.1")
            server.process.send_signal(signal.SIGUSR1)
            servers.eventually(file.exists, "the file is made again", server)
            # One worker made it; the other may still write to the former one for a moment.
            ids = [asked(check)["x-authgate-decision"] for _ in range(10)]
        old = (folder / "audit.jsonl.1").read_text()

        for one in ids:
            result = CliRunner().invoke(explain, [one, "--config", str(config)])
            assert "REFUSE: not_admitted" in result.stdout

    assert old
