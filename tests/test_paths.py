"""Which paths have exactly one reading."""

import pytest

from authgate.paths import from_wire, is_canonical, is_plain_target

CANONICAL = [
    "/", "/a", "/a/", "/a/b.txt", "/a/.hidden", "/a/..b", "/a/b..", "/...", "/a b", "/a;x=1/b", "/a\\b", "/%2e%2e/x",
    "/a%2fb", "/ü/日本", "/a?b", "/a#b", "/\u2028", "/\u0085", "/~user/", "/" + "a" * 7000,
]  # fmt: skip
AMBIGUOUS = [
    "", "a", "a/b", "*", "http://host/a", "//", "//a", "/a//b", "/a//", "/.", "/..", "/./a", "/../a", "/a/.", "/a/..",
    "/a/./b", "/a/../b", "/a\x00b", "/a\nb", "/a\rb", "/a\tb", "/a\x1fb", "/a\x7fb", "\\a", " /a", "/a/../", "/a/./",
]  # fmt: skip


@pytest.mark.parametrize("path", CANONICAL)
def test_a_path_with_one_reading_is_canonical(path: str) -> None:
    assert is_canonical(path)


@pytest.mark.parametrize("path", AMBIGUOUS)
def test_a_path_with_two_readings_is_not_canonical(path: str) -> None:
    assert not is_canonical(path)


@pytest.mark.parametrize("raw", [b"/\xff", b"/a\xc0\xafb", b"/\xed\xa0\x80", b"/\xe9", b"/a\x80"])
def test_bytes_that_are_not_utf8_are_not_canonical(raw: bytes) -> None:
    assert not is_canonical(from_wire(raw))


def test_utf8_bytes_keep_their_meaning() -> None:
    assert from_wire("/ü".encode()) == "/ü"


PLAIN = [
    "/", "/a", "/a/", "/a%20b", "/a%2etxt", "/%62", "/a..b", "/a%25b", "/100%25", "/%C3%BC", "/.well-known/x", "/a:b@c",
    "/a?next=https://example.com//x;y", "/a?x=%2f..%2f&y=%252e", "/a?", "/a&b",
]  # fmt: skip
PLURAL = [
    "", "*", "a", "?a", "http://host/a", "//a", "/a//b", "/a/.", "/..", "/a/../b", "/a/./b", "/%2e%2e/b", "/a/%2E/b",
    "/a/.%2e", "/a%2fb", "/admin%2F..%2Fpub/x", "/a%5cb", "/a\\b", "/a;x=1/b", "/a/..;/b", "/a#b", "/a?b#c", "/%252e",
    "/a%252fb", "/a%255Cb", "/%25%32%65", "/%%32%66",
]  # fmt: skip


@pytest.mark.parametrize("target", PLAIN)
def test_a_target_that_every_program_reads_alike_is_plain(target: str) -> None:
    assert is_plain_target(target)


@pytest.mark.parametrize("target", PLURAL)
def test_a_target_that_an_application_may_read_otherwise_is_not_plain(target: str) -> None:
    assert not is_plain_target(target)


@pytest.mark.parametrize("target", ["/a%2Fb", "/a%5Cb", "/a%252Fb", "/a%255Cb", "/a/%2E%2E/b", "/a/%252E%252E/b"])
def test_capitals_in_an_encoding_mean_nothing(target: str) -> None:
    assert not is_plain_target(target)
    assert not is_plain_target(target.replace("F", "f").replace("C", "c").replace("E", "e"))
