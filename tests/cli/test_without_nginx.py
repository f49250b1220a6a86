"""The stand-in for nginx asks the same questions and obeys the answers."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from authgate.app import create_worker
from authgate.cli.sample import lay_out
from authgate.cli.without_nginx import gate
from authgate.config import load
from tests import servers
from tests.credentials.people import sha

ORIGIN = "http://127.0.0.1:8080"


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with servers.open_folder() as made:
        lay_out(made, 8080, nginx=False)
        people = "".join(f"{name}:{sha(f'{name}-demo')}\n" for name in ("alice", "bob", "carol"))
        (made / "users.htpasswd").write_text(people)
        yield made


def get(folder: Path, target: str, user: str | None = None, **headers: str) -> httpx.Response:
    async def ask() -> httpx.Response:
        worker = create_worker(load(folder / "authgate.toml"))
        transport = httpx.ASGITransport(gate(worker, folder / "site"))
        async with httpx.AsyncClient(transport=transport) as client:
            auth = (user, f"{user}-demo") if user else None
            answer = await client.get(f"{ORIGIN}{target}", auth=auth, headers=headers)
        await worker.aclose()
        return answer

    return asyncio.run(ask())


def test_open_file_is_served_with_the_decisions_cache_control(folder: Path) -> None:
    answer = get(folder, "/public/hello.txt")

    assert answer.status_code == 200
    assert answer.text == (folder / "site" / "public" / "hello.txt").read_text()
    assert answer.headers["cache-control"] == "private, no-cache"


def test_start_page_is_served(folder: Path) -> None:
    assert "Seven files behind one gate" in get(folder, "/").text


def test_file_is_for_those_it_is_for(folder: Path) -> None:
    statuses = {user: get(folder, "/staff/handbook.txt", user).status_code for user in ("alice", "bob", "carol")}

    assert statuses == {"alice": 200, "bob": 403, "carol": 200}


def test_part_of_a_file(folder: Path) -> None:
    answer = get(folder, "/media/big.bin", "bob", Range="bytes=65536-65542")

    assert answer.status_code == 206
    assert answer.text == "0000001"


def test_navigation_is_sent_to_the_login(folder: Path) -> None:
    answer = get(folder, "/staff/handbook.txt", Accept="text/html")

    assert answer.status_code == 302
    assert answer.headers["location"] == f"{ORIGIN}/authgate/login?next=/staff/handbook.txt"


def test_program_gets_a_challenge(folder: Path) -> None:
    answer = get(folder, "/staff/handbook.txt")

    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Basic ")


def test_refusal_has_the_page_with_the_decision(folder: Path) -> None:
    answer = get(folder, "/staff/handbook.txt", "bob", Accept="text/html")

    assert answer.status_code == 403
    assert "You may not open this" in answer.text
    assert "bob" in answer.text


def test_pages_of_authgate_are_served(folder: Path) -> None:
    assert get(folder, "/authgate/login").status_code == 200
    assert get(folder, "/authgate/whoami?format=json", "alice").json()["user"] == "alice"


@pytest.mark.parametrize(
    "target",
    [
        "/public/../staff/handbook.txt",
        "/public/%2e%2e/staff/handbook.txt",
        "//staff/handbook.txt",
        "/staff%2fhandbook.txt",
    ],
)
def test_other_spelling_does_not_help(folder: Path, target: str) -> None:
    assert b"Staff handbook" not in get(folder, target, "bob").content


def test_headers_of_the_web_server_cannot_be_sent_by_a_client(folder: Path) -> None:
    forged = {"X-Authgate-Path": "/public/hello.txt", "X-Authgate-User": "alice"}

    assert get(folder, "/staff/handbook.txt", **forged).status_code == 401


def test_refusal_page_cannot_be_asked_for_by_name(folder: Path) -> None:
    forged = {"X-Authgate-Decision": "forged", "X-Authgate-Reason": "no_rule"}

    answer = get(folder, "/authgate/refused", **forged)

    assert answer.status_code == 403
    assert "forged" not in answer.text
