"""``authgate reload``: a changed configuration is put in force, and at the end is so in every worker or in none."""

import os
import signal
import socket
import time
from contextlib import closing
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import click

from authgate.app import examine
from authgate.cli.configuration import config_option, load_found
from authgate.cli.output import complain, fail, report
from authgate.config import Settings
from authgate.errors import ConfigError
from authgate.server.sockets import written
from authgate.server.status import Status, pid_file, read_pid, read_status, status_file

# Seconds until every worker must have the new policy, beside what reading it takes: the service reads it as well, on
# a machine that answers requests meanwhile.
LIMIT = 5.0
_READING = 2.0

_LOOK = 0.02
_ANSWER = 2.0

_STAYS = "the configuration was not reloaded; the one before stays in force"
_AS_WHO = "run this as root, or as the user that authgate runs as"


@click.command
@config_option
def reload(config: Path | None) -> None:
    """Put the changed configuration in force, and wait until every worker has it."""
    began = time.monotonic()
    try:
        settings = load_found(config)
        examine(settings)
    except ConfigError as error:
        report(error, code=1)
    limit = LIMIT + _READING * (time.monotonic() - began)
    before = _running(settings)
    _signal(before.pid, signal.SIGHUP)
    _judge(settings, _wait(settings.check_socket, before, limit))


def _running(settings: Settings) -> Status:
    """Return what the service that answers on `check` says about itself; exit when there is none."""
    _ask(settings)
    check = settings.check_socket
    pid, status = read_pid(check), read_status(check)
    hint = "stop authgate and start it again"
    if pid is None:
        fail(f"{pid_file(check)} does not name the process that serves {check}", hint)
    if status is None or status.pid != pid:
        fail(f"{status_file(check)} does not say what process {pid} is doing", hint)
    if not _is_alive(pid):
        fail(f"{pid_file(check)} names process {pid}, which has ended", hint)
    return status


def _ask(settings: Settings) -> str:
    """Return the version of the policy that decides a request; exit when nobody answers."""
    check = written(settings.check_port) if settings.check_port else settings.check_socket
    hint = "start it: authgate serve; if listen.check was changed while it runs, it must be stopped first"
    try:
        with _connection(settings) as connection, closing(HTTPConnection("authgate")) as client:
            client.sock = connection
            # Not /check: a question without a path would be refused, and written down as that.
            client.request("GET", "/")
            return client.getresponse().getheader("X-Authgate-Policy", "")
    except PermissionError:
        fail(f"{check} may not be used", _AS_WHO)
    except (OSError, HTTPException):
        fail(f"authgate does not run: nothing answers on {check}", hint)


def _connection(settings: Settings) -> socket.socket:
    if settings.check_port:
        return socket.create_connection(settings.check_port, _ANSWER)
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(_ANSWER)
    try:
        connection.connect(os.fsencode(settings.check_socket))
    except OSError:
        connection.close()
        raise
    return connection


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        fail(f"process {pid} has ended")
    except PermissionError:
        fail(f"process {pid} belongs to another user", _AS_WHO)


def _wait(check: Path, before: Status, limit: float) -> Status:
    """Return what the service says when the reload is over; exit when it does not get there."""
    deadline = time.monotonic() + limit
    while True:
        status = read_status(check)
        # Any reload that began after `before` was written has read what this command has read, or what came later.
        if status is not None and status.pid == before.pid and status.finished > before.begun:
            return status
        if not _is_alive(before.pid):
            fail(f"process {before.pid} has ended meanwhile", "its log says why")
        if time.monotonic() >= deadline:
            doing = status.message if status is not None else f"{status_file(check)} has vanished"
            fail(
                f"not in force in every worker after {limit:.0f} s: {doing}",
                "it goes on; the log says when it is reloaded, or why not",
            )
        time.sleep(_LOOK)


def _judge(settings: Settings, status: Status) -> None:
    if status.failure:
        for line in status.failure.splitlines():
            complain(line)
        fail(_STAYS)
    # Asked at last as any request would ask: files prove nothing.
    in_force = status.version if status.version != settings.version else _ask(settings)
    if in_force != settings.version:
        fail(f"{in_force} is in force, not {settings.version}", "the files were changed meanwhile: reload again")
    if status.note:
        complain(status.note)
    click.echo(f"reloaded: {status.version} ({status.rules} rule{'' if status.rules == 1 else 's'})")
