"""What only Apache does: no ETag, names as they stand, its own answer without authgate."""

import signal
from collections.abc import Iterator

import pytest

from tests import servers
from tests.delivery.reloading import reloads_lose_nothing
from tests.delivery.site import LETTERS, Running, Site, served, web_server


@pytest.fixture
def own() -> Iterator[Running]:
    with servers.open_folder() as folder, served("apache", folder) as running:
        yield running


def test_files_have_no_etag_as_all_would_have_the_same(through_apache: Running) -> None:
    assert "etag" not in through_apache.ask("/public/letters.txt").headers
    assert through_apache.ask("/public/letters.txt", If_None_Match='"0"').status_code == 200


def test_a_name_with_white_space_at_its_end_is_not_the_one_without(through_apache: Running) -> None:
    assert through_apache.ask("/public/docs/plain.txt").content == b"plain"
    assert through_apache.ask("/public/docs/plain.txt%20").status_code == 404


def test_two_cookie_fields_are_no_session(through_apache: Running) -> None:
    cookies, _ = through_apache.log_in("alice")
    session = f"authgate={cookies['authgate']}"
    request = (
        f"GET /reports/q3.csv HTTP/1.1\r\nHost: x\r\nConnection: close\r\nCookie: {session}\r\nCookie: authgate=x\r\n"
    )

    # Apache joins them with a comma.
    assert through_apache.raw(f"{request}\r\n".encode()).startswith(b"HTTP/1.1 401 ")


def test_the_brakes_hold_whatever_a_client_takes_away(own: Running) -> None:
    wrong = "Authorization: Basic YWxpY2U6d3Jvbmc=\r\nConnection: close, X-Authgate-Client\r\n"
    for _ in range(10):
        answer = own.raw(f"GET /reports/q3.csv HTTP/1.1\r\nHost: x\r\n{wrong}\r\n".encode())
        assert answer.startswith(b"HTTP/1.1 401 ")

    # The right one, too, has to wait.
    assert own.ask("/reports/q3.csv", "alice").status_code == 403


def test_without_authgate_there_is_no_file_and_with_it_again_at_once(own: Running) -> None:
    own.authgate.stop()

    for target in ("/public/letters.txt", "/reports/q3.csv"):
        assert own.ask(target, "alice").status_code == 503

    with servers.authgate(own.site.config):
        assert own.ask("/public/letters.txt").content == LETTERS


def test_an_authgate_that_hangs_opens_nothing(own: Running) -> None:
    own.authgate.signal(signal.SIGSTOP)
    try:
        answer = own.ask("/public/letters.txt")
    finally:
        own.authgate.signal(signal.SIGCONT)

    assert answer.status_code in {502, 504}
    assert LETTERS not in answer.content


def test_reloads_lose_no_request(own: Running) -> None:
    reloads_lose_nothing(own)


def test_a_folder_that_apache_was_not_told_of_is_not_served() -> None:
    with servers.open_folder() as folder:
        site = Site("apache", folder)
        site.build()
        (folder / "other" / "public").mkdir(parents=True)
        (folder / "other" / "public" / "letters.txt").write_bytes(LETTERS)
        other = site.config.read_text().replace(f'root = "{site.files}"', f'root = "{folder / "other"}"')
        site.config.write_text(other)
        with servers.authgate(site.config) as authgate, web_server(site) as server:
            answer = Running(site, authgate, server).ask("/public/letters.txt")

    assert answer.status_code == 404
    assert LETTERS not in answer.content


def test_without_canonical_names_the_client_names_the_site() -> None:
    with servers.open_folder() as folder, served("apache", folder, {"UseCanonicalName On": ""}) as running:
        assert running.ask("/public/letters.txt", Host="another.example.com").status_code == 421


def test_without_the_edit_a_client_takes_its_address_away_and_is_refused() -> None:
    edit = 'RequestHeader edit* Connection "(?i)x-authgate-" "x-"'
    with servers.open_folder() as folder, served("apache", folder, {edit: ""}) as running:
        fields = "Host: x\r\nConnection: close, X-Authgate-Client\r\n"
        answer = running.raw(f"GET /public/letters.txt HTTP/1.1\r\n{fields}\r\n".encode())

        assert answer.startswith(b"HTTP/1.1 403 ")


def test_without_file_etag_none_every_file_is_the_same() -> None:
    with servers.open_folder() as folder, served("apache", folder, {"FileETag None": ""}) as running:
        assert running.ask("/public/letters.txt").headers["etag"] == running.ask("/public/big.bin").headers["etag"]
