"""Warnings: only for what is proved, and whatever is proved is true."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authgate.patterns import PathPattern, parse_pattern
from authgate.policy.index import PathIndex
from authgate.policy.warnings import contains, find_warnings
from tests.policies import compiled


def warned(*rules: dict[str, object]) -> list[str]:
    return [str(problem) for problem in find_warnings(compiled(*rules))]


def rule(path: str, allow: list[str] | None = None, **more: object) -> dict[str, object]:
    terms = {} if "deny" in more and allow is None else {"allow": allow or ["group:staff"]}
    return {"paths": [path], **terms, **more}


CONTAINED = [
    ("/**", "/"),
    ("/**", "/a/b"),
    ("/**", "/{x}/**"),
    ("/**", "/**"),
    ("/a/**", "/a"),
    ("/a/**", "/a/"),
    ("/a/**", "/a/b/*.pdf"),
    ("/a/**", "/a/b/**"),
    ("/a/*", "/a/b"),
    ("/a/*", "/a/{x}"),
    ("/a/{x}", "/a/*"),
    ("/a/{x}", "/a/*.pdf"),
    ("/{x}/**", "/a/**"),
    ("/a/*.pdf", "/a/b.pdf"),
    ("/a/*.pdf", "/a/x*y*.pdf"),
    ("/a/*-*.pdf", "/a/*-*.pdf"),
    ("/a/*-*.pdf", "/a/1-2.pdf"),
]
NOT_CONTAINED = [
    ("/", "/**"),
    ("/a", "/a/"),
    ("/a", "/A"),
    ("/a", "/a/**"),
    ("/a/b/**", "/a/**"),
    ("/a/*", "/a/"),
    ("/a/*", "/a/**"),
    ("/a/*", "/a/b/c"),
    ("/a/*", "/a"),
    ("/{x}/**", "/**"),
    ("/a/b", "/a/{x}"),
    ("/a/*.pdf", "/a/.pdf"),
    ("/a/*.pdf", "/a/{x}"),
    ("/a/*.pdf", "/a/b.txt"),
    ("/a/b*", "/a/*"),
    ("/b/**", "/a/**"),
]


def pattern(text: str) -> PathPattern:
    parsed = parse_pattern(text)
    assert isinstance(parsed, PathPattern)
    return parsed


@pytest.mark.parametrize(("outer", "inner"), CONTAINED)
def test_one_pattern_contains_the_other(outer: str, inner: str) -> None:
    assert contains(pattern(outer), pattern(inner))


@pytest.mark.parametrize(("outer", "inner"), NOT_CONTAINED)
def test_one_pattern_does_not_contain_the_other(outer: str, inner: str) -> None:
    assert not contains(pattern(outer), pattern(inner))


SEGMENTS = st.sampled_from(["a", "b", "ab", "a.b", "*", "a*", "*b", "a*b", "*a*", "{x}", "aa", "bb"])


@st.composite
def patterns(draw: st.DrawFn) -> str:
    segments = draw(st.lists(SEGMENTS, max_size=3))
    # A name may be captured only once.
    names = [
        segment.replace("x", f"x{index}") if segment == "{x}" else segment for index, segment in enumerate(segments)
    ]
    return "".join(f"/{name}" for name in names) + draw(st.sampled_from(["", "/**", "/"])) or "/"


def fits(text: str, path: str) -> bool:
    (only,) = compiled(rule(text)).rules
    return any(PathIndex([(0, only)]).find(path, path.split("/")[1:]))


@settings(max_examples=400)
@given(patterns(), patterns(), st.text("ab./", max_size=8).map(lambda text: f"/{text}"))
def test_a_path_of_what_is_contained_is_a_path_of_what_contains_it(outer: str, inner: str, path: str) -> None:
    if "//" not in path and contains(pattern(outer), pattern(inner)) and fits(inner, path):
        assert fits(outer, path)


def test_a_rule_behind_one_that_matches_all_of_it_never_decides() -> None:
    assert warned(rule("/a/**"), rule("/a/b", ["user:bob"])) == [
        (
            'rules[1] "r1": never decides: before it rules[0] "r0" matches all that it matches; '
            'put "r1" before "r0", or remove it'
        )
    ]


def test_two_earlier_rules_can_do_it_together() -> None:
    (text,) = warned(rule("/a/**"), rule("/b/**"), {"paths": ["/a/x", "/b/x"], "allow": ["user:bob"]})

    assert 'rules[0] "r0" and rules[1] "r1" match all' in text
    assert 'put "r2" before "r0" and "r1"' in text


NOT_WARNED = [
    pytest.param([rule("/a/**", deny=["user:mallory"]), rule("/a/b")], id="a guard passes on"),
    pytest.param([rule("/a/b"), rule("/a/**")], id="the narrow one comes first"),
    pytest.param([rule("/a/**"), {"paths": ["/a/b", "/c"], "allow": ["user:bob"]}], id="one path is left"),
    pytest.param([rule("/**", methods=["GET"]), rule("/a")], id="other methods are left"),
    pytest.param([rule("/**", hosts=["docs.example.com"]), rule("/a")], id="other hosts are left"),
    pytest.param([rule("/**", ["anyone"], methods=["GET"]), rule("/a")], id="anyone reads, staff writes"),
    pytest.param([rule("re:/a.*"), rule("/a")], id="a regular expression contains nothing for sure"),
    pytest.param([rule("/a/**"), rule("re:/a/b")], id="nor is it known what contains one"),
    pytest.param([rule("/a", ["anyone"]), rule("/**")], id="what is public first, then the rest"),
    pytest.param(
        [rule("/a/**", ["anyone & ip:office"]), {"paths": ["/a/b", "/c"], "allow": ["user:x"]}], id="not just anyone"
    ),
    pytest.param([rule("/a/**", ["anyone"]), {"paths": ["/a/b", "/c"], "allow": ["anyone"]}], id="both are public"),
]  # fmt: skip


@pytest.mark.parametrize("rules", NOT_WARNED)
def test_what_can_decide_is_not_warned_of(rules: list[dict[str, object]]) -> None:
    assert warned(*rules) == []


def test_every_path_contains_a_regular_expression() -> None:
    assert len(warned(rule("/**"), rule("re:/a/[0-9]+"))) == 1


def test_hosts_and_methods_that_are_covered_count() -> None:
    earlier = rule("/**", methods=["GET", "POST"], hosts=["docs.example.com", "files.example.com"])

    assert len(warned(earlier, rule("/a", methods=["GET"], hosts=["docs.example.com"]))) == 1


def test_a_guard_against_anyone_always_decides() -> None:
    assert len(warned(rule("/a/**", deny=["anyone"]), rule("/a/b"))) == 1


def test_anyone_before_a_restricted_path_is_named_with_both_rules() -> None:
    restricted: dict[str, object] = {"paths": ["/a/secret/**", "/b"], "allow": ["group:staff"]}

    assert warned(rule("/a/**", ["anyone"]), restricted) == [
        (
            'rules[0] "r0": "anyone" may see "/a/**", and with it "/a/secret/**", which rules[1] "r1" restricts: '
            'that rule never decides there; put "r1" before "r0"'
        )
    ]


def test_anyone_before_a_guard_is_warned_of() -> None:
    (text,) = warned(rule("/**", ["anyone"]), rule("/a/**", deny=["user:mallory"]))

    assert text.endswith('which rules[1] "r1" restricts: that rule never decides; put "r1" before "r0"')


def test_the_earlier_rule_is_found_among_many() -> None:
    rules = [rule(f"/a{number % 10}/b{number}/**") for number in range(300)]

    (text,) = warned(*rules, rule("/a1/b1/c"))

    assert 'before it rules[1] "r1" matches' in text
