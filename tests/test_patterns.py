"""What a pattern costs; what patterns cover stands in ``tests/vectors/patterns.toml``."""

from authgate.patterns import Glob, RegexPattern, parse_pattern


def test_a_star_between_two_parts_takes_time_linear_in_the_segment() -> None:
    # A backtracking matcher would not come back from this within the life of the test.
    assert not Glob(("", *["a"] * 30, "b")).matches("a" * 4000)


def test_an_expression_takes_time_linear_in_the_path() -> None:
    pattern = parse_pattern("re:/(a*)*(a|aa)+(.*a.*){10}b")

    assert isinstance(pattern, RegexPattern)
    assert pattern.match(b"/" + b"a" * 4000) is None


def test_half_a_character_is_captured_as_text_that_equals_no_name() -> None:
    pattern = parse_pattern(r"re:/(?P<half>\C)\C*")

    assert isinstance(pattern, RegexPattern)
    assert pattern.match("/\u00fc".encode()) == {"half": "\udcc3"}


def test_each_star_between_two_parts_takes_a_byte_at_least() -> None:
    pattern = Glob(("a", "b", "c"))

    assert pattern.matches("axbxc")
    assert not any(pattern.matches(segment) for segment in ("abxc", "axbc", "abc"))
