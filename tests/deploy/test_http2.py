"""deploy/nginx/examples/http2.conf: what is decided does not depend on the version of HTTP."""

import subprocess

import pytest

from tests.deploy.examples import Examples
from tests.deploy.house import SECRET, password
from tests.servers import require

HOST = "h2.example.com"


def curl(examples: Examples, path: str, *more: str) -> tuple[str, bytes]:
    """Return version and status, and the body."""
    port = examples.house.tls_port
    command = [
        *(require("curl"), "-sS", "--http2", "--path-as-is", "--cacert", str(examples.house.folder / "cert.pem")),
        *("--resolve", f"{HOST}:{port}:127.0.0.1", "-w", "\n%{http_version} %{http_code}", *more),
        f"https://{HOST}:{port}{path}",
    ]
    body, _, last = subprocess.run(command, check=True, capture_output=True, timeout=30).stdout.rpartition(b"\n")
    return last.decode(), body


@pytest.mark.parametrize("path", ["/page.txt", "/app/x"])
def test_member_is_let_in_over_http_2_and_a_stranger_is_not(examples: Examples, path: str) -> None:
    stranger, member = curl(examples, path), curl(examples, path, "-u", f"alice:{password('alice')}")

    assert (stranger[0], member[0]) == ("2 401", "2 200")
    assert SECRET not in stranger[1]
    assert SECRET in member[1] or b'"alice"' in member[1]


def test_application_hears_nothing_of_ours_over_http_2(examples: Examples) -> None:
    # curl sends each cookie in a field of its own, as HTTP/2 allows.
    cookies = ("-H", "Cookie: a=1; authgate=A", "-H", "Cookie: __Host-authgate-form=B; b=2", "-H", "Remote-User: carol")

    status, body = curl(examples, "/app/x", *cookies, "-u", f"alice:{password('alice')}")

    assert status == "2 200"
    assert b'["Cookie", "a=1; b=2"]' in body
    assert b"carol" not in body


@pytest.mark.parametrize(
    "path", ["/app/..%2fpage.txt", "/app/%2e%2e/page.txt", "/app/x/../../app/y", "/app//x", "/app/x;y"]
)
def test_target_with_two_readings_is_refused_over_http_2(examples: Examples, path: str) -> None:
    status, body = curl(examples, path, "-u", f"alice:{password('alice')}")

    # What nginx itself makes /page.txt of is a file and no application.
    assert status in {"2 403", "2 200"}
    assert (SECRET in body) == (status == "2 200")
    assert b'"target"' not in body


def test_post_over_http_2_is_decided_and_arrives(examples: Examples) -> None:
    refused = curl(examples, "/app/x", "-d", "body")
    arrived = curl(examples, "/app/x", "-d", "body", "-u", f"alice:{password('alice')}")

    assert (refused[0], arrived[0]) == ("2 401", "2 200")
    assert b'"bytes": 4' in arrived[1]
