"""Requests over raw connections, several on their way at once, and the bytes that come back for each."""

import re
import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

from tests.servers import DEADLINE

_STATUS = re.compile(rb"HTTP/1\.[01] ([0-9]{3})[ \r]")
_LENGTH = re.compile(rb"\r\nContent-Length:[ \t]*([0-9]+)\r\n", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\nTransfer-Encoding:[ \t]*chunked\r\n", re.IGNORECASE)
_CLOSE = re.compile(rb"\r\nConnection:[ \t]*close\r\n", re.IGNORECASE)
_CHUNK = re.compile(rb"([0-9A-Fa-f]+)[^\r\n]*\r\n")
# How long a request that nothing can be sent behind may stay without an answer, or without its end.
_PATIENCE = 2.0
_BODILESS = frozenset({204, 304})


class Answer(NamedTuple):
    """What came back for one request.

    Args:
        status: 0 when there is none: the connection was closed, or the answer is one of HTTP/0.9.
        whole: all its bytes, head and body.
    """

    status: int
    whole: bytes

    @property
    def head(self) -> bytes:
        """The status line and the fields."""
        return self.whole.partition(b"\r\n\r\n")[0]


class Question(NamedTuple):
    """The bytes of a request, and what one has to know to read the answer.

    Args:
        is_head: the answer has no body.
        alone: nothing may be sent behind it.
    """

    sent: bytes
    is_head: bool = False
    alone: bool = False


class Line:
    """One connection after the other to a port of this machine."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._socket: socket.socket | None = None

    def close(self) -> None:
        """Hang up."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def ask(self, questions: Sequence[Question]) -> list[Answer]:
        """Ask everything and return the answers in order.

        What stands behind a request after which the server closes is asked again.
        """
        answers: list[Answer] = []
        while len(answers) < len(questions):
            rest = questions[len(answers) :]
            if rest[0].alone:
                answers.append(self._alone(rest[0]))
                continue
            count = next((number for number, question in enumerate(rest) if question.alone), len(rest))
            answers += self._together(rest[:count])
        return answers

    def _alone(self, question: Question) -> Answer:
        self.close()
        connection = self._connected()
        _send(connection, question.sent)
        # It asks the server to close. What a server makes of it may still be a request that has not ended.
        connection.settimeout(_PATIENCE)
        whole = b""
        with suppress(TimeoutError):
            while part := _receive(connection):
                whole += part
        self.close()
        return Answer(_status(whole), whole)

    def _together(self, questions: Sequence[Question]) -> list[Answer]:
        fresh = self._socket is None
        connection = self._connected()
        answers: list[Answer] = []
        received = b""
        _send(connection, b"".join(question.sent for question in questions))
        for question in questions:
            whole, received, ended = _read(connection, received, question.is_head)
            # A kept connection may have been closed before the first request came: that is no answer.
            if whole or (fresh and not answers):
                answers.append(Answer(_status(whole), whole))
            if ended:
                self.close()
                return answers
        if received:
            raise AssertionError(f"more came back than was asked for: {received[:400]!r}")
        return answers

    def _connected(self) -> socket.socket:
        if self._socket is None:
            self._socket = socket.create_connection(("127.0.0.1", self._port), timeout=DEADLINE)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self._socket


def _send(connection: socket.socket, content: bytes) -> None:
    # The other side may have answered and gone before it has read everything.
    with suppress(BrokenPipeError, ConnectionResetError):
        connection.sendall(content)


def _receive(connection: socket.socket) -> bytes:
    """Return what has come; nothing at the end."""
    try:
        return connection.recv(262_144)
    except ConnectionResetError:
        return b""


def _status(whole: bytes) -> int:
    found = _STATUS.match(whole)
    return int(found[1]) if found else 0


def _read(connection: socket.socket, received: bytes, is_head: bool) -> tuple[bytes, bytes, bool]:
    """Return one answer, what has come behind it, and whether the connection has ended."""
    while True:
        end = _end(received, is_head)
        if end is not None and end <= len(received):
            return received[:end], received[end:], False
        part = _receive(connection)
        if not part:
            return received, b"", True
        received += part


def _end(received: bytes, is_head: bool) -> int | None:
    """Return where the first answer ends; None when that is not known yet, or when it ends with the connection."""
    blank = received.find(b"\r\n\r\n")
    if blank < 0 or not _STATUS.match(received):
        return None
    head, body = received[: blank + 2], blank + 4
    if _CLOSE.search(head):
        return None
    if is_head or _status(head) in _BODILESS:
        return body
    found = _LENGTH.search(head)
    if found:
        return body + int(found[1])
    return _end_of_chunks(received, body) if _CHUNKED.search(head) else None


def _end_of_chunks(received: bytes, at: int) -> int | None:
    while True:
        found = _CHUNK.match(received, at)
        if found is None:
            return None
        at = found.end() + int(found[1], 16) + 2
        if found[1].strip(b"0") == b"":
            return at
