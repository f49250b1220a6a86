"""The two files beside the check socket."""

import os
import stat
from pathlib import Path

import pytest

from authgate.server.status import (
    State,
    Status,
    pid_file,
    read_pid,
    read_status,
    remove,
    status_file,
    write_pid,
    write_status,
)


@pytest.fixture
def check(tmp_path: Path) -> Path:
    return tmp_path / "check.sock"


def status(**changed: object) -> Status:
    usual = {"pid": os.getpid(), "state": State.RUNNING, "version": "0123456789ab", "rules": 7, "begun": 2}
    more = {"finished": 2, "message": "", "failure": "", "note": "", "when": 1.5}
    return Status.model_validate({**usual, **more, **changed})


def test_what_was_written_is_read(check: Path) -> None:
    assert (read_pid(check), read_status(check)) == (None, None)

    write_pid(check)
    write_status(check, status())
    write_status(check, status(state=State.FAILED, failure="a\nb"))

    assert read_pid(check) == os.getpid()
    assert read_status(check) == status(state=State.FAILED, failure="a\nb")


def test_files_are_for_everybody_to_read_whatever_the_umask(check: Path) -> None:
    umask = os.umask(0o077)
    try:
        write_pid(check)
        write_status(check, status())
    finally:
        os.umask(umask)

    assert [stat.S_IMODE(path.stat().st_mode) for path in (pid_file(check), status_file(check))] == [0o644, 0o644]


def test_nothing_is_written_through_a_link(check: Path, tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.write_text("precious")
    for path in (pid_file(check), pid_file(check).with_name("authgate.pid.new")):
        path.symlink_to(target)

    write_pid(check)

    assert target.read_text() == "precious"
    assert read_pid(check) == os.getpid()
    assert not pid_file(check).is_symlink()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b'{"pid": 7}', b'{"pid": "7"}'])
def test_status_that_makes_no_sense_is_none(check: Path, content: bytes) -> None:
    status_file(check).write_bytes(content)

    assert read_status(check) is None


def test_files_of_another_process_are_left_alone(check: Path) -> None:
    write_pid(check)
    write_status(check, status())
    pid_file(check).write_text(f"{os.getpid() + 1}\n")

    remove(check)
    assert pid_file(check).exists()
    assert status_file(check).exists()

    write_pid(check)
    remove(check)
    remove(check)
    assert list(check.parent.iterdir()) == []
