"""Counted and revoked links through nginx, two workers behind it: a use is one client's, and not one request's."""

import asyncio
import json
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from authgate.cli.link import link as command
from authgate.credentials import Credentials, Presented
from authgate.credentials.session import KIND as SESSION
from authgate.credentials.session import Sessions, decode
from authgate.keys import Key
from authgate.model import Outcome, Subject
from authgate.pdp import Pdp
from authgate.stores.cache import CachedRecords
from authgate.stores.memory import MemoryStore
from tests import servers
from tests.clock import MovableClock
from tests.credentials.linked import carrying, following, signer
from tests.credentials.people import cheap, users
from tests.deploy import linking
from tests.deploy.house import HTTP_HOST, NO_TLS, House, Running, inhabited
from tests.deploy.linking import FILES, link
from tests.policies import SITES, compiled
from tests.servers import DEADLINE, eventually, open_folder

FILM = "/videos/42/film.bin"
BIG = "/videos/42/big.bin"
CONTENT = FILES[FILM[1:]]
# More than the buffers of both ends of a connection hold.
SIZE = 32 << 20


@dataclass(frozen=True, slots=True)
class Cinema:
    """A site with videos, running."""

    running: Running
    key: Key

    @property
    def house(self) -> House:
        return self.running.house

    def ask(
        self, value: str, source: str = "127.0.0.1", *, path: str = FILM, method: str = "GET", **headers: str
    ) -> httpx.Response:
        """Ask for a file by a link, from one of this machine's addresses."""
        transport = httpx.HTTPTransport(local_address=source, verify=NO_TLS)
        with httpx.Client(transport=transport, trust_env=False, timeout=DEADLINE) as client:
            sent = {"Host": f"{HTTP_HOST}:{self.house.http_port}", **headers}
            return client.request(method, f"http://127.0.0.1:{self.house.http_port}{path}?ag={value}", headers=sent)

    def command(self, *arguments: str) -> str:
        """Run a subcommand of `authgate link`, and return what it prints."""
        result = CliRunner().invoke(command, [*arguments, "--config", str(self.house.config)])
        assert result.exit_code == 0, result.output
        return result.stdout

    def taken(self, value: str) -> object:
        """Return how many uses of a link are taken."""
        return json.loads(self.command("show", value, "--json"))["taken"]

    def reason(self, value: str) -> object:
        """Return the log's reason for the answer to the link."""
        return self.running.logged(lambda: self.ask(value))["reason"]


@pytest.fixture(scope="module")
def cinema() -> Iterator[Cinema]:
    with open_folder() as folder:
        house = House(folder, rules=linking.SECTION + linking.RULES, workers=2)
        house.build()
        key = linking.furnish(folder, house.files)
        with (house.files / BIG[1:]).open("wb") as big:
            big.truncate(SIZE)
        with inhabited(house) as running:
            yield Cinema(running, key)


def test_resumed_download_is_one_use(cinema: Cinema, tmp_path: Path) -> None:
    value = link(cinema.key, FILM, uses=1)
    file = tmp_path / "film.bin"
    curl = [
        *(servers.require("curl"), "--silent", "--show-error", "--fail", "--noproxy", "*", "--output", str(file)),
        *("--header", f"Host: {HTTP_HOST}:{cinema.house.http_port}"),
        f"http://127.0.0.1:{cinema.house.http_port}{FILM}?ag={value}",
    ]

    subprocess.run([*curl, "--range", "0-999"], check=True)
    assert file.read_bytes() == CONTENT[:1000]
    subprocess.run([*curl, "--continue-at", "-"], check=True)

    assert file.read_bytes() == CONTENT
    assert cinema.taken(value) == 1


