"""Return addresses after login."""

import json
import os
from pathlib import Path
from urllib.parse import parse_qs, urljoin, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authgate.model import Site
from authgate.redirects import MAX_BYTES, login_location, return_path

FILES = Site("https", "files.example.com")

ACCEPTED = [
    "/",
    "/reports/q3.csv",
    "/reports/",
    "/a?b=c&d=e",
    "/a?",
    "/search?q=100%",
    "/a?back=%2F%2Fother",
    "/stra%C3%9Fe/%E6%97%A5%E6%9C%AC.txt",
    "/two%20words.txt",
    "/why%3f.txt",
    "/100%25.txt",
    "/salt%26pepper",
    "/salt&pepper;v=1",
    "/a%2fb",
    "/@alice/notes",
    "/wiki/Talk:Main",
    "/notes:today",
    "/httpd/conf",
    "/https",
    "/authgates/x",
    "/x/authgate/login",
    "/_authgate",
    "/...",
    "/.well-known/x",
    "/a..b",
    "/it's(1)~[2]|{3}",
]

REFUSED = [
    None,
    "",
    "a",
    "?a",
    "*",
    ".",
    " /a",
    "/a ",
    "/a b",
    "//evil.example",
    "///evil.example",
    "/a//b",
    "/a?u=https://evil.example",
    "/\\evil.example",
    "\\/evil.example",
    "/a\\..\\b",
    "/a?b=\\",
    "/%2fevil.example",
    "/%2Fevil.example",
    "/%5cevil.example",
    "/a/%5Cb",
    "/%252fevil.example",
    "/%255cevil.example",
    "/%09/evil.example",
    "/%0d%0aSet-Cookie:a=b",
    "/a%00",
    "/a%7f",
    "/a%1f",
    "/a\r\nLocation: //evil.example",
    "/a\n",
    "/a\t",
    "/\t/evil.example",
    "/a\x00",
    "/a\x7f",
    "/stra\u00dfe",
    "/\u3031evil.example",
    "/\ufffd",
    "/\udcff",
    "/%ff",
    "/%c0%af",
    "/%ed%a0%80",
    "/a%",
    "/a%2",
    "/a%zz",
    "/a#b",
    "/..",
    "/../a",
    "/a/..",
    "/a/./b",
    "/a/%2e%2e/b",
    "/a/%2e",
    "http://files.example.com/a",
    "https://files.example.com/a",
    "https:a",
    "javascript:alert(1)",
    "/javascript:alert(1)",
    "/JavaScript%3aalert(1)",
    "/http:/evil.example",
    "/https:evil.example",
    "/%68ttp:evil.example",
    "/data:text/html,x",
    "//alice@evil.example/",
    "/authgate",
    "/authgate/",
    "/authgate/login?next=/a",
    "/authgate/logout",
    "/%61uthgate/login",
    "/authgate%2flogin",
    "/x/../authgate/login",
]


@pytest.mark.parametrize("text", ACCEPTED)
def test_ordinary_path_is_accepted_unchanged(text: str) -> None:
    assert return_path(text) == text


@pytest.mark.parametrize("text", REFUSED)
def test_hostile_or_circular_address_is_refused(text: str | None) -> None:
    assert return_path(text) is None


def test_length_is_bounded_to_the_byte() -> None:
    longest = "/" + "a" * (MAX_BYTES - 1)

    assert return_path(longest) == longest
    assert return_path(longest + "a") is None


@given(st.text(max_size=60) | st.text(alphabet="/\\%25fcCF09aA.?:@#\t\n &;", max_size=40).map("/".__add__))
def test_accepted_address_stays_on_the_site_for_a_url_parser(text: str) -> None:
    accepted = return_path(text)

    if accepted is not None:
        landing = urlsplit(urljoin("https://files.example.com/authgate/login", accepted))
        assert (landing.scheme, landing.netloc) == ("https", "files.example.com")


def _vectors() -> Path:
    folder = os.environ.get("AUTHGATE_VECTORS")
    if not folder:
        pytest.skip("AUTHGATE_VECTORS names no folder of vectors")
    return Path(folder)


def test_every_published_open_redirect_payload_is_refused() -> None:
    vectors = json.loads((_vectors() / "redirects" / "mod_auth_openidc.json").read_text())
    hostile = vectors["payloads"] + [case["url"] for case in vectors["cases"] if not case["valid"]]

    assert len(vectors["payloads"]) > 800
    assert [payload for payload in hostile if return_path(payload) is not None] == []


def test_login_location_carries_the_raw_target_encoded() -> None:
    target = "/stra%C3%9Fe?a=b&c=%26"

    location = login_location(FILES, target)

    assert location == "https://files.example.com/authgate/login?next=/stra%25C3%259Fe%3Fa%3Db%26c%3D%2526"
    assert parse_qs(urlsplit(location).query)["next"] == [target]


def test_login_location_is_built_on_the_sites_own_origin() -> None:
    site = Site("http", "127.0.0.1", port=8080)

    assert login_location(site, "/a").startswith("http://127.0.0.1:8080/authgate/login?next=")


@pytest.mark.parametrize("target", [None, "//evil.example", "/a\r\nX: y", "/" + "a" * MAX_BYTES])
def test_login_location_leaves_a_refused_target_out(target: str | None) -> None:
    assert login_location(FILES, target) == "https://files.example.com/authgate/login"
