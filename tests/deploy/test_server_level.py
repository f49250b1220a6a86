"""What operators write at server level, and what it must not do to the question or its answer."""

from collections.abc import Iterator, Mapping

import pytest

from tests import servers
from tests.deploy.house import OPEN, SECRET, House, Running, inhabited

# Each of these, without its cure in authgate-server.conf, served every file to everybody.
DIRECTIVES: Mapping[str, str] = {
    "front-controller.example.com": "if (!-e $request_filename) { rewrite ^ /index.html last; }",
    "unknown-is-fine.example.com": 'if ($uri !~ "^/(public|denied|staff)") { return 204; }',
    "error-page.example.com": "error_page 401 403 500 502 504 = /index.html; proxy_intercept_errors on;",
    "error-page-200.example.com": "error_page 401 403 500 502 504 =200 /index.html; proxy_intercept_errors on;",
    "named-error-page.example.com": "error_page 401 403 500 502 504 = @fine; proxy_intercept_errors on;",
    "satisfy-any.example.com": "satisfy any; allow all;",
}


def server_blocks(house: House) -> str:
    return "".join(
        f"""
        server {{
            include authgate/authgate-server.conf;
            listen 127.0.0.1:{house.http_port};
            server_name {host};
            root {house.files};
            {directives}
            location ^~ /public/ {{ include authgate/authgate-protect.conf; }}
            location ^~ /denied/ {{ include authgate/authgate-protect.conf; }}
            location ^~ /staff/ {{ include authgate/authgate-protect.conf; }}
            location = /index.html {{ }}
            location @fine {{ return 204; }}
        }}
        """
        for host, directives in DIRECTIVES.items()
    )


@pytest.fixture(scope="module")
def sites() -> Iterator[Running]:
    with servers.open_folder() as folder:
        house = House(folder, sites=tuple(DIRECTIVES))
        house.build()
        with inhabited(house, server_blocks(house)) as running:
            yield running


@pytest.mark.parametrize("host", DIRECTIVES)
def test_refusal_stays_one(sites: Running, host: str) -> None:
    with sites.client(host) as client:
        answers = [client.get(path) for path in ("/public/hello.txt", "/denied/secret.txt", "/staff/handbook.txt")]

    assert answers[0].content == OPEN
    assert [answer.status_code for answer in answers] == [200, 403, 401]
    assert not any(SECRET in answer.content for answer in answers)


@pytest.mark.parametrize("host", DIRECTIVES)
def test_login_and_member_are_not_hindered(sites: Running, host: str) -> None:
    with sites.client(host, user="alice") as client:
        handbook, form = client.get("/staff/handbook.txt"), client.get("/authgate/login")

    assert SECRET in handbook.content
    assert "<form" in form.text


@pytest.mark.parametrize("host", DIRECTIVES)
def test_outage_stays_one(host: str) -> None:
    with servers.open_folder() as folder:
        house = House(folder, sites=tuple(DIRECTIVES))
        house.build()
        with (
            servers.nginx(folder, house.http_block(server_blocks(house)), house.http_port) as nginx,
            Running(house, nginx, nginx).client(host) as client,
        ):
            answers = [client.get(path) for path in ("/public/hello.txt", "/denied/secret.txt", "/authgate/login")]

    assert [answer.status_code for answer in answers] == [503, 503, 503]
    assert not any(OPEN in answer.content or SECRET in answer.content for answer in answers)
