"""`authgate demo`: how it starts and ends. What it serves is in `tests/deploy/test_demo.py`."""

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

from authgate.cli.demo import demo
from tests import servers

WITHOUT_NGINX = "import shutil; shutil.which = lambda *_, **__: None; from authgate.cli import main; main(['demo', {}])"


@contextmanager
def running(command: list[str], output: Path) -> Iterator[servers.Server]:
    with servers.child([sys.executable, *command], output) as server:
        servers.eventually(lambda: "authgate: ready http://127.0.0.1:" in server.text(), "ready", server)
        yield server


def is_running(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def folder_of(server: servers.Server) -> Path:
    found = re.search(r"(\S+/authgate-demo-\S+)", server.text())
    assert found
    return Path(found[1])


def test_port_that_is_taken_is_said_and_nothing_is_left() -> None:
    before = set(Path(tempfile.gettempdir()).glob("authgate-demo-*"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        result = CliRunner().invoke(demo, ["--port", str(port)])

    assert result.exit_code == 1
    assert result.stderr == f"authgate: port {port}: address already in use\nhint: choose another with --port\n"
    assert set(Path(tempfile.gettempdir()).glob("authgate-demo-*")) <= before


def test_nginx_that_dies_ends_the_demonstration(tmp_path: Path) -> None:
    servers.require("nginx")
    with running(["-m", "authgate", "demo", "--port", str(servers.free_port())], tmp_path / "output") as server:
        folder, family = folder_of(server), server.family()
        workers = [child for pid in family for child in servers.children(pid)]
        nginx = int((folder / "logs" / "nginx.pid").read_text())

        os.kill(nginx, signal.SIGKILL)

        assert server.process.wait(servers.DEADLINE) == 1
        assert server.text().endswith("authgate: nginx has ended with status -9, and so does the demonstration\n")
        assert not folder.exists()
        # What has lost its parent is reaped by init, in its own time.
        servers.eventually(lambda: not any(map(is_running, (*family, *workers))), "all processes end")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_ends_it_and_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    servers.require("nginx")
    with running(["-m", "authgate", "demo", "--port", str(servers.free_port())], tmp_path / "output") as server:
        folder = folder_of(server)

        server.process.send_signal(number)

        assert server.process.wait(servers.DEADLINE) == 0
        assert server.text().endswith("authgate: stopped\n")
        assert not folder.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_without_nginx_it_says_so_and_serves(tmp_path: Path, number: signal.Signals) -> None:
    port = servers.free_port()
    with running(["-c", WITHOUT_NGINX.format(f"'--port={port}'")], tmp_path / "output") as server:
        assert "authgate: development only: " in server.text()
        folder = folder_of(server)
        fetched = subprocess.check_output(
            [sys.executable, "-c", f"import urllib.request as u; print(u.urlopen('http://127.0.0.1:{port}/').read())"]
        )
        assert b"Development only" in fetched

        server.process.send_signal(number)

        assert server.process.wait(servers.DEADLINE) == 0
        assert server.text().endswith("authgate: stopped\n")
        assert not folder.exists()
