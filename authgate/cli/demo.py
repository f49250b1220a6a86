"""``authgate demo``: sample files, three people and a web server, in a temporary folder that goes away with it."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from types import FrameType
from typing import NoReturn

import click

import authgate
from authgate.cli.output import complain, fail, report
from authgate.cli.sample import lay_out
from authgate.cli.without_nginx import serve_files
from authgate.errors import ConfigError

# A first start on a slow machine; what takes longer will not come.
_START = 30.0

# After it a program that was asked to stop is killed; the service itself needs at most 15 s.
_STOP = 20.0

# Debian's, and Red Hat's.
_APACHE_MODULES = (Path("/usr/lib/apache2/modules"), Path("/usr/lib64/httpd/modules"))

_SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)

_GUIDE = """
  name    password     groups
  alice   alice-demo   staff
  bob     bob-demo     -
  carol   carol-demo   staff, finance, admin

Open {origin}/ and log in as bob, who may not read /staff/handbook.txt; then as alice, who may.
A download that can be stopped and goes on where it was:
  curl -u alice:alice-demo -C - -O {origin}/media/big.bin
Configuration, files and logs: {folder} (removed at the end). Ctrl-C stops.
"""

_Program = subprocess.Popen[str]


@click.command
@click.option("--port", type=click.IntRange(1, 65535), default=8080, show_default=True, help="On 127.0.0.1.")
@click.option(
    "--server", type=click.Choice(["nginx", "apache"]), default="nginx", show_default=True, help="The web server."
)
def demo(port: int, server: str) -> None:
    """Run authgate with sample files and users behind a web server, for a first look."""
    _require_free(port)
    for number in _SIGNALS:
        signal.signal(number, _interrupt)
    try:
        with _temporary_folder() as folder:
            (_run_behind_apache if server == "apache" else _run)(folder, port)
    except KeyboardInterrupt:
        complain("stopped")
    except ConfigError as error:
        report(error)


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    # Once: an impatient second Ctrl-C would leave programs and 64 MiB behind.
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _require_free(port: int) -> None:
    with socket.socket() as probe:
        # As nginx binds: connections of a demonstration just ended may still be closing.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            fail(f"port {port}: {(error.strerror or 'cannot be used').lower()}", "choose another with --port")


@contextmanager
def _temporary_folder() -> Iterator[Path]:
    # Started by root, nginx reads the files as another user, whom root's own TMPDIR may not let through.
    folder = Path(tempfile.mkdtemp(prefix="authgate-demo-", dir="/tmp" if os.geteuid() == 0 else None))  # noqa: S108
    try:
        folder.chmod(0o755)
        yield folder
    finally:
        shutil.rmtree(folder)


def _run(folder: Path, port: int) -> None:
    nginx = _find("nginx")
    settings = lay_out(folder, port, nginx=nginx is not None)
    if nginx is None:
        complain("development only: without nginx the files are served by Python", "apt install nginx")
        serve_files(settings, folder / "site", port, lambda: _announce(folder, port))
        fail("authgate has ended, and so does the demonstration")
    command = [nginx, "-p", f"{folder}/", "-e", "logs/error.log", "-c", "nginx.conf"]
    _run_behind("nginx", command, folder, port)


def _run_behind_apache(folder: Path, port: int) -> None:
    apache = _find("apache2")
    modules = next((path for path in _APACHE_MODULES if (path / "mod_authnz_fcgi.so").exists()), None)
    if apache is None or modules is None:
        fail(
            "Apache is not installed, or not with mod_authnz_fcgi", "apt install apache2, or leave out --server apache"
        )
    lay_out(folder, port, apache=modules)
    _run_behind("apache", [apache, "-DFOREGROUND", "-f", str(folder / "apache.conf")], folder, port)


def _find(program: str) -> str | None:
    # Debian has it in /usr/sbin, which is not in the PATH of people who are not root.
    return shutil.which(program) or shutil.which(program, path="/usr/sbin:/usr/local/sbin")


def _announce(folder: Path, port: int) -> None:
    origin = f"http://127.0.0.1:{port}"
    click.echo(_GUIDE.format(origin=origin, folder=folder), err=True)
    complain(f"ready {origin}/")


def _run_behind(name: str, command: list[str], folder: Path, port: int) -> None:
    ready = threading.Event()

    def hear(line: str) -> None:
        if line == "authgate: ready\n":
            ready.set()
        else:
            _print(line)

    with ExitStack() as stack:
        programs = {"authgate": stack.enter_context(_running(_service(folder), hear))}
        _await(ready.is_set, programs)
        programs[name] = stack.enter_context(_running(command, _print))
        _await(lambda: _answers(port), programs)
        _announce(folder, port)
        # Only to see that one has ended; which one, `_require_running` finds out.
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
        _require_running(programs)


def _service(folder: Path) -> list[str]:
    # -P: a folder named authgate where this was started must not be taken for this package.
    return [sys.executable, "-P", "-m", "authgate", "serve", "--config", str(folder / "authgate.toml")]


@contextmanager
def _running(command: list[str], hear: Callable[[str], None]) -> Iterator[_Program]:
    """Run a program as long as the context lasts.

    Args:
        hear: called, in another thread, with each line it writes to stderr.
    """
    package = str(Path(authgate.__file__).parent.parent)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH"))))}
    # In a group of its own: Ctrl-C in a terminal reaches this process alone, which then ends the others in order.
    with subprocess.Popen(  # noqa: S603 - a web server, and this program itself
        command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, process_group=0, env=environment
    ) as program:
        listener = threading.Thread(target=_relay, args=(program.stderr, hear))
        listener.start()
        try:
            yield program
        finally:
            program.terminate()
            with suppress(subprocess.TimeoutExpired):
                program.wait(_STOP)
            # Whatever of it is left, such as the workers of an nginx whose master was killed.
            with suppress(ProcessLookupError):
                os.killpg(program.pid, signal.SIGKILL)
            listener.join()


def _relay(lines: Iterable[str], hear: Callable[[str], None]) -> None:
    for line in lines:
        hear(line)


def _print(line: str) -> None:
    click.echo(line, nl=False, err=True)


def _await(condition: Callable[[], bool], programs: Mapping[str, _Program]) -> None:
    deadline = time.monotonic() + _START
    while not condition():
        _require_running(programs)
        if time.monotonic() > deadline:
            fail(f"not ready after {_START:.0f} s")
        time.sleep(0.02)


def _require_running(programs: Mapping[str, _Program]) -> None:
    for name, program in programs.items():
        if program.poll() is not None:
            fail(f"{name} has ended with status {program.returncode}, and so does the demonstration")


def _answers(port: int) -> bool:
    """Tell whether the web server serves the start page, and so has asked authgate."""
    connection = HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()
