"""Which paths have exactly one reading."""

import pytest

from authgate.paths import from_wire, is_canonical

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
