"""The audit never makes anybody wait, and says what it lost."""

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from authgate.observe import trail as module
from authgate.observe.sink import Sink
from authgate.observe.trail import Trail
from tests.servers import eventually


@contextmanager
def open_trail(path: Path) -> Iterator[Trail[int]]:
    trail = Trail[int](Sink(path), lambda entry: f"{entry}\n", lambda count: f"dropped {count}\n")
    try:
        yield trail
    finally:
        trail.close()


def wait_for(trail: Trail[int], written: int = 0, dropped: int = 0) -> None:
    eventually(lambda: (trail.written, trail.dropped) == (written, dropped), "the entry is written or dropped")


@pytest.fixture
def others() -> frozenset[threading.Thread]:
    """Give the threads of other tests' services, which may still run in this process."""
    return frozenset(threading.enumerate())


def audit_threads(others: frozenset[threading.Thread]) -> int:
    return sum(thread.name == "audit" and thread not in others for thread in threading.enumerate())


def test_entries_are_written_in_order_and_all_of_them_at_the_end(
    tmp_path: Path, others: frozenset[threading.Thread]
) -> None:
    with open_trail(tmp_path / "file") as trail:
        for entry in range(1000):
            trail.put(entry)

    assert (tmp_path / "file").read_text() == "".join(f"{entry}\n" for entry in range(1000))
    assert (trail.written, trail.dropped, audit_threads(others)) == (1000, 0, 0)


def test_entry_after_a_rest_is_written_without_another(tmp_path: Path) -> None:
    with open_trail(tmp_path / "file") as trail:
        for entry in range(3):
            trail.put(entry)
            wait_for(trail, written=entry + 1)


def test_what_cannot_be_written_is_counted_and_said_later(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "folder"
    with caplog.at_level(logging.WARNING, "authgate"), open_trail(folder / "file") as trail:
        (folder / "file").unlink()
        folder.rmdir()
        for entry in range(3):
            trail.put(entry)
            wait_for(trail, dropped=entry + 1)
        folder.mkdir()
        trail.put(3)

    assert (folder / "file").read_text() == "dropped 3\n3\n"
    assert (trail.written, trail.dropped) == (1, 3)
    assert caplog.messages == ["the audit cannot be written: no such file or directory; what is lost is counted"]


def test_full_disk_is_survived(caplog: pytest.LogCaptureFixture) -> None:
    with open_trail(Path("/dev/full")) as trail:
        for entry in range(200):
            trail.put(entry)

    assert (trail.written, trail.dropped) == (0, 200)
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_reader_that_does_not_read_stops_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, others: frozenset[threading.Thread]
) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 100)
    monkeypatch.setattr(module, "_CLOSE", 0.05)
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    with open_trail(tmp_path / "pipe") as trail:
        entry = 0
        while not trail.dropped:  # until the pipe is full and then the queue
            trail.put(entry)
            entry += 1
    assert trail.dropped == 1

    # Whoever reads at last finds all that was not dropped.
    os.set_blocking(reader, True)
    text = b""
    while piece := os.read(reader, 1 << 16):
        text += piece
    os.close(reader)
    lines = text.decode().splitlines()
    assert [line for line in lines if not line.startswith("dropped")] == [str(number) for number in range(entry - 1)]
    assert "dropped 1" in lines
    eventually(lambda: not audit_threads(others), "the thread ends")


def test_file_that_cannot_be_opened_again_is_used_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "file"
    with open_trail(file) as trail:
        file.rename(tmp_path / "old")
        file.mkdir()
        trail.reopen()
        eventually(lambda: caplog.messages, "it is said")
        trail.put(1)

    assert (tmp_path / "old").read_text() == "1\n"
    assert caplog.messages == ["the audit file cannot be opened again: is a directory; the old one is used on"]
