"""One worker process: one event loop, one uvicorn server for each listener, and what runs beside them."""

import asyncio
import gc
import logging
import os
import signal
import socket
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress

import uvloop
from starlette.types import ASGIApp

from authgate.app import Worker, create_worker
from authgate.config import Settings
from authgate.errors import ConfigError
from authgate.observe.board import Row
from authgate.protocols.api import Readiness, create_api
from authgate.server.draining import Server
from authgate.server.fastcgi import FastcgiServer
from authgate.server.status import read_status

log = logging.getLogger("authgate")

# What a worker's exit status tells the parent.
DRAINED, FAILED, MISCONFIGURED = 0, 1, 2

# What a worker says to its parent, a line each: that it waits for the signal GO; that it will decide nothing more. Any
# other line is a reason why it cannot serve.
READY, DONE = "ready", "done"
GO = signal.SIGUSR2

# The audit file was moved away. Meant for the parent, which hands it on.
REOPEN = signal.SIGUSR1

# At most this much of its reasons: written at once or not at all (PIPE_BUF, pipe(7)).
_MAX_SAID = 4096


def run_worker(
    settings: Settings,
    sockets: Mapping[str, socket.socket],
    row: Row | None,
    parent: int,
    say: Callable[[str], None],
) -> int:
    """Serve from GO until SIGTERM or the parent's end, then finish what is running; return the exit status.

    Args:
        sockets: by listener, ``check``, ``web`` and perhaps others.
        row: where it counts; None: it does not.
        parent: read end of a pipe whose write end only the parent holds: readable when the parent is gone.
        say: tells the parent READY, DONE or why there will be neither.
    """
    # The compiled policy, shared with the parent since the fork: a full collection would walk through 100,000 rules,
    # and nobody is answered meanwhile.
    gc.freeze()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        failure = runner.run(_outcome(_work(settings, sockets, row, parent, say)))
    if failure is None:
        return DRAINED
    if isinstance(failure, ConfigError):
        log_problems(failure)
        say(str(failure))
        return MISCONFIGURED
    log.error("worker %d failed", os.getpid(), exc_info=failure)
    return FAILED


def pipe_to_parent(descriptor: int) -> Callable[[str], None]:
    """Return what writes lines for the parent into `descriptor`; a parent that is gone hears nothing."""

    def say(text: str) -> None:
        with suppress(BrokenPipeError):
            os.write(descriptor, f"{text}\n".encode()[:_MAX_SAID])

    return say


def log_problems(error: ConfigError) -> None:
    """Log every problem of a refused configuration, as the command line would print it."""
    for problem in error.problems:
        log.error("%s: %s%s", problem.place, problem.message, f"\nhint: {problem.hint}" if problem.hint else "")


async def _outcome(work: Coroutine[None, None, None]) -> BaseException | None:
    """Await `work` and return the exception it ended with, whatever it is, instead of raising it."""
    task = asyncio.create_task(work)
    await asyncio.wait([task])
    return task.exception()


async def _work(
    settings: Settings,
    sockets: Mapping[str, socket.socket],
    row: Row | None,
    parent: int,
    say: Callable[[str], None],
) -> None:
    worker = create_worker(settings, row)
    await worker.setup()
    # First of all, so that no cached session is older than the moment from which revocations are heard.
    beside = asyncio.create_task(worker.run())
    try:
        await _serve(worker, settings, sockets, row, parent, say, beside)
    finally:
        beside.cancel()
        await asyncio.wait([beside])
        await worker.aclose()
    if not beside.cancelled():
        beside.result()


async def _serve(
    worker: Worker,
    settings: Settings,
    sockets: Mapping[str, socket.socket],
    row: Row | None,
    parent: int,
    say: Callable[[str], None],
    beside: asyncio.Task[None],
) -> None:
    """Serve all listeners between GO and SIGTERM, or until `beside` ends."""
    leaving = asyncio.Event()
    api = _api(worker, settings, row, leaving)
    # The other connections are not kept: see authgate.server.draining.
    servers: dict[str, Server | FastcgiServer] = {
        name: FastcgiServer(worker.authorizer)
        if name == "fastcgi"
        else Server(api if name == "api" else worker.applications[name], keep_alive=name in {"check", "deliver"})
        for name in sockets
    }
    loop = asyncio.get_running_loop()
    going = asyncio.Event()

    def leave() -> None:
        loop.remove_reader(parent)
        leaving.set()
        for server in servers.values():
            server.leave()
        going.set()

    loop.add_signal_handler(GO, going.set)
    loop.add_signal_handler(REOPEN, worker.reopen)
    loop.add_signal_handler(signal.SIGTERM, leave)
    loop.add_reader(parent, leave)
    # Whichever ends first ends the worker: one that no longer hears of revocations must not go on.
    beside.add_done_callback(lambda _: leave())
    say(READY)
    await going.wait()
    # Told to leave before it was told to go: it must not answer even once.
    serving = {
        name: asyncio.create_task(server.serve([sockets[name]]))
        for name, server in servers.items()
        if not server.should_exit
    }
    for task in serving.values():
        task.add_done_callback(lambda _: leave())
    deciding = [task for name, task in serving.items() if name in {"check", "fastcgi", "deliver"}]
    if deciding:
        await asyncio.wait(deciding)
    say(DONE)
    await asyncio.gather(*serving.values())


def _api(worker: Worker, settings: Settings, row: Row | None, leaving: asyncio.Event) -> ASGIApp:
    """Build the application of the listener ``api``: what this worker knows of itself, and the parent of the rest."""

    def version() -> str:
        status = read_status(settings.check_socket)
        return settings.version if status is None else status.version

    def readiness() -> Readiness:
        problems = [*worker.problems(), *["this worker is ending"] * leaving.is_set()]
        ready = not problems
        status = read_status(settings.check_socket)
        if status is not None and status.failure:
            why = "; ".join(status.failure.splitlines())
            problems.append(f"the last reload failed, and the policy before it stays in force: {why}")
        return Readiness(ready, problems)

    return create_api(row.board if row else None, version, readiness, worker.tokens)
