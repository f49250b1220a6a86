"""One uvicorn server for one listener, which ends so that no request meets a closed door.

uvicorn's own end closes every connection on which nothing runs at this moment, and looks for its end ten times a
second. Both lose requests while another generation of workers takes over: one that was accepted but not yet read, and
one that the web server is just writing into a connection it kept. So here:
1. Accepting ends at once; what was accepted is answered.
2. Every answer from then on says ``Connection: close``: the web server asks the next question on a new connection, and
   so asks the next generation.
3. Only what was quiet all through QUIET is closed unasked. Should a question be under way even then, nginx asks again:
   a kept connection that ends without a byte of an answer is no answer (ngx_http_upstream_next, `peer.cached`), and
   the subrequest of auth_request is a GET whatever the client's method was.
4. A listener for forms (POST, which is not asked twice) keeps no connection at all.
"""

import asyncio
import logging
import os
import socket
from collections.abc import Callable, Generator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

log = logging.getLogger("authgate")

# nginx keeps idle upstream connections for 60 s (keepalive_timeout). The side that asks shall be the one that closes,
# else a request meets a connection that is being closed.
KEEP_ALIVE = 75

# Longer than any decision (1.5 s) and any password hash; after it, what still runs is cancelled.
DRAIN = 10

# At 2,000 questions a second over nginx's 32 kept connections each is used many times within this.
QUIET = 0.1
# A connection on which nothing was ever asked: its question is on its way, or it is somebody else's business.
UNUSED = 1.0
_TURN = 0.005


class Server(uvicorn.Server):
    """A uvicorn server that leaves signals to its process, says when it listens, and drains when told to leave.

    Args:
        listening: called once, when connections are accepted.
        keep_alive: whether a connection outlives an answer.
    """

    def __init__(
        self, application: ASGIApp, listening: Callable[[], None] = lambda: None, *, keep_alive: bool = True
    ) -> None:
        config = uvicorn.Config(
            application,
            interface="asgi3",
            http=HttpToolsProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            # Would believe X-Forwarded-For of whoever connects; the client's address comes in X-Authgate-Client alone.
            proxy_headers=False,
            server_header=False,
            date_header=False,
            headers=[] if keep_alive else [("Connection", "close")],
            timeout_keep_alive=KEEP_ALIVE,
        )
        # Now: between being told to begin and accepting there shall be no time.
        config.load()
        super().__init__(config)
        self._listening = listening
        self._keep_alive = keep_alive
        self._left = asyncio.Event()

    def leave(self) -> None:
        """End: accept nothing more, answer what was accepted."""
        self.should_exit = True
        self._left.set()

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._listening()

    async def main_loop(self) -> None:
        # Sets the headers of all answers, which do not change: there is no Date among them.
        await self.on_tick(0)
        await self._left.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for listener in sockets or ():
            listener.close()
        if self._keep_alive:
            state = self.server_state
            state.default_headers = [*state.default_headers, (b"connection", b"close")]
        began = asyncio.get_running_loop().time()
        while True:
            # Before the first look, too: what was accepted last becomes a connection in the next turn of the loop.
            await asyncio.sleep(_TURN)
            age = asyncio.get_running_loop().time() - began
            self._close_what_is_quiet(age)
            if not self.server_state.connections and not self.server_state.tasks:
                break
            if age >= DRAIN:
                self._cut_off()
                break

    def _close_what_is_quiet(self, age: float) -> None:
        for connection in list(self.server_state.connections):
            cycle = connection.cycle if isinstance(connection, HttpToolsProtocol) else None
            running = cycle is not None and not cycle.response_complete
            if running or age >= (UNUSED if cycle is None else QUIET):
                # Of one that runs, this only says that it ends with its answer.
                connection.shutdown()

    def _cut_off(self) -> None:
        running = [task for task in self.server_state.tasks if not task.done()]
        if running:
            log.warning("worker %d cuts off %d requests after %d s", os.getpid(), len(running), DRAIN)
        for task in running:
            task.cancel()