def test_ranges_not_modified_and_head_are_the_same_use(cinema: Cinema) -> None:
    value = link(cinema.key, FILM, uses=1)

    head = cinema.ask(value, method="HEAD")
    assert (head.status_code, head.headers["content-length"]) == (200, str(len(CONTENT)))
    assert cinema.taken(value) == 0
    for _ in range(10):
        piece = cinema.ask(value, Range="bytes=256-511")
        assert (piece.status_code, piece.content) == (206, CONTENT[256:512])
    assert cinema.ask(value, **{"If-None-Match": head.headers["etag"]}).status_code == 304
    assert cinema.ask(value).content == CONTENT
    assert cinema.taken(value) == 1

    # Used up, for another client: not even its size.
    other = [cinema.ask(value, "127.0.0.2", method=method) for method in ("GET", "HEAD")]
    assert [answer.status_code for answer in other] == [403, 403]
    assert cinema.ask(value, method="HEAD").status_code == 200


def test_second_client_takes_a_use_and_the_third_gets_none(cinema: Cinema) -> None:
    value = link(cinema.key, FILM, uses=2)

    statuses = [cinema.ask(value, f"127.0.0.{last}").status_code for last in (2, 3, 4, 2, 3)]

    assert statuses == [200, 200, 403, 200, 200]
    assert cinema.taken(value) == 2
    assert cinema.running.logged(lambda: cinema.ask(value, "127.0.0.4"))["reason"] == "limit_reached"


def test_each_file_of_a_folder_is_a_use(cinema: Cinema) -> None:
    value = link(cinema.key, uses=2)

    paths = (FILM, "/videos/42/one.ts", "/videos/42/two.ts", FILM)
    assert [cinema.ask(value, path=path).status_code for path in paths] == [200, 200, 403, 200]


def test_fifty_clients_at_once_get_what_there_is(cinema: Cinema) -> None:
    value = link(cinema.key, FILM, uses=3)

    def ask(number: int) -> int:
        return cinema.ask(value, f"127.0.1.{number}").status_code

    with ThreadPoolExecutor(25) as pool:
        statuses = list(pool.map(ask, range(1, 51)))

    assert (statuses.count(200), statuses.count(403)) == (3, 47)
    assert cinema.taken(value) == 3


def test_two_nodes_on_one_store_count_together(cinema: Cinema) -> None:
    value = link(cinema.key, FILM, uses=3)
    other = cinema.house.folder / "other.toml"
    text = cinema.house.config.read_text()
    listen = 'check = "unix:run/other-check.sock"\nweb = "unix:run/other-web.sock"\n'
    other.write_text(text.replace("[listen]\n", f"[listen]\n{listen}"))

    def ask_other(number: int) -> int:
        transport = httpx.HTTPTransport(uds=str(cinema.house.folder / "run" / "other-check.sock"), verify=NO_TLS)
        facts = {"Path": FILM, "Query": f"ag={value}", "Method": "GET", "Host": HTTP_HOST, "Scheme": "http"}
        headers = {f"X-Authgate-{name}": said for name, said in {**facts, "Client": f"127.0.2.{number}"}.items()}
        with httpx.Client(transport=transport, trust_env=False) as client:
            return client.get("http://authgate/check", headers=headers).status_code

    def ask(number: int) -> int:
        return cinema.ask(value, f"127.0.2.{number}").status_code if number % 2 else ask_other(number)

    with servers.authgate(other), ThreadPoolExecutor(10) as pool:
        statuses = list(pool.map(ask, range(1, 21)))
        again = [number for number, status in enumerate(statuses, 1) if status == 200]
        # Whichever node is asked: the unit stands.
        assert [ask_other(number) for number in again] == [200] * 3

    assert (statuses.count(200), statuses.count(403)) == (3, 17)


