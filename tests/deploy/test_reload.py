"""Reloads behind nginx: the new policy decides when `authgate reload` ends, and no request is lost by it."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from authgate.cli.reload import reload
from tests import servers
from tests.credentials.people import sha
from tests.deploy.house import HTTP_HOST, House, Running, inhabited, password
from tests.load import load

# Changed by each reload, so that every decision says by which policy it was given.
SWITCH = """
[[rules]]
name = "switch"
paths = ["/public/hello.txt"]
{term} = ["anyone"]
"""

# Before the rules that admit.
BANNED = """
[[rules]]
name = "banned"
paths = ["/staff/**"]
deny = ["group:banned"]

[[rules]]
name = "switch"
"""

RELOADS = 20


@pytest.fixture
def site() -> Iterator[Running]:
    with servers.open_folder() as folder:
        house = House(folder, rules=SWITCH.format(term="allow"), workers=2)
        house.build()
        with inhabited(house) as running:
            yield running


def switch(house: House, *, on: bool) -> None:
    allow, deny = SWITCH.format(term="allow"), SWITCH.format(term="deny")
    before, after = (deny, allow) if on else (allow, deny)
    house.config.write_text(house.config.read_text().replace(before, after))


def reload_now(house: House) -> None:
    result = CliRunner().invoke(reload, ["--config", str(house.config)])
    assert result.exit_code == 0, result.output


def test_what_is_asked_after_a_reload_is_decided_by_the_new_policy(site: Running) -> None:
    with ExitStack() as stack:
        # Many at once, so that nginx keeps connections to both workers of the old policy.
        clients = [stack.enter_context(site.client()) for _ in range(10)]
        for number in range(10):
            on = bool(number % 2)
            switch(site.house, on=on)
            reload_now(site.house)

            statuses = [client.get("/public/hello.txt").status_code for client in clients]

            assert statuses == [200 if on else 403] * len(clients)
            keep_connections(clients)


def keep_connections(clients: list[httpx.Client]) -> None:
    """Ask from all clients at the same time: nginx needs a connection for each, and keeps it."""
    threads = [threading.Thread(target=client.get, args=("/public/letters.txt",)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_reloads_lose_no_request_and_no_post(site: Running) -> None:
    house = site.house
    headers = {"Host": f"{HTTP_HOST}:{house.http_port}"}
    with load(
        house.folder,
        f"http://127.0.0.1:{house.http_port}/public/letters.txt",
        rate=2000,
        methods=("GET", "POST"),
        headers=headers,
    ) as measured:
        for number in range(RELOADS):
            switch(house, on=bool(number % 2))
            reload_now(house)

    # nginx itself refuses a POST to a file, after authgate has allowed it.
    assert measured.answers.keys() == {200, 405}, measured
    assert measured.errors == 0
    assert sum(measured.answers.values()) > 1000
    assert site.authgate.text().count("configuration reloaded: ") == RELOADS


def test_login_forms_meet_no_closed_door(site: Running) -> None:
    """A POST is not asked twice by nginx, as a question of auth_request is."""
    house = site.house
    address = f"http://127.0.0.1:{house.http_port}/authgate/login"
    headers = {"Host": f"{HTTP_HOST}:{house.http_port}", "Content-Type": "application/x-www-form-urlencoded"}
    with load(house.folder, address, rate=500, connections=8, methods=("POST",), headers=headers) as measured:
        for _ in range(RELOADS):
            reload_now(house)

    # Without its token no login is even tried.
    assert measured.answers.keys() == {403}, measured
    assert measured.errors == 0


def test_user_and_group_files_count_whole_or_not_at_all(site: Running) -> None:
    """While they are rewritten in place, slowly, each decision is that of a full content, the old or the new.

    Alice is in ``staff`` and Mallory is ``banned`` in every full content, in its last line: no decision without alice,
    none with mallory can come from one. Bob is in ``staff`` in every other.
    """
    house = site.house
    groups, users = house.folder / "groups", house.folder / "users.htpasswd"
    contents = [f"staff: {bob} mallory alice\n# {'x' * 200}\nbanned: mallory" for bob in ("bob", "nobody")]
    people = "".join(f"{name}:{sha(password(name))}\n" for name in ("bob", "mallory", "alice"))
    users.write_text(people)
    groups.write_text(contents[0])
    house.config.write_text(house.config.read_text().replace('[[rules]]\nname = "switch"\n', BANNED, 1))
    reload_now(house)

    seen: dict[str, set[int]] = {"alice": set(), "bob": set(), "mallory": set()}
    clients = {name: site.client(user=name) for name in seen}

    def ask() -> None:
        for name, client in clients.items():
            seen[name].add(client.get("/staff/handbook.txt").status_code)

    def settled(bob: int) -> Callable[[], bool]:
        # Both workers: whichever answers, many times over.
        return lambda: all(clients["bob"].get("/staff/handbook.txt").status_code == bob for _ in range(20))

    ask()
    assert seen == {"alice": {200}, "bob": {200}, "mallory": {403}}
    with asking(ask):
        for path, content in ((groups, contents[1]), (users, people)):
            rewrite(path, content)
        servers.eventually(settled(403), "the new groups count")
        groups.rename(groups.with_suffix(".away"))
        time.sleep(1.5)
        groups.with_suffix(".away").rename(groups)
        groups.write_text(contents[0])
        servers.eventually(settled(200), "the old groups count again")

    assert seen == {"alice": {200}, "bob": {200, 403}, "mallory": {403}}
    for client in clients.values():
        client.close()


def rewrite(path: Path, content: str) -> None:
    """Write in place as slowly as the documents allow: truncated first, with pauses in the middle of lines."""
    with path.open("w") as file:
        for part in (content[:17], content[17:-5], content[-5:]):
            time.sleep(0.9)
            file.write(part)
            file.flush()


@contextmanager
def asking(ask: Callable[[], None]) -> Iterator[None]:
    over = threading.Event()

    def go_on() -> None:
        while not over.is_set():
            ask()

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
