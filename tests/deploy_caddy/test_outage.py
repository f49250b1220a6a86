"""When authgate is away, hangs or talks nonsense: 503, never a file. And a reload that nobody notices."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from tests import servers
from tests.deploy.house import OPEN, SECRET
from tests.deploy.recorder import recording
from tests.deploy_caddy.house import Running, house_of

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


def test_an_authgate_that_hangs_opens_nothing(own: Running) -> None:
    own.authgate.signal(signal.SIGSTOP)
    try:
        began = time.monotonic()
        answer = own.get("/public/hello.txt")
        waited = time.monotonic() - began
    finally:
        own.authgate.signal(signal.SIGCONT)

    assert answer.status_code == 503
    assert OPEN not in answer.content
    assert waited < 5


def test_what_is_no_answer_of_authgate_opens_nothing() -> None:
    with servers.open_folder() as folder, recording(folder / "other.sock") as other:
        theirs, ours = f"unix/{folder}/other.sock", f"unix/{folder}/run/check.sock"
        with house_of(folder, change=lambda _, text: text.replace(ours, theirs)) as running:
            for status in (300, 301, 304, 307, 400, 402, 404, 405, 418, 500, 503):
                other.status = status
                answer = running.get("/staff/handbook.txt", "alice")
                assert answer.status_code == 503, status
                assert SECRET not in answer.content
            other.take()
            other.status = 401
            running.raw("POST /staff/handbook.txt?x HTTP/1.1", "Content-Length: 3", "Range: bytes=0-1", body=b"abc")
            (question,) = other.take()

    fields = dict(question.headers)
    assert (question.line, question.body) == ("GET /forward HTTP/1.1", b"")
    assert fields["x-forwarded-method"] == "POST"
    assert fields["x-forwarded-uri"] == "/staff/handbook.txt?x"
    assert not fields.keys() & {"content-length", "range", "upgrade", "connection"}


def test_a_reload_is_in_force_for_the_next_request(own: Running) -> None:
    assert own.get("/public/hello.txt").status_code == 200
    closed = own.house.config.read_text().replace(
        '"/public/**"]\nallow = ["anyone"]', '"/public/**"]\ndeny = ["anyone"]'
    )
    own.house.config.write_text(closed)

    command = [sys.executable, "-m", "authgate", "reload", "--config", str(own.house.config)]
    subprocess.run(command, check=True, capture_output=True, timeout=30, cwd=servers.PACKAGE_ROOT)

    assert own.get("/public/hello.txt").status_code == 403
