"""When authgate is away, hangs, talks nonsense or is not told enough: never a file."""

import json
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace

import pytest

from tests import servers
from tests.deploy.house import HTTP_HOST, OPEN, SECRET, exchange, status_of
from tests.deploy_apache.house import ApacheHouse, Running, apache, house_of, inhabited
from tests.fastcgi import END, PARAMS, STDOUT, record

# What mod_authnz_fcgi waits for an answer; no directive changes it.
APACHES_LIMIT = 30.0

PATHS = ("/public/hello.txt", "/staff/handbook.txt", "/denied/secret.txt")


@pytest.fixture
def own() -> Iterator[Running]:
    with servers.open_folder() as folder, house_of(folder) as running:
        yield running


def test_without_authgate_there_is_a_503_and_with_it_again_at_once(own: Running) -> None:
    own.authgate.stop()

    for path in (*PATHS, "/authgate/login"):
        answer = own.get(path, "alice")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        assert answer.headers["cache-control"] == "no-store"
        assert "Not available right now" in answer.text
        assert OPEN not in answer.content
        assert SECRET not in answer.content

    with servers.authgate(own.house.config):
        assert own.get("/public/hello.txt").content == OPEN
        assert own.get("/authgate/login").status_code == 200


def test_an_authgate_that_hangs_opens_nothing_and_apache_waits_for_30_s(own: Running) -> None:
    own.authgate.signal(signal.SIGSTOP)
    try:
        began = time.monotonic()
        answer = own.get("/public/hello.txt")
        waited = time.monotonic() - began
    finally:
        own.authgate.signal(signal.SIGCONT)

    assert answer.status_code == 503
    assert OPEN not in answer.content
    assert APACHES_LIMIT - 1 < waited < APACHES_LIMIT + 5


END_OF_QUESTION = record(PARAMS, 1)
ALLOW = b"Status: 200\r\nVariable-AUTH_USER: alice\r\n\r\n"


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"x",
        b"HTTP/1.1 200 OK\r\n\r\n",
        bytes(64),
        record(STDOUT, 1, ALLOW)[:-20],
        record(STDOUT, 1, ALLOW, version=9),
        record(STDOUT, 1, b"x" * 20_000),
        record(END, 1, bytes(8)),
        record(STDOUT, 1, b"Status: 204\r\n\r\n") + record(STDOUT, 1) + record(END, 1, bytes(8)),
        record(STDOUT, 1, b"Status: 500\r\n\r\n") + record(STDOUT, 1) + record(END, 1, bytes(8)),
    ],
    ids=["closed", "a byte", "http", "zeros", "cut off", "version", "no end", "only end", "204", "500"],
)
def test_nonsense_opens_nothing(standing: ApacheHouse, answer: bytes) -> None:
    with authorizer(standing.fastcgi_port, answer):
        found = ask(standing, "/public/hello.txt")

    assert status_of(found) in {204, 500, 503}
    assert OPEN not in found


def test_the_same_authorizer_opens_with_an_answer(standing: ApacheHouse) -> None:
    with authorizer(standing.fastcgi_port, record(STDOUT, 1, ALLOW) + record(STDOUT, 1) + record(END, 1, bytes(8))):
        assert OPEN in ask(standing, "/public/hello.txt")


@pytest.fixture(scope="module")
def standing() -> Iterator[ApacheHouse]:
    """Give a house with Apache in it and without authgate."""
    with servers.open_folder() as folder:
        house = ApacheHouse(folder)
        house.build()
        with apache(house):
            yield house


@contextmanager
def authorizer(port: int, answer: bytes) -> Iterator[None]:
    """Answer everything in one way."""
    with closing(socket.create_server(("127.0.0.1", port))) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    # All of the question: closed before, the connection would be reset, and the answer lost.
                    heard = b""
                    while not heard.endswith(END_OF_QUESTION) and (part := connection.recv(65536)):
                        heard += part
                    connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def ask(house: ApacheHouse, path: str) -> bytes:
    head = f"GET {path} HTTP/1.1\r\nHost: {HTTP_HOST}:{house.http_port}\r\nConnection: close\r\n\r\n"
    return exchange(house.http_port, head.encode())


# Each leaves something out of the includes, and the reason that authgate then refuses for.
SECRET_LINE = ",E=AG_SECRET:${AUTHGATE_SECRET}"
INCOMPLETE: dict[str, tuple[Callable[[str, str], str], str]] = {
    "no rewrite lines": (
        lambda name, text: text.replace("RewriteEngine On\n", "") if name == "authgate-site.conf" else text,
        "untrusted_peer",
    ),
    "no secret": (lambda _, text: text.replace(SECRET_LINE, ""), "untrusted_peer"),
    "wrong secret": (lambda _, text: text.replace("${AUTHGATE_SECRET}", "y" * 48), "untrusted_peer"),
    "no path": (lambda _, text: text.replace("E=AG_PATH:$1,", ""), "missing_path"),
    "empty path": (lambda _, text: text.replace("AG_PATH:$1,", "AG_PATH:,"), "missing_path"),
}


@pytest.mark.parametrize("name", INCOMPLETE)
def test_incomplete_configuration_serves_nothing(name: str) -> None:
    change, reason = INCOMPLETE[name]
    with servers.open_folder() as folder:
        house = ApacheHouse(folder, change=change)
        house.build()
        with inhabited(house) as running:
            for path in PATHS:
                answer = running.get(path, "alice")
                assert answer.status_code == 403
                assert SECRET not in answer.content
            servers.eventually(lambda: reasons(running), "the audit log says why")
            assert reasons(running) == {reason}


def test_a_virtual_host_without_the_include_serves_nothing() -> None:
    bare = "<VirtualHost *:80>\nServerName bare.example.com\nDocumentRoot /srv/files\n</VirtualHost>"
    with servers.open_folder() as folder:
        house = ApacheHouse(folder)
        house.build()
        with inhabited(replace(house, below=bare)) as running:
            assert running.get("/public/hello.txt", host="bare.example.com").status_code == 403
            assert running.get("/staff/handbook.txt", "alice", host="bare.example.com").status_code == 403
            servers.eventually(lambda: reasons(running), "the audit log says why")
            assert reasons(running) == {"untrusted_peer"}


def reasons(running: Running) -> set[str]:
    """Return the reasons in the audit log, which goes to stderr."""
    lines = [line for line in running.authgate.text().splitlines() if line.startswith("{")]
    return {entry["reason"] for entry in map(json.loads, lines) if entry["event"] == "decision"}
