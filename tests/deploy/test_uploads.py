"""deploy/nginx/examples/upload.conf: 2 GiB on their way to the application, and what nginx reads of a refused body."""

import base64
import socket
import time
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from tests import servers
from tests.deploy.examples import Examples
from tests.deploy.house import body_of, password, status_of

HOST = "upload.example.com"
GIB = 1 << 30


def head(examples: Examples, user: str | None, length: int | None, *more: str, path: str = "/in/x") -> bytes:
    lines = [f"PUT {path} HTTP/1.1", f"Host: {examples.origin(HOST).partition('://')[2]}", "Connection: close", *more]
    lines.append("Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}")
    if user:
        lines.append(f"Authorization: Basic {base64.b64encode(f'{user}:{password(user)}'.encode()).decode()}")
    return "\r\n".join([*lines, "", ""]).encode()


def test_two_gib_reach_the_application_and_no_disk(examples: Examples) -> None:
    before = examples.applications.counted.bytes
    zeros = memoryview(bytes(1 << 20))
    with closing(socket.create_connection(("127.0.0.1", examples.house.http_port), servers.DEADLINE)) as connection:
        connection.sendall(head(examples, "alice", 2 * GIB))
        for _ in range(2 * GIB // len(zeros)):
            connection.sendall(zeros)
        # Not afterwards, from a file.
        assert examples.applications.counted.bytes - before > GIB
        assert kept_bytes(examples) == 0
        answer = connection.recv(65536)

    assert status_of(answer) == 200, answer
    assert examples.applications.counted.bytes - before == 2 * GIB


def kept_bytes(examples: Examples) -> int:
    """Return how much nginx has of bodies of requests in files, which it deletes as soon as they are open."""
    return sum(
        entry.stat().st_size
        for pid in examples.running.nginx.family()
        for entry in Path(f"/proc/{pid}/fd").iterdir()
        if "/client_body/" in str(entry.readlink())
    )


@pytest.mark.parametrize(("user", "status"), [(None, 401), ("bob", 403)])
def test_refused_upload_is_answered_before_its_body_is_read(examples: Examples, user: str | None, status: int) -> None:
    before = examples.applications.counted.requests
    began = time.monotonic()

    with closing(socket.create_connection(("127.0.0.1", examples.house.http_port), servers.DEADLINE)) as connection:
        # Not one byte of the body is sent.
        connection.sendall(head(examples, user, 2 * GIB))
        answer = connection.recv(65536)

    assert status_of(answer) == status
    assert time.monotonic() - began < 5
    assert examples.applications.counted.requests == before


def test_refused_upload_names_the_decision(examples: Examples) -> None:
    answers: list[bytes] = []

    def ask() -> None:
        with closing(socket.create_connection(("127.0.0.1", examples.house.http_port), servers.DEADLINE)) as connection:
            connection.sendall(head(examples, "bob", 2 * GIB))
            answers.append(connection.recv(65536))

    line = examples.running.logged(ask)

    assert (status_of(answers[0]), line["status"], line["reason"]) == (403, 403, "not_admitted")
    assert body_of(answers[0]) == f"403 Refused. (decision {line['decision']})\n".encode()


def test_client_that_asks_first_sends_no_body_at_all(examples: Examples) -> None:
    with closing(socket.create_connection(("127.0.0.1", examples.house.http_port), servers.DEADLINE)) as connection:
        connection.sendall(head(examples, "bob", GIB, "Expect: 100-continue"))
        refused = connection.recv(65536)
    with closing(socket.create_connection(("127.0.0.1", examples.house.http_port), servers.DEADLINE)) as connection:
        connection.sendall(head(examples, "alice", 1, "Expect: 100-continue"))
        allowed = connection.recv(65536)

    assert refused.startswith(b"HTTP/1.1 403 ")
    assert allowed.startswith(b"HTTP/1.1 100 ")


def test_refused_body_without_a_length_is_not_kept(examples: Examples) -> None:
    # Only while it reads can nginx find out how long it is: it reads 64 KiB for the page and stops.
    part = b"%x\r\n%s\r\n" % (1 << 16, bytes(1 << 16))
    with closing(socket.create_connection(("127.0.0.1", examples.house.http_port), servers.DEADLINE)) as connection:
        connection.sendall(head(examples, "bob", None) + part + part)
        answer = connection.recv(65536)
        assert kept_bytes(examples) <= 3 << 16

    assert status_of(answer) == 403


def test_chunked_upload_reaches_the_application_while_it_comes(examples: Examples) -> None:
    with examples.client(HOST, "alice") as client:
        answer = client.post("/in/x", content=iter([b"a" * 100_000] * 10))

    assert (answer.status_code, answer.json()["bytes"]) == (200, 1_000_000)


def test_body_over_the_limit_is_413_and_asks_nobody(examples: Examples) -> None:
    with closing(socket.create_connection(("127.0.0.1", examples.house.http_port), servers.DEADLINE)) as connection:
        connection.sendall(head(examples, "alice", 2 * GIB + 1))
        answer = connection.recv(65536)

    assert status_of(answer) == 413


def test_small_refused_form_still_gets_the_page(examples: Examples) -> None:
    with examples.client(HOST, "bob") as client:
        answer = client.put("/in/x", content=b"x" * 1000, headers={"Accept": "text/html"})

    assert (answer.status_code, answer.headers["content-type"].partition(";")[0]) == (403, "text/html")


def test_reading_what_was_uploaded_is_another_rule(examples: Examples) -> None:
    with examples.client(HOST, "alice") as client:
        answer: httpx.Response = client.get("/in/x")

    assert answer.status_code == 403
