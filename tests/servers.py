"""Real servers for tests: nginx and ``authgate serve``, each in a folder of its own, stopped by process id."""

import grp
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest

# Only a broken machine needs so long; it is how long a broken test waits.
DEADLINE = 20.0

PACKAGE_ROOT = Path(__file__).parent.parent


@dataclass(slots=True)
class Server:
    """A running child process.

    Args:
        output: what it printed, and for nginx its error log.
    """

    process: subprocess.Popen[bytes]
    output: Path

    def text(self) -> str:
        """Return what it has said so far."""
        return self.output.read_text(encoding="utf-8", errors="replace")

    def family(self) -> list[int]:
        """Return its process id and those of its children."""
        pid = self.process.pid
        return [pid, *children(pid)]

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process and its children."""
        for pid in self.family():
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def stop(self) -> int:
        """End the process as an operator would and return its exit status."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            return self.process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            self.signal(signal.SIGKILL)
            self.process.wait(DEADLINE)
            pytest.fail(f"{self.process.args!r} did not stop:\n{self.text()}")


def children(pid: int) -> list[int]:
    """Return the process ids of a process's children."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def eventually(true: Callable[[], object], what: str, server: Server | None = None) -> None:
    """Wait until `true()`; fail when that does not come about."""
    end = time.monotonic() + DEADLINE
    while not true():
        if time.monotonic() > end or (server is not None and server.process.poll() is not None):
            pytest.fail(f"{what}: did not happen\n{server.text() if server else ''}")
        time.sleep(0.01)


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def open_folder() -> Iterator[Path]:
    """Give a short-named folder that nginx's workers may enter: socket paths are limited to 100 bytes."""
    folder = Path(tempfile.mkdtemp(prefix="ag-", dir="/tmp"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def make_file(path: bytes, content: bytes) -> None:
    """Write a file whose name may be any bytes."""
    os.makedirs(os.path.dirname(path), exist_ok=True)  # noqa: PTH103, PTH120 - a Path holds text
    with open(path, "wb") as stream:  # noqa: PTH123
        stream.write(content)


def require(program: str) -> str:
    """Return the path of a program; without it skip the test, or fail it where everything has to be there."""
    found = shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin")
    return lacking(f"{program} is not installed") if found is None else found


def lacking(what: str) -> NoReturn:
    """Skip the test because something is not there, or fail it where everything has to be there."""
    (pytest.fail if os.environ.get("CI") else pytest.skip)(what)
    raise AssertionError("unreachable")


def nginx_group() -> str | None:
    """Return the group that nginx's workers have when it is started by root; None when it is not."""
    if os.geteuid() != 0:
        return None
    known = {entry.gr_name for entry in grp.getgrall()}
    return next(name for name in ("www-data", "nginx", "nogroup", "nobody") if name in known)


@contextmanager
def nginx(folder: Path, http: str, port: int) -> Iterator[Server]:
    """Run nginx with `http` as the content of its http block, until it answers on `port`."""
    program = require("nginx")
    work = folder / "nginx"
    work.mkdir(exist_ok=True)
    temporary = "\n".join(
        f"{kind}_temp_path {work}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    group = nginx_group()
    user = f"user {'nobody' if group == 'nogroup' else group} {group};" if group else ""
    config = folder / "nginx.conf"
    config.write_text(
        f"daemon off; {user} worker_processes 1; worker_shutdown_timeout 1s; pid {work}/pid;\n"
        f"error_log {work}/error.log info;\n"
        "events { worker_connections 512; }\n"
        f"http {{\ninclude /etc/nginx/mime.types;\naccess_log off;\n{temporary}\n{http}\n}}\n"
    )
    log = work / "error.log"
    # -e: errors before error_log is read; the compiled-in file may belong to the machine's own nginx.
    command = [program, "-p", str(folder), "-c", str(config), "-e", str(log)]
    with child(command, log) as server:
        eventually(lambda: listens(port), "nginx listens", server)
        yield server
    # A trap that nginx only warns of is a defect of the includes.
    for line in server.text().splitlines():
        assert not any(mark in line for mark in ("[warn]", "[emerg]", "[alert]", "[crit]")) or _is_expected(line), line


@contextmanager
def authgate(config: Path, program: str = "authgate") -> Iterator[Server]:
    """Run ``authgate serve`` until it says that it is ready.

    Args:
        program: the module that is run as the command.
    """
    command = [sys.executable, "-m", program, "serve", "--config", str(config)]
    with child(command, config.with_suffix(".log")) as server:
        eventually(lambda: "authgate: ready" in server.text(), "authgate serves", server)
        yield server


@contextmanager
def child(command: list[str], output: Path, cwd: Path = PACKAGE_ROOT) -> Iterator[Server]:
    """Run a program until the end of the block, its output in a file."""
    output.parent.mkdir(exist_ok=True)
    # What an earlier process said is not what this one says; "ab", because nginx writes there by itself as well.
    output.write_bytes(b"")
    with output.open("ab") as stream:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, cwd=cwd)
    server = Server(process, output)
    try:
        yield server
    finally:
        server.stop()


def listens(port: int) -> bool:
    """Tell whether something listens on a TCP port of 127.0.0.1."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _is_expected(line: str) -> bool:
    # Answers larger than memory buffers go through a file; that is no one's mistake.
    # connect() to a socket whose file was taken away is [crit] in nginx; tests do that on purpose.
    # A client's certificate with a wrong signature leaves an error of OpenSSL behind; nginx finds and drops it later.
    harmless = ("is buffered to a temporary file", "failed (2: No such file or directory)", "stale global SSL error")
    return any(part in line for part in harmless)
