"""Small applications behind nginx, over HTTP (with WebSocket), FastCGI and uwsgi; each answers with what it got."""

import base64
import hashlib
import json
import posixpath
import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import BaseServer, StreamRequestHandler, TCPServer, ThreadingMixIn, UnixStreamServer
from typing import ClassVar
from urllib.parse import unquote

from tests.deploy.house import SECRET

# What a client writes at the end of an upload that the application has to have seen.
BLOCK = 1 << 20


@dataclass(slots=True)
class Counted:
    """What reached an application.

    Args:
        requests: how many.
        bytes: of bodies.
    """

    requests: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class Applications:
    """Where the applications listen."""

    http: int
    fastcgi: Path
    uwsgi: Path
    counted: Counted = field(default_factory=Counted)


def page(target: str, described: dict[str, object]) -> bytes:
    """Return the body of an answer; whoever unescapes the target, tidied or not, finds what /admin hides."""
    path = unquote(target.partition("?")[0])
    hidden = SECRET.decode() if any(f"{way}/".startswith("/admin/") for way in (path, posixpath.normpath(path))) else ""
    return json.dumps({"path": path, "secret": hidden, **described}).encode()


class _Threads(ThreadingMixIn):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: object, client_address: object) -> None:
        # A client that goes away in the middle is no error of the application.
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[misc]


class _Tcp(_Threads, TCPServer):
    request_queue_size = 64
    allow_reuse_address = True


class _Unix(_Threads, UnixStreamServer):
    request_queue_size = 64


