"""The listener ``fastcgi``: connections that Apache opens, one for each request, answered and closed.

Rules of this module:
1. Every user of this machine can connect. Who only connects, or sends slowly, keeps nobody out: at most MAX_CONNECTIONS
   are open, the one that has been waiting longest makes room, and a request arrives within ARRIVAL seconds or not.
2. A request that has begun ends with CGI headers and END_REQUEST, whatever happens: a web server may take an answer
   without headers for a yes.
3. It ends as `authgate.server.draining` does: nothing more is accepted, what was accepted is answered.
"""

import asyncio
import logging
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress

from authgate.protocols.authorizer import FAILED, Authorizer
from authgate.protocols.fastcgi import MAX_CONNECTIONS, Asked, Broken, Ended, Event, Incoming, Refused, answer
from authgate.server.sockets import PORT_BACKLOG

log = logging.getLogger("authgate")

# Apache sends a request at once, over loopback.
ARRIVAL = 2.0
# While the server ends: long enough for what was accepted in the last moment.
ARRIVAL_AT_THE_END = 1.0

_TICK = 0.25
_TURN = 0.005


class FastcgiServer:
    """Serves one listener; the same calls as `authgate.server.draining.Server`.

    Args:
        listening: called once, when connections are accepted.

    Attributes:
        should_exit: it was told to leave.
    """

    def __init__(self, authorizer: Authorizer, listening: Callable[[], None] = lambda: None) -> None:
        self.authorizer = authorizer
        self.should_exit = False
        self._listening = listening
        self._left = asyncio.Event()
        # Those of which no whole request has arrived, the one that waits longest first, with since when.
        self._waiting: dict[_Connection, float] = {}
        self._deciding: set[_Connection] = set()

    def leave(self) -> None:
        """End: accept nothing more, answer what was accepted."""
        self.should_exit = True
        self._left.set()

    async def serve(self, sockets: Sequence[socket.socket]) -> None:
        """Serve until told to leave, and until what was accepted is answered."""
        self._loop = asyncio.get_running_loop()
        servers = [
            await self._loop.create_server(lambda: _Connection(self), sock=listener, backlog=PORT_BACKLOG)
            for listener in sockets
        ]
        self._listening()
        while not self.should_exit:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._left.wait(), _TICK)
            self._close_late(ARRIVAL)
        for server in servers:
            server.close()
        for listener in sockets:
            listener.close()
        # Before the first look, too: what was accepted last becomes a connection in the next turn of the loop.
        await asyncio.sleep(_TURN)
        while self._waiting or self._deciding:
            self._close_late(ARRIVAL_AT_THE_END)
            # A decision ends by itself (`authgate.pdp.DECISION_DEADLINE`).
            await asyncio.sleep(_TURN)

    def wait_for(self, connection: "_Connection") -> None:
        """Note that a request is to arrive; who waits longest makes room where there is none."""
        self.forget(connection)
        self._waiting[connection] = self._loop.time()
        if len(self._waiting) + len(self._deciding) > MAX_CONNECTIONS:
            next(iter(self._waiting)).give_up()

    def decide(self, connection: "_Connection") -> None:
        """Note that a request has arrived whose decision takes a while."""
        self._waiting.pop(connection, None)
        self._deciding.add(connection)

    def forget(self, connection: "_Connection") -> None:
        """Note that a connection is being closed."""
        self._waiting.pop(connection, None)
        self._deciding.discard(connection)

    def _close_late(self, seconds: float) -> None:
        limit = self._loop.time() - seconds
        for connection in [connection for connection, since in self._waiting.items() if since <= limit]:
            connection.give_up()


class _Connection(asyncio.Protocol):
    """One connection."""

    __slots__ = ("_heard_all", "_incoming", "_server", "_task", "_transport")

    def __init__(self, server: FastcgiServer) -> None:
        self._server = server
        self._incoming = Incoming()
        self._transport: asyncio.Transport
        self._task: asyncio.Task[bytes] | None = None
        self._heard_all = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # The type that asyncio's own documentation gives for streams.
        self._transport = transport  # type: ignore[assignment]
        self._server.wait_for(self)

    def data_received(self, data: bytes) -> None:
        for event in self._incoming.receive(data):
            if not self._transport.is_closing():
                self._obey(event)

    def eof_received(self) -> bool:
        # It may still read the answer to what it has sent.
        self._heard_all = True
        if self._task is None:
            self.give_up()
        return True

    def pause_writing(self) -> None:
        # It asks and does not read what it is answered, which is little.
        self._transport.abort()

    def connection_lost(self, _: Exception | None) -> None:
        self._server.forget(self)
        if self._task is not None:
            self._task.cancel()

    def give_up(self) -> None:
        """Close the connection; what it has begun to ask is refused."""
        self._heard_all = True
        if not self._transport.is_closing():
            self._refuse()

    def _obey(self, event: Event) -> None:
        if isinstance(event, Asked):
            self._decide(event)
        elif isinstance(event, Ended):
            self._refuse()
        elif isinstance(event, Broken):
            self._heard_all = True
            self._refuse()
        else:
            self._transport.write(event.data)
            if isinstance(event, Refused) and not event.keep:
                self._close()

    def _decide(self, asked: Asked) -> None:
        try:
            said = self._server.authorizer.ask(asked)
        except Exception:
            # Otherwise the connection would end without an answer.
            log.exception("a question of the web server failed")
            said = FAILED
        if isinstance(said, bytes):
            self._answer(said)
        else:
            self._server.decide(self)
            self._task = asyncio.create_task(said)
            self._task.add_done_callback(self._decided)

    def _decided(self, task: asyncio.Task[bytes]) -> None:
        self._task = None
        error = None if task.cancelled() else task.exception()
        if error is not None:
            log.error("a question of the web server failed", exc_info=error)
        if not self._transport.is_closing():
            self._answer(FAILED if error is not None or task.cancelled() else task.result())

    def _refuse(self) -> None:
        """End the request that is under way with a refusal; close the connection if there is none."""
        if self._task is not None:
            self._task.cancel()
        elif self._incoming.active:
            self._answer(FAILED)
        else:
            self._close()

    def _answer(self, text: bytes) -> None:
        self._transport.write(answer(self._incoming.active, text))
        keep = self._incoming.keep and not self._heard_all and not self._server.should_exit
        self._incoming.finish()
        if keep:
            self._server.wait_for(self)
        else:
            self._close()

    def _close(self) -> None:
        self._server.forget(self)
        self._transport.close()
