"""`authgate serve` as an operator sees it; what it does with processes is in `tests/server`."""

import socket
from pathlib import Path

from click.testing import CliRunner

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
