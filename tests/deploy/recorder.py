"""A peer of nginx that notes what arrives and answers with an empty 200."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingUnixStreamServer


@dataclass(frozen=True, slots=True)
class Arrived:
    """One request as it arrived; header names in lower case, in order, doubled ones included."""

    line: str
    headers: tuple[tuple[str, str], ...]
    body: bytes


@dataclass(slots=True)
class Recorder:
    """What arrived so far, and what is answered."""

    status: int = 200
    requests: list[Arrived] = field(default_factory=list)

    def take(self) -> list[Arrived]:
        """Return what arrived and forget it."""
        taken, self.requests = self.requests, []
        return taken


@contextmanager
def recording(path: Path) -> Iterator[Recorder]:
    """Listen on a unix socket."""
    recorder = Recorder()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_one_request(self) -> None:
            self.raw_requestline = self.rfile.readline(65537)
            if not self.raw_requestline or not self.parse_request():
                self.close_connection = True
                return
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            headers = tuple((name.lower(), value) for name, value in self.headers.items())
            recorder.requests.append(Arrived(self.requestline, headers, body))
            self.send_response_only(recorder.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

    class Listener(ThreadingUnixStreamServer):
        daemon_threads = True
        block_on_close = False

    path.parent.mkdir(exist_ok=True)
    with Listener(str(path), Handler) as server:
        path.chmod(0o666)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield recorder
        finally:
            server.shutdown()
            thread.join()