class _Handler(BaseHTTPRequestHandler):
    counted: ClassVar[Counted]
    protocol_version = "HTTP/1.1"

    def handle_one_request(self) -> None:
        self.raw_requestline = self.rfile.readline(65537)
        if not self.raw_requestline or not self.parse_request():
            self.close_connection = True
            return
        self.counted.requests += 1
        if self.headers.get("Upgrade", "").lower() == "websocket":
            self._websocket()
            return
        if "h2c" in self.headers.get("Upgrade", ""):
            self._upgraded()
            return
        length = self._body()
        # As frameworks do that were written for a rewriting web server.
        target = self.headers.get("X-Original-URL", self.path)
        method = self.headers.get("X-HTTP-Method-Override", self.command)
        seen = {"target": self.path, "method": method, "bytes": length, "headers": self.headers.items()}
        body = page(target, seen)
        wanted = int(self.headers.get("X-Want-Status", "200"))
        self.send_response_only(204 if self.command == "OPTIONS" else wanted)
        if self.headers.get("Origin"):
            self.send_header("Access-Control-Allow-Origin", self.headers["Origin"])
            self.send_header("Access-Control-Allow-Credentials", "true")
            self.send_header("Access-Control-Allow-Methods", "GET, PUT")
        for value in self.headers.get_all("X-Want-Cache-Control", []):
            self.send_header("Cache-Control", value)
        if self.command == "OPTIONS":
            body = b""
        else:
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _body(self) -> int:
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            length = 0
            while size := int(self.rfile.readline(), 16):
                length += len(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            self.counted.bytes += length
            return length
        left = length = int(self.headers.get("Content-Length", "0"))
        part = memoryview(bytearray(BLOCK))
        while left and (got := self.rfile.readinto(part[: min(left, BLOCK)])):
            left -= got
            self.counted.bytes += got
        return length - left

    def _websocket(self) -> None:
        self.close_connection = True
        accept = hashlib.sha1(f"{self.headers['Sec-WebSocket-Key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode())
        self.send_response_only(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", base64.b64encode(accept.digest()).decode())
        self.end_headers()
        # First who is here, then everything back as it comes (RFC 6455 section 5.2: short, unmasked text frames).
        _send_text(self.wfile.write, self.headers.get("Remote-User", "").encode())
        while text := _text(self.rfile.read):
            _send_text(self.wfile.write, text)

    def _upgraded(self) -> None:
        # No real HTTP/2: that another request is answered without anybody being asked is what counts.
        self.close_connection = True
        self.send_response_only(101)
        self.send_header("Upgrade", "h2c")
        self.send_header("Connection", "Upgrade")
        self.end_headers()
        self.wfile.write(page(self.rfile.readline().decode().split()[1], {}))


def _http_handler(counted: Counted) -> type[BaseHTTPRequestHandler]:
    return type("_CountingHandler", (_Handler,), {"counted": counted})


def _send_text(write: Callable[[bytes], object], text: bytes) -> None:
    write(bytes([0x81, len(text)]) + text)


def _text(read: Callable[[int], bytes]) -> bytes:
    """Read one short masked frame (RFC 6455 section 5.3); empty at the end."""
    head = read(2)
    if len(head) < 2 or head[0] != 0x81:
        return b""
    mask, masked = read(4), read(head[1] & 0x7F)
    return bytes(byte ^ mask[place % 4] for place, byte in enumerate(masked))


def _answer(environment: list[tuple[str, str]], counted: Counted) -> bytes:
    counted.requests += 1
    # Of two with one name the last one counts, in PHP as in a Python environ.
    target = dict(environment)["REQUEST_URI"]
    body = page(target, {"target": target, "environment": environment})
    head = b"Status: 200 OK\r\nContent-Type: application/json\r\n"
    return head + f"Content-Length: {len(body)}\r\n\r\n".encode() + body


def _fastcgi_handler(counted: Counted) -> type[StreamRequestHandler]:
    class Handler(StreamRequestHandler):
        """A FastCGI responder (FastCGI specification 1.0, sections 3.3 and 3.4), one request for each connection."""

        def handle(self) -> None:
            parameters = b""
            while True:
                _, kind, request, length, padding = struct.unpack(">BBHHBx", self.rfile.read(8))
                content = self.rfile.read(length)
                self.rfile.read(padding)
                if kind == 4:
                    parameters += content
                elif kind == 5 and not content:
                    break
            answer = _answer(list(_pairs(parameters)), counted)
            for kind, content in ((6, answer), (6, b""), (3, bytes(8))):
                self.wfile.write(struct.pack(">BBHHBx", 1, kind, request, len(content), 0) + content)

    return Handler


def _pairs(parameters: bytes) -> Iterator[tuple[str, str]]:
    left = parameters
    while left:
        sizes = []
        for _ in range(2):
            # Below 128 one byte, else four.
            width = 4 if left[0] >> 7 else 1
            sizes.append(int.from_bytes(left[:width]) & 0x7FFFFFFF)
            left = left[width:]
        middle, end = sizes[0], sum(sizes)
        yield left[:middle].decode("latin-1"), left[middle:end].decode("latin-1")
        left = left[end:]


def _uwsgi_handler(counted: Counted) -> type[StreamRequestHandler]:
    class Handler(StreamRequestHandler):
        """The uwsgi protocol: a length, and names and values with their lengths before them."""

        def handle(self) -> None:
            _, length, _ = struct.unpack("<BHB", self.rfile.read(4))
            left, found = self.rfile.read(length), []
            while left:
                text = []
                for _ in range(2):
                    size = struct.unpack_from("<H", left)[0]
                    text.append(left[2 : 2 + size].decode("latin-1"))
                    left = left[2 + size :]
                found.append((text[0], text[1]))
            self.wfile.write(b"HTTP/1.1 200 OK\r\n" + _answer(found, counted))

    return Handler


@contextmanager
def applications(folder: Path) -> Iterator[Applications]:
    """Run all three until the end of the block."""
    counted = Counted()
    fastcgi, uwsgi = folder / "fastcgi.sock", folder / "uwsgi.sock"
    with ExitStack() as stack:
        http = stack.enter_context(_Tcp(("127.0.0.1", 0), _http_handler(counted)))
        servers: list[BaseServer] = [
            http,
            stack.enter_context(_Unix(str(fastcgi), _fastcgi_handler(counted))),
            stack.enter_context(_Unix(str(uwsgi), _uwsgi_handler(counted))),
        ]
        for path in (fastcgi, uwsgi):
            path.chmod(0o666)
        for server in servers:
            thread = threading.Thread(target=server.serve_forever, args=(0.05,))
            thread.start()
            stack.callback(thread.join)
            stack.callback(server.shutdown)
        yield Applications(http.server_address[1], fastcgi, uwsgi, counted)


def frame(text: bytes) -> bytes:
    """Return a short text as a client's WebSocket sends it: masked."""
    mask = b"\x01\x02\x03\x04"
    return bytes([0x81, 0x80 | len(text)]) + mask + bytes(byte ^ mask[place % 4] for place, byte in enumerate(text))


def read_exactly(connection: socket.socket, count: int) -> bytes:
    """Read so many bytes, or fewer where the other side closes."""
    received = b""
    while len(received) < count and (part := connection.recv(count - len(received))):
        received += part
    return received
