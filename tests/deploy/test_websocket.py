"""deploy/nginx/examples/websocket.conf: opened for whom authgate lets in, and a plain refusal for others."""

import base64
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager

from tests import servers
from tests.deploy.applications import frame, read_exactly
from tests.deploy.examples import Examples
from tests.deploy.house import body_of, password, status_of

HOST = "chat.example.com"


@contextmanager
def opened(
    examples: Examples, user: str | None, path: str = "/socket", upgrade: str = "websocket"
) -> Iterator[socket.socket]:
    """Ask for a WebSocket (RFC 6455 section 4.1)."""
    head = [
        f"GET {path} HTTP/1.1",
        f"Host: {examples.origin(HOST).partition('://')[2]}",
        f"Upgrade: {upgrade}",
        "Connection: Upgrade, HTTP2-Settings",
        "HTTP2-Settings: AAMAAABkAAQAAP__",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
        "Remote-User: carol",
    ]
    if user:
        head.append(f"Authorization: Basic {base64.b64encode(f'{user}:{password(user)}'.encode()).decode()}")
    with closing(socket.create_connection(("127.0.0.1", examples.house.http_port), servers.DEADLINE)) as connection:
        connection.sendall("\r\n".join([*head, "", ""]).encode())
        yield connection


def head_of(connection: socket.socket) -> bytes:
    received = b""
    while not received.endswith(b"\r\n\r\n") and (byte := connection.recv(1)):
        received += byte
    return received


def test_websocket_of_a_member_carries_both_ways(examples: Examples) -> None:
    with opened(examples, "alice") as connection:
        head = head_of(connection)
        who = read_exactly(connection, 7)
        connection.sendall(frame(b"hello"))
        echo = read_exactly(connection, 7)

    assert status_of(head) == 101
    # The example of RFC 6455 section 1.3: it is the application that has answered.
    assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head
    assert (who, echo) == (b"\x81\x05alice", b"\x81\x05hello")


def test_refused_websocket_is_not_opened(examples: Examples) -> None:
    before = examples.applications.counted.requests
    heads = []
    for user in ("bob", None):
        with opened(examples, user) as connection:
            heads.append(head_of(connection))
            # What comes next would be a frame, had it been opened.
            connection.sendall(frame(b"hello"))

    assert [status_of(head) for head in heads] == [403, 401]
    assert not any(b"Upgrade:" in head for head in heads)
    assert examples.applications.counted.requests == before


def test_refused_websocket_of_a_page_is_401_and_no_redirect(examples: Examples) -> None:
    with closing(socket.create_connection(("127.0.0.1", examples.house.http_port), servers.DEADLINE)) as connection:
        host = examples.origin(HOST).partition("://")[2]
        fields = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-Fetch-Mode: websocket\r\nSec-Fetch-Dest: websocket"
        connection.sendall(f"GET /socket HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n\r\n".encode())
        head = head_of(connection)

    assert status_of(head) == 401
    assert b"www-authenticate: authgate\r\n" in head.lower()


def test_other_upgrades_do_not_reach_the_application(examples: Examples) -> None:
    for upgrade in ("h2c", "websocket, h2c", "h2c, websocket", "TLS/1.0"):
        with opened(examples, "alice", "/rooms/1", upgrade) as connection:
            head = head_of(connection)
            length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
            body = read_exactly(connection, length)

        assert status_of(head) == 200, upgrade
        assert b'"Upgrade"' not in body_of(head + body)