def test_revoked_link_ends_with_the_download_that_is_running(cinema: Cinema) -> None:
    value = link(cinema.key, BIG)
    assert cinema.ask(value, path=BIG, method="HEAD").status_code == 200
    with socket.create_connection(("127.0.0.1", cinema.house.http_port), timeout=DEADLINE) as connection:
        head = (
            f"GET {BIG}?ag={value} HTTP/1.1\r\nHost: {HTTP_HOST}:{cinema.house.http_port}\r\nConnection: close\r\n\r\n"
        )
        connection.sendall(head.encode())
        received = len(connection.recv(65536))
        cinema.command("revoke", value)
        eventually(lambda: cinema.ask(value, path=BIG, method="HEAD").status_code == 403, "the link is refused")
        # All workers hear it within 100 ms; each is asked now and then.
        end = time.monotonic() + 0.1
        while time.monotonic() < end:
            cinema.ask(value, path=BIG, method="HEAD")
        assert {cinema.ask(value, path=BIG).status_code for _ in range(20)} == {403}
        while part := connection.recv(1 << 20):
            received += len(part)

    assert received > SIZE
    assert cinema.running.logged(lambda: cinema.ask(value, path=BIG))["reason"] == "revoked"


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"seconds": -1}, "expired"),
        ({"nbf": 2**40, "seconds": 2**41}, "expired"),
        ({"path": "/videos/43/**"}, "scope_exceeded"),
        ({"methods": ["PUT"]}, "scope_exceeded"),
        ({"networks": ["192.0.2.0/24"]}, "scope_exceeded"),
        ({"host": "files.example.com"}, "scope_exceeded"),
    ],
)
def test_link_that_does_not_count_is_a_page_and_never_a_login(
    cinema: Cinema, claims: dict[str, object], reason: str
) -> None:
    value = link(cinema.key, **claims)  # type: ignore[arg-type] # claims by name
    answer = cinema.ask(value, Accept="text/html")

    assert answer.status_code == 403
    assert "location" not in answer.headers
    assert "www-authenticate" not in answer.headers
    assert re.search(r"<h1>.*</h1>", answer.text)
    assert value[-43:] not in answer.text
    assert cinema.reason(value) == reason


def test_address_that_the_command_prints_opens_the_file(cinema: Cinema) -> None:
    printed = cinema.command("create", FILM, "--expires", "2h", "--uses", "1", "--host", HTTP_HOST)
    path, _, value = printed.strip().removeprefix(cinema.house.origin()).partition("?ag=")

    assert cinema.ask(value, path=path).content == CONTENT


def test_film_of_two_hours_is_never_refused(tmp_path: Path) -> None:
    # Sessions end after 30 minutes without a request, and the one that the browser sends ended long ago.
    clock = MovableClock()
    policy = compiled(
        {"paths": ["/videos/**"], "allow": ["link"]},
        {"paths": ["/shared/**"], "allow": ["link", "group:staff"]},
    )

    async def play() -> list[Outcome]:
        store = MemoryStore(clock)
        people = users(tmp_path, f"alice:{cheap('secret')}\n")
        records = CachedRecords(store, SESSION, decode, 10)
        sessions = Sessions(records, store, people, 1800, 43200, clock)
        cookie = await sessions.begin(Subject("", "alice"), SITES[0])
        sent = Presented(f"{SITES[0].session_cookie}={cookie}", "")
        signing = signer(tmp_path)
        end = clock.now + 9000
        async with following(signing, clock, store) as links:
            pdp = Pdp(policy, SITES, Credentials(sessions, None), links=links)
            values = {path: signing.sign(path, exp=end) for path in ("/videos/**", "/shared/**")}
            counted = signing.sign("/videos/**", exp=end, id="b", uses=1_000)
            said = []
            # A piece every ten seconds, then a pause of 50 minutes, then the rest.
            for number in [*range(0, 200, 10), *range(3200, 7200, 10)]:
                clock.now = end - 9000 + number
                for path, value in [*values.items(), ("/videos/**", counted)]:
                    asked = carrying(value, f"{path[:-2]}{number}.ts")
                    given = pdp.evaluate_at_once(asked, sent) or await pdp.evaluate(asked, sent)
                    said.append(given.decision.outcome)
            clock.now = end
            late = await pdp.evaluate(carrying(values["/videos/**"], "/videos/x.ts"), sent)
            return [*said, late.decision.outcome]

    *during, after = asyncio.run(play())

    assert set(during) == {Outcome.ALLOW}
    assert after is Outcome.REFUSE
