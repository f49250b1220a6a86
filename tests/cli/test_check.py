"""`authgate check`: what it says of wrong files, of odd rules and of tests.

Each file in `transcripts` is a comment, then files as ``-- NAME --`` and their content, and at last the report. A name
with ``(escaped)`` behind it has a content with Python's escapes, for bytes that no text file holds.
"""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from authgate.cli.check import check

TRANSCRIPTS = sorted((Path(__file__).parent / "transcripts").glob("*.txt"))
_SECTION = re.compile(r"^-- (\S+)( \(escaped\))? --\n", re.MULTILINE)

SITE = '[[sites]]\norigin = "https://files.example.com"\n'
STAFF = '[[rules]]\nname = "staff"\npaths = ["/staff/**"]\nallow = ["group:staff"]\n'
PUBLIC = '[[rules]]\nname = "public"\npaths = ["/public/**"]\nallow = ["anyone"]\n'


def sections(text: str) -> Iterator[tuple[str, bytes]]:
    _, *parts = _SECTION.split(text)
    for name, escaped, content in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
        yield name, content.encode().decode("unicode_escape").encode("latin-1") if escaped else content.encode()


@pytest.fixture(autouse=True)
def _modules_of_handlers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(sys, "path", sys.path.copy())
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        del sys.modules[name]


