"""A cache in front that knows nothing of cookies gives one visitor's files to nobody else."""

from collections.abc import Iterator

import httpx
import pytest

from tests import servers
from tests.deploy.house import HTTP_HOST, NO_TLS, OPEN, SECRET, Running, Visitor, hidden_fields, password


@pytest.fixture(scope="module")
def front(site: Running) -> Iterator[str]:
    """A second nginx: one key for all visitors, and what does not forbid it is kept for ten minutes."""
    with servers.open_folder() as folder:
        port = servers.free_port()
        http = f"""
        proxy_cache_path {folder}/cache keys_zone=all:1m;
        server {{
            listen 127.0.0.1:{port};
            location / {{
                proxy_pass http://127.0.0.1:{site.house.http_port};
                proxy_set_header Host $http_host;
                proxy_cache all;
                proxy_cache_key $uri;
                proxy_cache_valid any 10m;
                add_header X-Cache $upstream_cache_status always;
            }}
        }}
        """
        with servers.nginx(folder, http, port):
            yield f"http://127.0.0.1:{port}"


def get(front: str, path: str, user: str | None = None, headers: dict[str, str] | None = None) -> httpx.Response:
    auth = (user, password(user)) if user else None
    sent = {"Host": HTTP_HOST, **(headers or {})}
    return httpx.get(f"{front}{path}", headers=sent, auth=auth, verify=NO_TLS, trust_env=False)


def test_cache_in_front_does_keep_what_a_rule_makes_public(front: str) -> None:
    answers = [get(front, "/public/cached.txt") for _ in range(2)]

    assert [answer.headers["x-cache"] for answer in answers] == ["MISS", "HIT"]
    assert answers[1].content == OPEN


def test_second_visitor_gets_no_protected_file_from_it(front: str) -> None:
    first, again = (get(front, "/reports/q3.csv", user="carol") for _ in range(2))
    stranger, other = get(front, "/reports/q3.csv"), get(front, "/reports/q3.csv", user="bob")

    assert SECRET in first.content
    assert [answer.headers["x-cache"] for answer in (first, again)] == ["MISS", "MISS"]
    assert [answer.status_code for answer in (stranger, other)] == [401, 403]
    assert SECRET not in stranger.content + other.content


def test_range_and_not_found_of_protected_paths_are_not_kept(front: str) -> None:
    get(front, "/reports/q3.csv", user="carol", headers={"Range": "bytes=0-1"})
    get(front, "/reports/nothing.csv", user="carol")

    assert [get(front, path).status_code for path in ("/reports/q3.csv", "/reports/nothing.csv")] == [401, 401]


def test_refusals_and_redirects_are_not_kept(front: str) -> None:
    for headers in ({}, dict(Visitor.NAVIGATION)):
        assert get(front, "/staff/handbook.txt", headers=headers).status_code in {401, 302}
        assert get(front, "/staff/handbook.txt", user="bob", headers=headers).status_code == 403
        assert SECRET in get(front, "/staff/handbook.txt", user="alice", headers=headers).content


def test_login_form_and_who_am_i_are_each_visitors_own(front: str) -> None:
    tokens = {hidden_fields(get(front, "/authgate/login").text)["token"] for _ in range(2)}
    users = [get(front, "/authgate/whoami?format=json", user=user).json()["user"] for user in ("carol", "bob", None)]

    assert len(tokens) == 2
    assert users == ["carol", "bob", None]
