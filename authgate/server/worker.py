"""One worker process: one event loop, one uvicorn server for each listener, and what runs beside them."""

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Callable, Coroutine, Generator, Mapping
from contextlib import contextmanager
from functools import partial

import uvicorn
import uvloop
from starlette.types import ASGIApp

from authgate.app import create_worker
from authgate.config import Settings
from authgate.errors import ConfigError

log = logging.getLogger("authgate")

# What a worker's exit status tells the parent.
DRAINED, FAILED, MISCONFIGURED = 0, 1, 2

# nginx keeps idle upstream connections for 60 s (keepalive_timeout). The side that asks shall be the one that closes,
# else a request meets a connection that is being closed.
KEEP_ALIVE = 75

# Longer than any decision (1.5 s) and any password hash; after it, what still runs is cancelled.
DRAIN = 10


class Server(uvicorn.Server):
    """A uvicorn server that leaves signals to its process and says when it listens."""

    def __init__(self, application: ASGIApp, listening: Callable[[], None]) -> None:
        config = uvicorn.Config(
            application,
            interface="asgi3",
            http="httptools",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            # Would believe X-Forwarded-For of whoever connects; the client's address comes in X-Authgate-Client alone.
            proxy_headers=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=KEEP_ALIVE,
            timeout_graceful_shutdown=DRAIN,
        )
        super().__init__(config)
        self._listening = listening

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._listening()


def run_worker(settings: Settings, sockets: Mapping[str, socket.socket], parent: int, ready: Callable[[], None]) -> int:
    """Serve until SIGTERM or the parent's end, then finish what is running; return the exit status.

    Args:
        sockets: by listener, ``check`` and ``web``.
        parent: read end of a pipe whose write end only the parent holds: readable when the parent is gone.
        ready: called once, when every listener is being served.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        failure = runner.run(_outcome(_serve(settings, sockets, parent, ready)))
    if failure is None:
        return DRAINED
    if isinstance(failure, ConfigError):
        log_problems(failure)
        return MISCONFIGURED
    log.error("worker %d failed", os.getpid(), exc_info=failure)
    return FAILED


def log_problems(error: ConfigError) -> None:
    """Log every problem of a refused configuration, as the command line would print it."""
    for problem in error.problems:
        log.error("%s: %s%s", problem.place, problem.message, f"\nhint: {problem.hint}" if problem.hint else "")


async def _outcome(work: Coroutine[None, None, None]) -> BaseException | None:
    """Await `work` and return the exception it ended with, whatever it is, instead of raising it."""
    task = asyncio.create_task(work)
    await asyncio.wait([task])
    return task.exception()


async def _serve(
    settings: Settings, sockets: Mapping[str, socket.socket], parent: int, ready: Callable[[], None]
) -> None:
    worker = create_worker(settings)
    silent = set(sockets)

    def listening(name: str) -> None:
        silent.discard(name)
        if not silent:
            ready()

    servers = {name: Server(worker.applications[name], partial(listening, name)) for name in sockets}

    def drain() -> None:
        loop.remove_reader(parent)
        for server in servers.values():
            server.should_exit = True

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, drain)
    loop.add_reader(parent, drain)
    # First of all, so that no cached session is older than the moment from which revocations are heard.
    beside = asyncio.create_task(worker.run())
    serving = [asyncio.create_task(server.serve([sockets[name]])) for name, server in servers.items()]
    try:
        # Whichever ends first ends the worker: one that no longer hears of revocations must not go on.
        await asyncio.wait([beside, *serving], return_when=asyncio.FIRST_COMPLETED)
        drain()
        await asyncio.gather(*serving)
    finally:
        beside.cancel()
        await asyncio.wait([beside])
        await worker.aclose()
    if not beside.cancelled():
        beside.result()
