"""Who serves and what it is doing, in two files beside the check socket: for `authgate reload` and for monitoring."""

import os
from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

_MAX_SIZE = 1 << 20


class State(StrEnum):
    """What the service is doing."""

    STARTING = "starting"
    RUNNING = "running"
    RELOADING = "reloading"
    FAILED = "failed"


class Status(BaseModel):
    """What the parent says about itself.

    Args:
        state: FAILED: it runs, but the last reload came to nothing.
        version: of the configuration in force.
        rules: how many it has.
        begun: reloads that have begun since the start. Each reads the files after it has begun.
        finished: the number of the last reload that came to its end, whatever it was.
        message: what it is doing, for a person; empty when it just runs.
        failure: why the last reload that is over came to nothing, lines for a person; empty when it did not.
        note: what of the configuration is not in force before the next start; may be empty.
        when: seconds since the epoch, of the last change of anything here.
    """

    model_config = ConfigDict(frozen=True, strict=True)

    pid: int
    state: State
    version: str
    rules: int
    begun: int
    finished: int
    message: str
    failure: str
    note: str
    when: float


def pid_file(check_socket: Path) -> Path:
    """Return the file that holds the process id of the parent that serves `check_socket`."""
    return check_socket.with_name("authgate.pid")


def status_file(check_socket: Path) -> Path:
    """Return the file that holds its `Status`."""
    return check_socket.with_name("authgate.status")


def write_pid(check_socket: Path) -> None:
    """Say that this process serves.

    Raises:
        OSError: the file cannot be written.
    """
    _write(pid_file(check_socket), f"{os.getpid()}\n")


def write_status(check_socket: Path, status: Status) -> None:
    """Say what this process is doing.

    Raises:
        OSError: the file cannot be written.
    """
    _write(status_file(check_socket), status.model_dump_json() + "\n")


def read_pid(check_socket: Path) -> int | None:
    """Return whom the pid file names; None when there is none or it names nobody. A file proves nothing by itself."""
    text = _read(pid_file(check_socket)).removesuffix("\n")
    # 0 and 1 and negative numbers are not one process, or not one of ours, to os.kill.
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 10 and int(text) > 1 else None


def read_status(check_socket: Path) -> Status | None:
    """Return what the parent said last; None when it said nothing that can be understood."""
    try:
        return Status.model_validate_json(_read(status_file(check_socket)))
    except ValidationError:
        return None


def remove(check_socket: Path) -> None:
    """Take both files away, unless another process has put its own there meanwhile."""
    if read_pid(check_socket) == os.getpid():
        for path in (status_file(check_socket), pid_file(check_socket)):
            path.unlink(missing_ok=True)


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_SIZE).decode("utf-8", "replace")
    except OSError:
        return ""


def _write(path: Path, content: str) -> None:
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    # x: not through a link that somebody has put there.
    with new.open("x", encoding="utf-8") as file:
        os.fchmod(file.fileno(), 0o644)
        file.write(content)
    # Whole or not at all, for whoever reads at this moment.
    new.replace(path)
