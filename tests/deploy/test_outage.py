"""authgate stopped, killed, hung or unreachable: 503 for everything protected, never a file, and back at once."""

import os
import signal
from collections.abc import Iterator

import httpx
import pytest

from tests import servers
from tests.deploy.house import OPEN, SECRET, House, Running, Visitor

PATHS = ("/public/hello.txt", "/staff/handbook.txt", "/denied/secret.txt", "/authgate/login")


@pytest.fixture
def house() -> Iterator[House]:
    with servers.open_folder() as folder:
        built = House(folder)
        built.build()
        yield built


@pytest.fixture
def nginx(house: House) -> Iterator[servers.Server]:
    with servers.nginx(house.folder, house.http_block(), house.http_port) as server:
        yield server


def get(house: House, path: str, **headers: str) -> httpx.Response:
    return Visitor(house).get(path, {**Visitor.NAVIGATION, **headers})


def assert_away(house: House, *paths: str) -> None:
    for path in paths or PATHS:
        answer = get(house, path)
        assert answer.status_code == 503, path
        assert OPEN not in answer.content
        assert SECRET not in answer.content
        assert "Not available right now" in answer.text
        assert (answer.headers["retry-after"], answer.headers["cache-control"]) == ("5", "no-store")


def assert_back(house: House) -> None:
    assert get(house, "/public/hello.txt").content == OPEN
    assert get(house, "/staff/handbook.txt").status_code == 302
    assert get(house, "/denied/secret.txt").status_code == 403
    assert get(house, "/authgate/login").status_code == 200


def test_stopped_authgate_is_503_until_it_is_started_again(house: House, nginx: servers.Server) -> None:
    with servers.authgate(house.config):
        assert_back(house)
    assert_away(house)
    with servers.authgate(house.config):
        assert_back(house)


def test_authgate_that_never_ran_is_503(house: House, nginx: servers.Server) -> None:
    assert_away(house)


def test_killed_authgate_is_503_and_starts_over_its_own_remains(house: House, nginx: servers.Server) -> None:
    with servers.authgate(house.config) as authgate:
        assert_back(house)
        workers = servers.children(authgate.process.pid)
        for pid in (authgate.process.pid, *workers):
            os.kill(pid, signal.SIGKILL)
        authgate.process.wait()
        servers.eventually(lambda: get(house, "/public/hello.txt").status_code == 503, "the workers are gone")
        assert_away(house)
    with servers.authgate(house.config):
        assert_back(house)


def test_hung_authgate_is_503_within_nginx_time_limit(house: House, nginx: servers.Server) -> None:
    with servers.authgate(house.config) as authgate:
        assert_back(house)
        authgate.signal(signal.SIGSTOP)
        try:
            answer = get(house, "/public/hello.txt")
            assert answer.status_code == 503
            assert 1.5 < answer.elapsed.total_seconds() < 4
            assert_away(house, "/staff/handbook.txt")
        finally:
            authgate.signal(signal.SIGCONT)
        assert_back(house)


def test_socket_that_was_taken_away_is_503(house: House, nginx: servers.Server) -> None:
    with servers.authgate(house.config):
        hidden = house.socket.with_suffix(".hidden")
        house.socket.rename(hidden)
        assert_away(house, "/public/hello.txt", "/staff/handbook.txt")
        hidden.rename(house.socket)
        assert_back(house)


def test_refusal_without_its_page_is_503_and_never_a_file(house: House, nginx: servers.Server) -> None:
    with servers.authgate(house.config):
        hidden = house.web_socket.with_suffix(".hidden")
        house.web_socket.rename(hidden)
        assert_away(house, "/denied/secret.txt", "/authgate/login")
        assert get(house, "/public/hello.txt").content == OPEN
        hidden.rename(house.web_socket)
        assert_back(house)


def test_range_and_conditional_requests_get_no_byte_from_an_outage(house: House, nginx: servers.Server) -> None:
    for headers in ({"Range": "bytes=0-1"}, {"If-Modified-Since": "Fri, 01 Jan 2100 00:00:00 GMT"}):
        assert get(house, "/public/hello.txt", **headers).status_code == 503


def test_post_in_an_outage_is_503(house: House, nginx: servers.Server) -> None:
    for path in ("/public/hello.txt", "/authgate/login"):
        assert Visitor(house).post(path, {"some": "form"}).status_code == 503


def test_store_that_cannot_be_read_is_503_and_ends_no_session(house: House, nginx: servers.Server) -> None:
    with servers.authgate(house.config) as authgate:
        visitor = Running(house, authgate, nginx).browser("alice")
        assert visitor.get("/staff/handbook.txt").status_code == 200
    # A worker that has not yet seen this session has to ask the store.
    database = house.folder / "state" / "authgate.db"
    with servers.authgate(house.config):
        # In place: a file that becomes shorter under a mapping is another kind of accident.
        with database.open("r+b") as stream:
            stream.write(b"x" * database.stat().st_size)
        answer = visitor.get("/staff/handbook.txt")

    assert answer.status_code == 503
    assert SECRET not in answer.content
    assert "set-cookie" not in answer.headers
    assert int(answer.headers["retry-after"]) > 0