def run(folder: Path, *arguments: str) -> Result:
    result = CliRunner().invoke(check, ["--config", str(folder / "authgate.toml"), *arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


def checked(folder: Path, text: str, *arguments: str) -> Result:
    (folder / "authgate.toml").write_text(text)
    return run(folder, *arguments)


@pytest.mark.parametrize("transcript", TRANSCRIPTS, ids=lambda path: path.stem)
def test_a_wrong_file_is_refused_with_this_report(transcript: Path, tmp_path: Path) -> None:
    files = dict(sections(transcript.read_text("utf-8")))
    report = files.pop("report").decode()
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)

    result = run(tmp_path)

    assert result.stderr.replace(str(tmp_path), "/etc/authgate") == report
    assert (result.exit_code, result.stdout) == (2, "")


def test_transcripts_are_numbered_without_a_gap() -> None:
    assert [int(path.name[:3]) for path in TRANSCRIPTS] == list(range(1, len(TRANSCRIPTS) + 1))
    assert len(TRANSCRIPTS) >= 60


def a_test(request: str, expect: str, more: str = "") -> str:
    return f'[[tests]]\nrequest = "{request}"\nexpect = "{expect}"\n{more}'


def test_a_good_configuration_is_one_line(tmp_path: Path) -> None:
    text = SITE + PUBLIC + a_test("GET https://files.example.com/public/a", "allow", 'rule = "public"\n')

    result = checked(tmp_path, text, "--strict")

    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == "authgate.toml: 1 rule, 1 test, no warnings\n"


def test_a_test_that_fails_says_what_came_out_and_how_to_see_why(tmp_path: Path) -> None:
    text = SITE + STAFF
    text += a_test(
        "GET https://files.example.com/staff/a b",
        "allow",
        'as = "bob"\ngroups = ["x y"]\nclaims = { d = "1" }\nvia = "basic"\nmfa = true\nip = "10.0.0.1"\n'
        'at = 2026-11-20T19:30:00+01:00\nrule = "staff"\n',
    )

    result = checked(tmp_path, text)

    assert result.exit_code == 1
    assert result.stderr == (
        "authgate: authgate.toml: tests[0] failed: GET https://files.example.com/staff/a b as bob\n"
        '  expected  allow by "staff"\n'
        '  came out  refuse by "staff": not_admitted\n'
        "hint: authgate explain GET 'https://files.example.com/staff/a b' --as bob --group 'x y' --claim d=1"
        f" --via basic --mfa --ip 10.0.0.1 --at 2026-11-20T19:30:00+01:00 --config {tmp_path}/authgate.toml\n"
    )
    assert result.stdout == "authgate.toml: 1 rule, 1 test (1 failed), no warnings\n"


def test_the_right_outcome_by_another_rule_is_a_failure(tmp_path: Path) -> None:
    text = SITE + PUBLIC + STAFF + a_test("GET https://files.example.com/public/a", "allow", 'rule = "staff"\n')

    result = checked(tmp_path, text)

    assert result.exit_code == 1
    assert 'came out  allow by "public": allowed' in result.stderr


def test_groups_come_from_the_group_file_unless_the_test_names_them(tmp_path: Path) -> None:
    (tmp_path / "groups").write_text("staff: alice\n")
    request = "GET https://files.example.com/staff/a"
    text = '[users]\ngroups = "groups"\n' + SITE + STAFF
    text += a_test(request, "allow", 'as = "alice"\n')
    text += a_test(request, "refuse", 'as = "bob"\n')
    text += a_test(request, "refuse", 'as = "alice"\ngroups = []\n')
    text += a_test(request, "allow", 'as = "bob"\ngroups = ["staff"]\n')
    text += a_test(request, "refuse", 'as = "partner/alice"\ngroups = ["staff"]\n')
    text += a_test(request, "login")

    result = checked(tmp_path, text)

    assert (result.exit_code, result.stderr) == (0, "")


def test_a_host_that_is_no_site_and_an_ambiguous_path_can_be_tested(tmp_path: Path) -> None:
    text = SITE + PUBLIC.replace("/public/**", "/**")
    for address in (
        "https://other.example.com/",
        "https://files.example.com/a//b",
        "https://files.example.com/%2e%2e/a",
    ):
        text += a_test(f"GET {address}", "refuse")
    text += a_test("GET https://files.example.com/%C3%A4?next=//x", "allow")

    assert checked(tmp_path, text).exit_code == 0


def test_the_path_is_decoded_exactly_once(tmp_path: Path) -> None:
    text = SITE + '[[rules]]\nname = "r"\npaths = ["/a%20b"]\nallow = ["anyone"]\n'
    text += a_test("GET https://files.example.com/a%2520b", "allow")
    text += a_test("GET https://files.example.com/a%20b", "refuse")

    assert checked(tmp_path, text).exit_code == 0


def test_handlers_are_really_asked(tmp_path: Path) -> None:
    (tmp_path / "check_rights.py").write_text(
        "from authgate.model import allow, deny\nready = []\ndef setup():\n    ready.append(1)\n"
        "def may(request):\n    return allow() if ready and request.options['ok'] else deny()\n"
        "def fails(request):\n    return 1 / 0\n"
    )
    text = SITE
    for path, handler, options in (("a", "may", "true"), ("b", "may", "false"), ("c", "fails", "true")):
        text += f'[[rules]]\nname = "{path}"\npaths = ["/{path}"]\nallow = ["handler:check_rights::{handler}"]\n'
        text += f"options = {{ ok = {options} }}\n"
    for path, expect in (("a", "allow"), ("b", "refuse"), ("c", "allow")):
        text += a_test(f"GET https://files.example.com/{path}", expect)

    result = checked(tmp_path, text)

    assert result.exit_code == 1
    assert result.stderr.count("failed") == 1
    assert 'came out  refuse by "c": handler_error (ZeroDivisionError: division by zero)' in result.stderr
    assert "Traceback" not in result.output


def test_rules_that_no_test_reaches_are_named_and_fail_when_strict(tmp_path: Path) -> None:
    text = SITE + PUBLIC + STAFF + a_test("GET https://files.example.com/public/a", "allow")

    assert checked(tmp_path, text).exit_code == 0
    result = run(tmp_path, "--strict")

    assert result.exit_code == 1
    assert result.stderr == 'authgate: no test reaches 1 rule: "staff"\n'


def test_many_rules_without_a_test_are_not_all_named(tmp_path: Path) -> None:
    rules = "".join(STAFF.replace("staff", f"s{number}") for number in range(30))

    result = checked(tmp_path, SITE + rules + PUBLIC + a_test("GET https://files.example.com/public/a", "allow"))

    assert result.stderr.startswith('authgate: no test reaches 30 rules: "s0", "s1"')
    assert result.stderr.endswith('"s19" and 10 more\n')


def test_no_tests_at_all_fail_when_strict(tmp_path: Path) -> None:
    result = checked(tmp_path, SITE + PUBLIC)

    assert (result.exit_code, result.stdout) == (0, "authgate.toml: 1 rule, no tests, no warnings\n")
    assert run(tmp_path, "--strict").exit_code == 1


def test_warnings_are_said_and_fail_when_strict(tmp_path: Path) -> None:
    secret = STAFF.replace("/staff/", "/public/secret/")
    text = SITE + PUBLIC + secret + a_test("GET https://files.example.com/public/secret/a", "allow")

    result = checked(tmp_path, text)

    assert result.exit_code == 0
    assert result.stderr.splitlines()[:2] == [
        (
            'authgate: warning: authgate.toml: rules[0] "public": "anyone" may see "/public/**", and with it '
            '"/public/secret/**", which authgate.toml: rules[1] "staff" restricts: that rule never decides'
        ),
        'hint: put "staff" before "public"',
    ]
    assert result.stdout == "authgate.toml: 2 rules, 1 test, 1 warning\n"
    assert run(tmp_path, "--strict").exit_code == 1


def test_json_holds_everything(tmp_path: Path) -> None:
    text = SITE + PUBLIC + STAFF + a_test("GET https://files.example.com/public/a", "refuse")

    result = checked(tmp_path, text, "--json")

    assert (result.exit_code, result.stderr) == (1, "")
    document = json.loads(result.stdout)
    [tried] = document.pop("tests")
    assert document == {"good": False, "problems": [], "warnings": [], "rules": 2, "untested": ["staff"]}
    assert tried == {
        "place": "authgate.toml: tests[0]",
        "request": "GET https://files.example.com/public/a",
        "as": None,
        "expect": "refuse",
        "rule": None,
        "passed": False,
        "outcome": "allow",
        "reason": "allowed",
        "by": "public",
        "detail": "",
        "explain": f"authgate explain GET https://files.example.com/public/a --config {tmp_path}/authgate.toml",
    }


def test_json_of_a_refused_configuration(tmp_path: Path) -> None:
    result = checked(tmp_path, "", "--json")

    assert (result.exit_code, result.stderr) == (2, "")
    document = json.loads(result.stdout)
    assert document["good"] is False
    assert [problem["place"] for problem in document["problems"]] == ["authgate.toml: sites"]


def test_checking_changes_nothing(tmp_path: Path) -> None:
    checked(tmp_path, SITE + PUBLIC + a_test("GET https://files.example.com/public/a", "allow"))

    assert [path.name for path in tmp_path.iterdir()] == ["authgate.toml"]
