"""What only nginx does: ETag, the internal location, links that appear too late, its own page without authgate."""

import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import UnixStreamServer

import httpx
import pytest

from tests import servers
from tests.delivery.reloading import reloads_lose_nothing
from tests.delivery.site import LETTERS, SECRET, Running, Site, served, web_server


@pytest.fixture
def own() -> Iterator[Running]:
    with servers.open_folder() as folder, served("nginx", folder) as running:
        yield running


@pytest.mark.parametrize(
    "target", ["/_files/public/letters.txt", "/_files/", "/_files", "/%5ffiles/public/letters.txt"]
)
def test_the_internal_place_is_nobodys(through_nginx: Running, target: str) -> None:
    for user in (None, "alice"):
        assert through_nginx.ask(target, user).status_code in {401, 404}


def test_without_internal_the_place_is_everybodys() -> None:
    with servers.open_folder() as folder, served("nginx", folder, {"internal;": ""}) as running:
        assert SECRET in running.ask("/_files/denied/secret.txt").content


def test_its_own_etag_is_kept(through_nginx: Running) -> None:
    tag = through_nginx.ask("/public/letters.txt").headers["etag"]

    assert through_nginx.ask("/public/letters.txt", If_None_Match=tag).status_code == 304
    assert through_nginx.ask("/public/big.bin").headers["etag"] != tag


def test_white_space_at_the_end_of_a_name_is_part_of_it(through_nginx: Running) -> None:
    assert through_nginx.ask("/public/docs/plain.txt%20").content == b"another"


def test_a_rate_is_kept() -> None:
    with servers.open_folder() as folder:
        site = Site("nginx", folder)
        site.build()
        site.config.write_text(site.config.read_text().replace('"20m"', '"100k"'))
        (site.files / "reports" / "300k").write_bytes(bytes(300 * 1024))
        with servers.authgate(site.config) as authgate, web_server(site) as server:
            running = Running(site, authgate, server)
            began = time.monotonic()

            assert len(running.ask("/reports/300k", "alice").content) == 300 * 1024
            # nginx sends what one second allows at once.
            assert time.monotonic() - began > 1.0


def test_without_authgate_there_is_a_page_and_no_file(own: Running) -> None:
    own.authgate.stop()

    for target in ("/public/letters.txt", "/reports/q3.csv"):
        answer = own.ask(target, "alice")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        assert LETTERS not in answer.content

    with servers.authgate(own.site.config):
        assert own.ask("/public/letters.txt").content == LETTERS


def test_an_authgate_that_hangs_opens_nothing(own: Running) -> None:
    own.authgate.signal(signal.SIGSTOP)
    try:
        answer = own.ask("/public/letters.txt")
    finally:
        own.authgate.signal(signal.SIGCONT)

    assert answer.status_code == 503
    assert LETTERS not in answer.content


def test_reloads_lose_no_request(own: Running) -> None:
    reloads_lose_nothing(own)


@contextmanager
def saying(listen: Path, place: str) -> Iterator[None]:
    """Stand on authgate's socket and answer as it does about a file that was none of these links a moment ago."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("X-Accel-Redirect", place)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with UnixStreamServer(str(listen), Handler) as server:
        listen.chmod(0o666)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("name", ["file", "folder/secret.txt"])
def test_a_link_that_appears_after_the_look_is_not_followed(name: str) -> None:
    assert _late_link(name, {}).status_code in {403, 404}
    # The cure is this line.
    assert SECRET in _late_link(name, {"disable_symlinks on from=/srv/web;": ""}).content


def _late_link(name: str, edits: Mapping[str, str]) -> httpx.Response:
    with servers.open_folder() as folder:
        site = Site("nginx", folder, edits)
        site.build()
        (site.files / "public" / "file").symlink_to(folder / "outside.txt")
        (site.files / "public" / "folder").symlink_to(site.files / "denied")
        site.socket.parent.mkdir()
        with saying(site.socket, f"/_files/public/{name}"), web_server(site) as server:
            return Running(site, server, server).ask("/public/letters.txt")
