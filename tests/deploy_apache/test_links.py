"""Signed links through Apache's FastCGI authorizer: in the query and in the path, and shown to nobody."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from authgate.keys import Key
from tests.deploy import linking
from tests.deploy.house import SECRET, body_of, status_of
from tests.deploy.linking import FILES, PLAYLIST, SEGMENTS, link
from tests.deploy_apache.house import ApacheHouse, Running, inhabited
from tests.servers import eventually, open_folder

FILM = "videos/42/film.bin"


@dataclass(frozen=True, slots=True)
class Cinema:
    """A site with videos, running."""

    running: Running
    key: Key

    def raw(self, target: str) -> bytes:
        """Ask for a target as it is written, and return everything that comes back."""
        return self.running.raw(f"GET {target} HTTP/1.1")


@pytest.fixture(scope="module")
def cinema() -> Iterator[Cinema]:
    with open_folder() as folder:
        house = ApacheHouse(folder, rules=linking.SECTION + linking.RULES)
        house.build()
        key = linking.furnish(folder, house.files)
        with inhabited(house) as running:
            yield Cinema(running, key)


def in_path(value: str, path: str) -> str:
    return f"/authgate-link/{value}{path}"


def test_playlist_and_its_segments_open_by_one_link_in_the_path(cinema: Cinema) -> None:
    base = in_path(link(cinema.key, uses=1_000), "/videos/42/")

    playlist = cinema.running.get(f"{base}index.m3u8")
    pieces = [line for line in playlist.text.splitlines() if not line.startswith("#")]

    assert (playlist.content, tuple(pieces)) == (PLAYLIST, SEGMENTS)
    for piece in pieces:
        answer = cinema.running.get(f"{base}{piece}")
        assert (answer.status_code, answer.content) == (200, FILES[f"videos/42/{piece}"])
        assert "set-cookie" not in answer.headers


def test_link_in_the_query_opens_the_playlist_and_not_its_segments(cinema: Cinema) -> None:
    value = link(cinema.key)

    assert cinema.running.get(f"/videos/42/index.m3u8?ag={value}").content == PLAYLIST
    assert [cinema.running.get(f"/videos/42/{piece}").status_code for piece in SEGMENTS] == [403] * 3


@pytest.mark.parametrize(
    "target",
    [
        "/authgate-link/{}/videos/42/film.bin",
        "/authgate-link/{}/videos/42/film.bin?a=1",
        "/authgate-link/{}/videos/42/%66ilm.bin",
        "/authgate-link/{}/videos//42/./film.bin",
        "/%61uthgate-link/{}/videos/42/film.bin",
        "/authgate-link/{}/videos/43/../42/film.bin",
        "http://intranet.example.com/authgate-link/{}/videos/42/film.bin",
        "/videos/42/film.bin?a=1&ag={}&b",
    ],
)
def test_what_means_the_file_opens_it(cinema: Cinema, target: str) -> None:
    answer = cinema.raw(target.replace("{}", link(cinema.key)))

    assert (status_of(answer), body_of(answer)) == (200, FILES[FILM])


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/authgate-link/{}/videos/43/other.ts", 403),
        ("/authgate-link/{}/videos/42/../43/other.ts", 403),
        ("/authgate-link/{}/videos/42/..%2f43/other.ts", 404),
        ("/authgate-link/{}/denied/secret.txt", 403),
        ("/authgate-link/{}/../../denied/secret.txt", 403),
        ("/authgate-link/{}/videos/42/film.bin?ag=x", 403),
        ("/authgate-link/{}/videos/42/film.bin?ag={}", 403),
        ("/authgate-link/{}/videos/42/film.bin?a=1&ag", 403),
        ("/videos/42/film.bin?ag={}&ag={}", 403),
        ("/videos/42/film.bin?ag={}x", 403),
        ("/videos/42/film.bin?AG={}", 403),
        ("/videos/42/film.bin?%61g={}", 403),
        ("/authgate-link/{}/authgate-link/{}/videos/42/film.bin", 403),
        ("/authgate-link/x/authgate-link/{}/videos/42/film.bin", 403),
        ("/authgate-link/{}", 403),
        ("/authgate-link/{}/authgate/refused", 403),
        ("/authgate-link/{}/authgate/away", 403),
        ("/authgate-link/{}/videos/42/film.bin%0a", 403),
        ("/authgate-link/{}/videos/42/%2566ilm.bin", 404),
        ("/authgate-link/{}/videos/42/film.bin%3fx", 403),
        # A file of the machine, not of the site.
        ("/authgate-link/{}/etc/passwd", 403),
    ],
)
def test_no_way_around(cinema: Cinema, target: str, status: int) -> None:
    answer = cinema.raw(target.replace("{}", link(cinema.key)))

    assert SECRET not in answer
    assert b"root:" not in answer
    assert status_of(answer) == status, answer


def test_path_that_is_also_one_of_this_machine_is_the_site_s(cinema: Cinema) -> None:
    # mod_rewrite takes /tmp/x for the file /tmp/x where there is a /tmp, unless it is told otherwise.
    value = link(cinema.key, "/shared/**")
    files = cinema.running.house.files
    answer = cinema.raw(in_path(value, f"{files}/shared/plan.txt"))

    assert SECRET not in answer


def test_return_address_has_no_link(cinema: Cinema) -> None:
    value = link(cinema.key, "/shared/plan.txt")

    for target in (f"/shared/plan.txt?a=1&ag={value}x", in_path(f"{value}x", "/shared/plan.txt?a=1")):
        answer = cinema.running.get(target, Accept="text/html")
        assert answer.status_code == 302
        assert answer.headers["location"].endswith("/authgate/login?next=/shared/plan.txt%3Fa%3D1")


@pytest.mark.parametrize("form", ["query", "path"])
def test_pages_tell_no_other_site_their_link(cinema: Cinema, form: str) -> None:
    value = link(cinema.key)
    target = f"/{FILM}?ag={value}" if form == "query" else in_path(value, f"/{FILM}")

    assert cinema.running.get(target).headers.get_list("referrer-policy") == ["no-referrer"]
    assert "referrer-policy" not in cinema.running.get("/public/hello.txt").headers


def test_log_holds_no_link(cinema: Cinema) -> None:
    value = link(cinema.key)
    for target in (
        f"/{FILM}?ag={value}",
        in_path(value, f"/{FILM}"),
        f"/authgate-link/{value}",
        in_path(value, f"/authgate-link/{value}/{FILM}"),
        f"/%61uthgate-link/{value}/{FILM}",
    ):
        cinema.raw(target)
    cinema.running.get("/marker", Referer=f"http://x/?ag={value}")
    log = cinema.running.house.log
    eventually(lambda: b"/marker" in log.read_bytes(), "the last line in the log")

    text = log.read_text()
    assert FILM in text
    assert value[-43:] not in text
