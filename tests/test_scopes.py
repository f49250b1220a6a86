"""How far a credential or a link reaches."""

import pytest

from authgate.networks import NetworkSet, parse_network
from authgate.scopes import Reach, RequestScope, is_method, parse_reach
from tests.policies import request

REACHES = [
    ("/pub/a", ["/pub/a"], ["/pub/ab", "/pub/a/", "/pub/a/b", "/pub", "/pub/A", "/PUB/a", "/x/pub/a", "", "/pub/%61"]),
    ("/pub/a/", ["/pub/a/"], ["/pub/a", "/pub/a/b"]),
    ("/", ["/"], ["/a", ""]),
    ("/pub/**", ["/pub", "/pub/", "/pub/a", "/pub/a/b/", "/pub/**"], ["/public", "/pu", "/", "/Pub/a", "/x/pub/a"]),
    ("/a/b/**", ["/a/b", "/a/b/c"], ["/a", "/a/", "/a/bc", "/a/b.txt"]),
    ("/**", ["/", "/a", "/a/b"], ["a"]),
    ("/caf\u00e9/**", ["/caf\u00e9/x"], ["/cafe\u0301/x", "/cafe/x"]),
    ("/a b/{c}?d", ["/a b/{c}?d"], ["/a b/x?d", "/a%20b/{c}?d"]),
    ("/a/...", ["/a/..."], ["/a/.."]),
]


@pytest.mark.parametrize(("text", "covered", "others"), REACHES)
def test_reach_covers(text: str, covered: list[str], others: list[str]) -> None:
    reach = parse_reach(text)

    assert [path for path in covered if not reach.covers(path)] == []
    assert [path for path in others if reach.covers(path)] == []


def test_reach_is_taken_apart() -> None:
    assert parse_reach("/videos/42/**") == Reach("/videos/42", below=True)
    assert parse_reach("/videos/42") == Reach("/videos/42", below=False)


@pytest.mark.parametrize(
    "text",
    ["", "pub", "*", "**", "//", "//a", "/a//b", "/a//**", "/.", "/..", "/a/../b", "/a/./**", "/../**", "/a\0", "/a\n",
     "/a\x7f", "/\ud800", "/*", "/a*", "/a**", "/a/*/b", "/a/**/b", "/**/**", "/a/*.pdf", "/**/", "https://h/a"],
)  # fmt: skip
def test_text_that_is_no_reach_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_reach(text)


def test_scope_without_limits_covers_everything() -> None:
    for asked in (request("/a"), request("/a", method="DELETE", host="docs.example.com", ip=None)):
        assert RequestScope().covers(asked)


def test_scope_is_limited_by_each_of_its_parts() -> None:
    scope = RequestScope(
        (parse_reach("/a/**"), parse_reach("/b")),
        frozenset({"GET", "PUT"}),
        NetworkSet([parse_network("192.0.2.0/24")]),
        frozenset({"files.example.com"}),
    )

    covered = [request("/a/x"), request("/b"), request("/b", method="PUT"), request("/b", method="HEAD")]
    assert [asked for asked in covered if not scope.covers(asked)] == []
    others = [
        request("/b/x"),
        request("/b", method="POST"),
        request("/b", method="get"),
        request("/b", host="docs.example.com"),
        request("/b", ip="198.51.100.1"),
        # One that is not known is in no network.
        request("/b", ip=None),
    ]
    assert [asked for asked in others if scope.covers(asked)] == []


def test_get_covers_head_and_no_other_covers_another() -> None:
    assert RequestScope(methods=frozenset({"GET"})).covers(request(method="HEAD"))
    assert not RequestScope(methods=frozenset({"HEAD"})).covers(request(method="GET"))
    assert not RequestScope(methods=frozenset({"PUT"})).covers(request(method="HEAD"))


@pytest.mark.parametrize(("text", "is_one"), [
    ("GET", True), ("VERSION-CONTROL", True), ("get", False), ("", False), ("GET ", False), ("GET\n", False),
    ("G" * 32, True), ("G" * 33, False), ("\u0130", False),
])  # fmt: skip
def test_method_is_written_as_in_rules(text: str, is_one: bool) -> None:
    assert is_method(text) is is_one
