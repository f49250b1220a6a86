import json
import os
from pathlib import Path

import pytest

from authgate.cookies import split_joined, values

NAME = "__Host-authgate"


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", []),
        ("other=x", []),
        (f"{NAME}=abc", ["abc"]),
        (f"a=b; {NAME}=abc; c=d", ["abc"]),
        (f"a=b;{NAME}=abc;c=d", ["abc"]),
        (f"\t{NAME} \t=\t abc \t;", ["abc"]),
        (f"{NAME}=", [""]),
        (f"{NAME}=a=b==", ["a=b=="]),
        (f'{NAME}="abc"', ['"abc"']),
        (f"{NAME}=abc; {NAME}=abc", ["abc", "abc"]),
        (f"{NAME}=abc; {NAME}=", ["abc", ""]),
        # Only the whole name counts, and only as a name.
        (NAME, []),
        (f"x{NAME}=abc", []),
        (f"{NAME}x=abc", []),
        (f"a={NAME}=abc", []),
        (f"{NAME.lower()}=abc", []),
        (f"={NAME}=abc", []),
        # Quotes protect nothing: a parser that thinks so is made to swallow, or to invent, a session cookie.
        (f'a="b; {NAME}=abc"', ['abc"']),
        # Apache joins two Cookie headers so; the value is then not one that authgate gives.
        (f"{NAME}=abc, z=1", ["abc, z=1"]),
        (f"z=1, {NAME}=abc", []),
    ],
)
def test_cookie_is_read_as_browsers_write_it(header: str, expected: list[str]) -> None:
    assert values(header, NAME) == expected


@pytest.mark.parametrize("space", ["\x85", "\xa0", "\x0b", "\x0c", "\x1c", "\r", "\n", "\0", "\u2028"])
def test_space_that_browsers_keep_is_part_of_the_name(space: str) -> None:
    """A browser does not apply the rules of __Host- to such a name, so nor may it count as one here."""
    assert values(f"{space}{NAME}=abc", NAME) == []
    assert values(f"{NAME}{space}=abc", NAME) == []


@pytest.mark.parametrize("filler", [";", "=", "; ", "a=b; ", f"{NAME}", f"{NAME};", "\xff", "ä=ö; ", "\x00"])
def test_header_of_8_kib_is_read_to_its_end(filler: str) -> None:
    header = filler * (8192 // len(filler))

    assert values(f"{header}; {NAME}=abc", NAME)[-1] == "abc"


def test_value_that_is_not_ascii_is_returned_as_sent() -> None:
    assert values(f"{NAME}=gr\xfc\xdfe", NAME) == ["gr\xfc\xdfe"]


def test_headers_that_browsers_send_give_the_pairs_that_browsers_mean() -> None:
    folder = os.environ.get("AUTHGATE_VECTORS")
    if not folder:
        pytest.skip("AUTHGATE_VECTORS does not name the folder of conformance vectors")
    cases = json.loads((Path(folder) / "cookies" / "server_side_pairs.json").read_text(encoding="utf-8"))["cases"]

    for case in cases:
        for name in {name for name, _ in case["pairs"] if name}:
            expected = [value for other, value in case["pairs"] if other == name]
            assert values(case["cookie_header"], name) == expected, case["test"]
    assert len(cases) > 100


@pytest.mark.parametrize(
    ("header", "name", "expected"),
    [
        (f"{NAME}=abc", NAME, ["abc"]),
        (f"{NAME}=abc; a=b", NAME, ["abc"]),
        (f"{NAME}=abc, z=1", NAME, ["abc"]),
        ("z=1, authgate=abc", "authgate", ["abc"]),
        ("authgate=abc, authgate=def", "authgate", ["abc", "def"]),
        # The first is a value that a neighbouring host may have set; whoever sends two fields has to put it first.
        (f"z=1, {NAME}=abc", NAME, ["abc", "abc"]),
        (f"z=1, {NAME}=abc; a=b", NAME, ["abc", "abc"]),
        (f"z=1,  {NAME}=abc", NAME, ["abc", "abc"]),
        (f"{NAME}=abc; z=1, {NAME}=def", NAME, ["abc", "def", "def"]),
        ("z=1, __Secure-authgate=abc", "__Secure-authgate", ["abc", "abc"]),
    ],
)
def test_fields_that_apache_joined_give_no_prefixed_cookie_after_a_comma(
    header: str, name: str, expected: list[str]
) -> None:
    assert values(split_joined(header), name) == expected
