"""Set-Cookie fields, attribute by attribute, for each kind of site."""

import pytest

from authgate.model import Site
from authgate.web.set_cookie import ended_session_cookie, login_form_cookie, session_cookie

SECURE = Site("https", "files.example.com")
SHARED = Site("https", "a.shared.example", cookie_domain="shared.example")
PLAIN = Site("http", "127.0.0.1", port=8080)


@pytest.mark.parametrize(
    ("site", "expected"),
    [
        (SECURE, "__Host-authgate=VALUE; Path=/; HttpOnly; SameSite=Lax; Secure"),
        (SHARED, "__Secure-authgate=VALUE; Path=/; HttpOnly; SameSite=Lax; Domain=shared.example; Secure"),
        (PLAIN, "authgate=VALUE; Path=/; HttpOnly; SameSite=Lax"),
    ],
)
def test_session_cookie_has_the_attributes_of_its_site(site: Site, expected: str) -> None:
    assert session_cookie(site, "VALUE") == expected
    assert ended_session_cookie(site) == expected.replace("VALUE", "") + "; Max-Age=0"


def test_form_cookie_is_strict_and_never_shared_between_hosts() -> None:
    assert login_form_cookie(SHARED, "n", "VALUE") == "n=VALUE; Path=/; HttpOnly; SameSite=Strict; Secure"
    assert login_form_cookie(PLAIN, "n", "VALUE") == "n=VALUE; Path=/; HttpOnly; SameSite=Strict"
