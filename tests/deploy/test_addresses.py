"""deploy/nginx/examples/ipv6.conf and load-balancer.conf: which address a rule with ``ip:`` sees."""

import socket
from collections.abc import Iterator
from contextlib import closing

import pytest

from tests import servers
from tests.deploy.examples import Examples
from tests.deploy.house import HTTP_HOST, SECRET, status_of

IPV6, BALANCED = "[2001:db8::1]", "balanced.example.com"
PLAN = "/office/plan.txt"


def ask(examples: Examples, *forwarded: str, source: str = "127.0.0.1") -> bytes:
    """Ask as the balancer, or from another address of this machine."""
    host = examples.origin(BALANCED).partition("://")[2]
    head = [f"GET {PLAN} HTTP/1.0", f"Host: {host}", *(f"X-Forwarded-For: {value}" for value in forwarded), "", ""]
    with closing(
        socket.create_connection(("127.0.0.1", examples.house.http_port), servers.DEADLINE, (source, 0))
    ) as connection:
        connection.sendall("\r\n".join(head).encode())
        received = b""
        while part := connection.recv(65536):
            received += part
    return received


def test_rule_sees_the_ipv6_address(examples: Examples) -> None:
    with examples.client(IPV6) as client:
        line = examples.running.logged(lambda: client.get(PLAN))
        answer = client.get(PLAN)

    assert SECRET in answer.content
    assert (line["client"], line["host"], line["rule"]) == ("::1", "[::1]", "ipv6")


def test_login_leads_back_to_the_ipv6_address(examples: Examples) -> None:
    with examples.client(IPV6) as client:
        answer = client.get("/authgate/login")

    assert answer.status_code == 200
    assert "<form" in answer.text


def test_site_by_name_is_not_the_site_by_address(examples: Examples) -> None:
    with examples.client(IPV6) as client:
        answer = client.get(PLAN, headers={"Host": HTTP_HOST})

    # This socket has no other server block: it answers, and authgate decides about the host that was asked for.
    assert answer.status_code == 403
    assert SECRET not in answer.content


def test_rule_sees_the_client_behind_the_balancer(examples: Examples) -> None:
    inside, outside = ask(examples, "10.1.2.3"), ask(examples, "203.0.113.9")

    assert SECRET in inside
    assert status_of(outside) == 403


@pytest.mark.parametrize(
    "forwarded",
    [
        ["10.1.2.3, 203.0.113.9"],
        ["10.1.2.3", "203.0.113.9"],
        ["10.1.2.3,203.0.113.9,127.0.0.1"],
        ["10.1.2.3, unknown"],
        ["10.1.2.3, 203.0.113.9:443"],
        [""],
        [],
        ["10.1.2.3.4"],
        ["for=10.1.2.3"],
    ],
)
def test_client_cannot_forge_an_address_through_the_balancer(examples: Examples, forwarded: list[str]) -> None:
    answer = ask(examples, *forwarded)

    assert status_of(answer) == 403
    assert SECRET not in answer


def test_header_of_anybody_else_means_nothing(examples: Examples) -> None:
    answers = [ask(examples, *forwarded, source="127.0.0.2") for forwarded in (["10.1.2.3"], ["10.1.2.3, 127.0.0.1"])]

    assert [status_of(answer) for answer in answers] == [403, 403]


def test_log_names_the_client_behind_the_balancer(examples: Examples) -> None:
    line = examples.running.logged(lambda: ask(examples, "10.9.9.9, 203.0.113.9"))

    assert line["client"] == "203.0.113.9"


@pytest.fixture(scope="module")
def balancer(examples: Examples) -> Iterator[int]:
    """A second nginx that only hands on, as a load balancer does."""
    port = servers.free_port()
    http = f"""
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://127.0.0.1:{examples.house.http_port};
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        }}
    }}
    """
    with servers.open_folder() as folder, servers.nginx(folder, http, port):
        yield port


def test_real_balancer_adds_the_address_that_counts(examples: Examples, balancer: int) -> None:
    host = examples.origin(BALANCED).partition("://")[2]
    answers = []
    for source in ("127.0.0.1", "127.0.0.2"):
        with closing(socket.create_connection(("127.0.0.1", balancer), servers.DEADLINE, (source, 0))) as connection:
            connection.sendall(f"GET {PLAN} HTTP/1.0\r\nHost: {host}\r\nX-Forwarded-For: 10.1.2.3\r\n\r\n".encode())
            answers.append(connection.recv(65536))

    # From 127.0.0.1 every address in the list but the first is a balancer's: what balancers say is believed.
    assert [status_of(answer) for answer in answers] == [200, 403]
