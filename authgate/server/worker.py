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

from authgate.app import Worker, create_worker
from authgate.config import Settings
from authgate.errors import ConfigError
from authgate.server.draining import Server

log = logging.getLogger("authgate")

# What a worker's exit status tells the parent.
DRAINED, FAILED, MISCONFIGURED = 0, 1, 2

# What a worker says to its parent, a line each: that it waits for the signal GO; that it will decide nothing more. Any
# other line is a reason why it cannot serve.
READY, DONE = "ready", "done"
GO = signal.SIGUSR1

# At most this much of its reasons: written at once or not at all (PIPE_BUF, pipe(7)).
_MAX_SAID = 4096


def run_worker(
    settings: Settings, sockets: Mapping[str, socket.socket], parent: int, say: Callable[[str], None]
) -> int:
    """Serve from GO until SIGTERM or the parent's end, then finish what is running; return the exit status.

    Args:
        sockets: by listener, ``check`` and ``web``.
        parent: read end of a pipe whose write end only the parent holds: readable when the parent is gone.
        say: tells the parent READY, DONE or why there will be neither.
    """
    # The compiled policy, shared with the parent since the fork: a full collection would walk through 100,000 rules,
    # and nobody is answered meanwhile.
    gc.freeze()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        failure = runner.run(_outcome(_work(settings, sockets, parent, say)))
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
    settings: Settings, sockets: Mapping[str, socket.socket], parent: int, say: Callable[[str], None]
) -> None:
    worker = create_worker(settings)
    await worker.setup()
    # First of all, so that no cached session is older than the moment from which revocations are heard.
    beside = asyncio.create_task(worker.run())
    try:
        await _serve(worker, sockets, parent, say, beside)
    finally:
        beside.cancel()
        await asyncio.wait([beside])
        await worker.aclose()
    if not beside.cancelled():
        beside.result()


async def _serve(
    worker: Worker,
    sockets: Mapping[str, socket.socket],
    parent: int,
    say: Callable[[str], None],
    beside: asyncio.Task[None],
) -> None:
    """Serve all listeners between GO and SIGTERM, or until `beside` ends."""
    # The pages' connections are not kept: see authgate.server.draining.
    servers = {name: Server(worker.applications[name], keep_alive=name == "check") for name in sockets}
    loop = asyncio.get_running_loop()
    going = asyncio.Event()

    def leave() -> None:
        loop.remove_reader(parent)
        for server in servers.values():
            server.leave()
        going.set()

    loop.add_signal_handler(GO, going.set)
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
    if "check" in serving:
        await asyncio.wait([serving["check"]])
    say(DONE)
    await asyncio.gather(*serving.values())
