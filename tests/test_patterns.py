"""What a path pattern covers, and which texts are none."""

import pytest

from authgate.model import Site
from authgate.patterns import Glob, PatternError, parse_pattern
from authgate.policy import compile_policy


def covers(pattern: str, path: str) -> bool:
    rule = {"name": "r", "paths": [pattern], "allow": ["anyone"]}
    policy = compile_policy([("rules[0]", rule)], [Site("https", "h")], {})
    return any(policy.matching("h", path, "GET"))


COVERED = [
    ("/", "/"),
    ("/a", "/a"),
    ("/a/", "/a/"),
    ("/a/b.txt", "/a/b.txt"),
    ("/**", "/"),
    ("/**", "/a"),
    ("/**", "/a/b/c/"),
    ("/x/**", "/x"),
    ("/x/**", "/x/"),
    ("/x/**", "/x/a"),
    ("/x/**", "/x/a/b/c"),
    ("/x/**", "/x/.hidden"),
    ("/*", "/a"),
    ("/*/b", "/a/b"),
    ("/a/*.pdf", "/a/x.pdf"),
    ("/a/*.pdf", "/a/..pdf"),
    ("/a/q*-2024.*", "/a/q3-2024.csv"),
    ("/a/*b*", "/a/xby"),
    ("/a/*b*", "/a/bbb"),
    ("/*.d/**", "/conf.d"),
    ("/*.d/**", "/conf.d/x/y"),
    ("/home/{owner}/**", "/home/alice"),
    ("/home/{owner}/**", "/home/alice/notes.txt"),
    ("/home/{owner}/x", "/home/{owner}/x"),
    ("/{a}/{b}", "/x/y"),
    ("/ü/*", "/ü/日本"),
    ("/a b/**", "/a b/c"),
    ("/%2e", "/%2e"),
]
NOT_COVERED = [
    ("/", "/a"),
    ("/a", "/a/"),
    ("/a", "/A"),
    ("/a", "/ab"),
    ("/a/", "/a"),
    ("/a/b", "/a"),
    ("/x/**", "/xy"),
    ("/x/**", "/xy/a"),
    ("/x/**", "/X/a"),
    ("/x/**", "/"),
    ("/*", "/"),
    ("/*", "/a/b"),
    ("/a/*", "/a/"),
    ("/a/*.pdf", "/a/.pdf"),
    ("/a/*.pdf", "/a/x.pdf/y"),
    ("/a/*.pdf", "/a/x.pdf\n"),
    ("/a/*.pdf", "/a/x.PDF"),
    ("/a/*.pdf", "/a/b/x.pdf"),
    ("/a/x*y", "/a/xy"),
    ("/a/x*y*z", "/a/xaybz/"),
    ("/a/x*y*z", "/a/xayz"),
    ("/home/{owner}/**", "/home"),
    ("/home/{owner}/**", "/home/"),
    ("/{a}/{b}", "/x/"),
    ("/{a}/{b}", "/x/y/z"),
    ("/ü", "/u\u0308"),
]


@pytest.mark.parametrize(("pattern", "path"), COVERED)
def test_pattern_covers(pattern: str, path: str) -> None:
    assert covers(pattern, path)


@pytest.mark.parametrize(("pattern", "path"), NOT_COVERED)
def test_pattern_does_not_cover(pattern: str, path: str) -> None:
    assert not covers(pattern, path)


@pytest.mark.parametrize(
    "text",
    [
        "", "a", "a/**", "//a", "/a//b", "/../a", "/./a", "/a\n", "/a/**/b", "/a**", "/**a", "/***", "/{", "/}", "/{}",
        "/{A}", "/{a b}", "/{a}.txt", "/x{a}", "/{a}{b}", "/{1a}", "/{a}/{a}",
    ],
)  # fmt: skip
def test_text_that_is_no_pattern_is_refused(text: str) -> None:
    with pytest.raises(PatternError):
        parse_pattern(text)


def test_a_star_between_two_parts_takes_time_linear_in_the_segment() -> None:
    # A backtracking matcher would not come back from this within the life of the test.
    assert not Glob(("", *["a"] * 30, "b")).matches("a" * 4000)
