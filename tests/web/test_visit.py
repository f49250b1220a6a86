"""Which site a request is for, and what the client wants to read."""

import pytest

from authgate.web.visit import preferred
from tests.web.visitor import PLAIN, SECURE, Visitor

HOST = ("x-authgate-host", "files.example.com")
SCHEME = ("x-authgate-scheme", "https")


@pytest.mark.parametrize(
    "host", ["files.example.com", "FILES.example.COM", "files.example.com.", "files.example.com:443"]
)
def test_site_is_found_by_host_without_case_port_and_final_dot(visitor: Visitor, host: str) -> None:
    response = visitor.request("GET", "/authgate/login", [("x-authgate-host", host), SCHEME], bare=True)

    assert response.status_code == 200
    assert "files.example.com" in response.text


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [HOST],
        [SCHEME],
        [HOST, HOST, SCHEME],
        [HOST, ("x-authgate-host", "b.shared.example"), SCHEME],
        [HOST, SCHEME, SCHEME],
        [("x-authgate-host", ""), SCHEME],
        [("host", "files.example.com"), ("x-forwarded-host", "files.example.com"), SCHEME],
    ],
)
@pytest.mark.parametrize("target", ["/authgate/login", "/authgate/whoami", "/authgate/refused", "/authgate/style.css"])
def test_host_and_scheme_have_to_be_there_exactly_once(
    visitor: Visitor, headers: list[tuple[str, str]], target: str
) -> None:
    response = visitor.request("GET", target, headers, bare=True)

    assert response.status_code == 400
    assert response.headers["content-type"].startswith("text/plain")


@pytest.mark.parametrize(
    ("host", "scheme"),
    [
        ("other.example", "https"),
        ("files.example.com.evil.example", "https"),
        ("files.example.com..", "https"),
        ("[files.example.com]x", "http"),
        ("files.example.com", "http"),
        ("127.0.0.1", "https"),
        ("files.example.com", "ftp"),
        (" ", "https"),
        ("\u00e9", "https"),
    ],
)
def test_unknown_origin_is_misdirected(visitor: Visitor, host: str, scheme: str) -> None:
    headers = [("x-authgate-host", host), ("x-authgate-scheme", scheme)]
    encoded = [(name.encode(), value.encode("latin-1")) for name, value in headers]

    response = visitor.request("GET", "/authgate/login", encoded, bare=True)  # type: ignore[arg-type] # raw bytes

    assert response.status_code == 421
    assert "set-cookie" not in response.headers


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ("", "text"),
        ("*/*", "text"),
        ("text/*", "text"),
        ("text/html", "html"),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "html"),
        ("TEXT/HTML", "html"),
        ("application/json", "json"),
        ("application/json, text/html;q=0.9", "json"),
        ("application/json;q=0.4, text/html;q=0.5", "html"),
        ("text/html, application/json", "html"),
        ("text/html;q=0", "text"),
        ("text/html;q=nonsense, application/json", "json"),
        ("text/html;q=\u0663, application/json;q=0.1", "json"),
        ("text/htmlx", "text"),
        (",;q=,,;", "text"),
    ],
)
def test_accept_header_is_weighed(accept: str, wanted: str) -> None:
    assert preferred(accept) == wanted


def test_one_host_may_be_plain_and_another_secure(visitor: Visitor) -> None:
    for site in (PLAIN, SECURE):
        visitor.site = site

        assert visitor.get("/authgate/login").status_code == 200
