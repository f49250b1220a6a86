"""Return addresses after login."""

import json
import os
from pathlib import Path
from urllib.parse import parse_qs, urljoin, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authgate.model import Site
from authgate.redirects import MAX_BYTES, login_location, return_path, without_link

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


LINK = f"{'eyJh' * 10}.{'eyJp' * 30}.{'s' * 43}"

WITHOUT_LINK = {
    f"/a?ag={LINK}": "/a",
    f"/a?ag={LINK}&b=1": "/a?b=1",
    f"/a?b=1&ag={LINK}": "/a?b=1",
    f"/a?b=1&ag={LINK}&c=%20": "/a?b=1&c=%20",
    f"/a?ag={LINK}&ag={LINK}": "/a",
    f"/a?AG={LINK}&%61g={LINK}&a%47={LINK}&b": "/a?b",
    f"/a?ag={LINK[:-9]}": "/a",
    f"/a?ag={LINK}.x&b=1": "/a?b=1",
    "/a?ag=": "/a",
    f"/authgate-link/{LINK}/a/b.m3u8": "/a/b.m3u8",
    f"/authgate-link/{LINK}/": "/",
    f"/authgate-link/{LINK}/a?b=1&ag={LINK}": "/a?b=1",
    f"/%61uthgate-link/{LINK}/a": "/a",
    f"/AUTHGATE-LINK/{LINK}/a": "/a",
    f"/authgate-link/{LINK}/authgate-link/{LINK}/a": "/a",
    f"/authgate-link/{LINK}": "/",
    f"/authgate-link/{LINK}?a=1": "/?a=1",
    "/authgate-link": "/",
    f"/x/authgate-link/{LINK[:60]}/a": None,
    f"/a?to=/b?ag={LINK}": None,
    f"/a?to=%2Fb%3Fag%3D{LINK}": None,
    f"/a?to=%252Fb%253Fag%253D{LINK.replace('.', '%252E')}": None,
    f"/a/{LINK}": None,
    f"/a/x.{LINK}": None,
    # Long because of it.
    f"/a?ag={LINK}{'x' * MAX_BYTES}&b=1": "/a?b=1",
    f"/a?ag={LINK}{'x' * 8192}&b=1": None,
    # No links.
    "/a?agx=1&xag=2": "/a?agx=1&xag=2",
    "/authgate-links/x/a": "/authgate-links/x/a",
    "/a/jquery.min.js?v=1.2.3": "/a/jquery.min.js?v=1.2.3",
    "/a?": "/a?",
    "/a?ag": "/a?ag",
}


@pytest.mark.parametrize("target", WITHOUT_LINK, ids=range(len(WITHOUT_LINK)))
def test_signed_link_does_not_go_along(target: str) -> None:
    assert return_path(target) == WITHOUT_LINK[target]
    location = login_location(FILES, target)
    assert LINK[-43:] not in location
    assert LINK[:40] not in location


@given(st.text(alphabet="/?&=%.agAG-x0123456789abcdefEF", max_size=60), st.text(alphabet="/?&=%.ag", max_size=9))
def test_link_is_found_wherever_it_stands(before: str, behind: str) -> None:
    found = without_link(f"/{before}?{LINK}{behind}")

    assert found is None or LINK not in found
