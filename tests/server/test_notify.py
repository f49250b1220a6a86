"""What systemd hears."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from authgate.server.notify import notify, notify_stopping
from authgate.server.status import State
from tests import servers


@pytest.fixture
def systemd(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    with servers.open_folder() as folder, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(folder / "notify"))
        listening.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(folder / "notify"))
        yield listening


@pytest.mark.parametrize(
    ("state", "message", "heard"),
    [
        (State.STARTING, "0 of 2 workers are ready", "STATUS=0 of 2 workers are ready"),
        (State.RUNNING, "", "READY=1\nSTATUS=running"),
        (State.RELOADING, "reading the configuration", "RELOADING=1\nSTATUS=reading the configuration"),
        (State.FAILED, "", "READY=1\nSTATUS=failed"),
    ],
)
def test_systemd_hears_the_state(systemd: socket.socket, state: State, message: str, heard: str) -> None:
    notify(state, message)

    assert systemd.recv(4096).decode() == heard


def test_systemd_hears_of_the_end(systemd: socket.socket) -> None:
    notify_stopping()

    assert systemd.recv(4096) == b"STOPPING=1"


def test_abstract_address_is_heard(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    name = f"authgate-test-{tmp_path}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(f"\0{name}")
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")

        notify_stopping()

        assert listening.recv(4096) == b"STOPPING=1"


@pytest.mark.parametrize("address", ["", "/nowhere/at/all", "relative", "/" + "x" * 200])
def test_nobody_who_listens_is_no_reason_to_end(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", address)

    notify(State.RUNNING, "")


def test_service_says_when_it_is_ready_and_when_it_ends(systemd: socket.socket) -> None:
    with servers.open_folder() as folder:
        config = folder / "authgate.toml"
        config.write_text('[[sites]]\norigin = "http://localhost"\n')
        with servers.authgate(config):
            pass

    said = []
    while True:
        try:
            said += systemd.recv(4096).decode().splitlines()
        except BlockingIOError:
            break
    assert [line for line in said if not line.startswith("STATUS=")] == ["READY=1", "STOPPING=1"]
