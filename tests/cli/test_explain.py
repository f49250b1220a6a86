"""`authgate explain` as an operator sees it."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from authgate.cli.explain import explain

CONFIG = """\
[[sites]]
origin = "https://files.example.com"
[[sites]]
origin = "https://[2001:db8::1]:8443"
[users]
htpasswd = "users.htpasswd"
groups = "groups"
[networks]
office = ["10.0.0.0/8"]

[[rules]]
name = "guard"
paths = ["/**"]
deny = ["user:mallory"]

[[rules]]
name = "reports"
paths = ["/reports/**"]
methods = ["GET"]
allow = ["group:finance & ip:office & time:Mon-Fri 08:00-18:00 Europe/Berlin", "user:root"]

[[rules]]
name = "homes"
paths = ["/home/{owner}/**"]
allow = ["user:{owner}"]

[[rules]]
name = "rights"
paths = ["/rights/**"]
allow = ["authenticated & handler:explain_rights::may", "claim:dept=it & via:jwt & mfa"]
"""
HANDLER = """\
from authgate.model import allow, deny


def may(request):
    if request.subject.name == "bob":
        raise LookupError("no \\x1b[31mbob")
    return allow() if request.subject.name == "alice" else deny("not in rights.db")
"""
FILES = "https://files.example.com"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(sys, "path", sys.path.copy())
    (tmp_path / "authgate.toml").write_text(CONFIG)
    (tmp_path / "explain_rights.py").write_text(HANDLER)
    (tmp_path / "users.htpasswd").write_text("alice:{SHA}fEqNCco3Yq9h5ZUglD3CZJT4lBs=\n")
    (tmp_path / "groups").write_text("staff: alice\nadmin: alice\n")
    yield tmp_path
    sys.modules.pop("explain_rights", None)


def run(folder: Path, *arguments: str) -> Result:
    result = CliRunner().invoke(explain, [*arguments, "--config", str(folder / "authgate.toml")])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert all(len(line) < 80 for line in result.stdout.splitlines() if '"' not in line and "Location:" not in line)
    return result


def as_json(folder: Path, *arguments: str) -> dict[str, object]:
    document = json.loads(run(folder, *arguments, "--json").stdout)
    assert isinstance(document, dict)
    return document


def test_a_refusal_in_full(folder: Path) -> None:
    result = run(
        folder,
        "GET",
        f"{FILES}/reports/q3.pdf",
        "--as",
        "alice",
        "--ip",
        "192.0.2.1",
        "--at",
        "2026-11-20T19:30:00+01:00",
    )

    assert result.exit_code == 1
    assert (
        result.stdout
        == """\
GET https://files.example.com/reports/q3.pdf
  alice by session, in admin, staff, from 192.0.2.1, at 2026-11-20T18:30:00Z

authgate.toml: rules[0] "guard"
  deny   no         user:mallory
           false      alice is not mallory
  => a guard that has nothing against it: the next rule is asked

authgate.toml: rules[1] "reports"
  allow  no         group:finance & ip:office & time:Mon-Fri 08:00-18:00
                    Europe/Berlin
           false      ip:office: 192.0.2.1 is not in office (10.0.0.0/8)
           false      time:Mon-Fri 08:00-18:00 Europe/Berlin: it is Fri 19:30
                      in Europe/Berlin
           false      group:finance: alice is in admin, staff; not in finance
  allow  no         user:root
           false      alice is not root
  => no term in allow admits

near misses, where one atom is missing:
  user:root  (in "reports")
    missing: alice is not root

REFUSE: not_admitted by "reports"
  no term in allow admits
  status 403
"""
    )


def test_an_allowed_request_ends_with_0_and_shows_what_is_sent(folder: Path) -> None:
    result = run(folder, "GET", f"{FILES}/home/alice/notes%20today.txt?x=1", "--as", "alice")

    assert result.exit_code == 0
    assert "  {owner} is alice\n  allow  admits     user:{owner}\n           true       it is alice\n" in result.stdout
    assert result.stdout.endswith(
        'ALLOW: allowed by "homes"\n  a term in allow admits\n  status 200, with\n  Remote-User: alice\n'
        "  Cache-Control: private, no-cache\n"
    )


def test_a_login_shows_where_browsers_are_sent(folder: Path) -> None:
    result = run(folder, "GET", f"{FILES}/home/alice/%C3%A4?a=b")

    assert result.exit_code == 1
    assert "LOGIN: login_required" in result.stdout
    assert f"Location: {FILES}/authgate/login?next=/home/alice/%25C3%25A4%3Fa%3Db\n" in result.stdout
    assert "Location" not in run(folder, "POST", f"{FILES}/home/alice/x").stdout


def test_nothing_matched_names_what_is_near(folder: Path) -> None:
    result = run(folder, "PUT", f"{FILES}/reports/q3.pdf", "--as", "alice")

    assert result.exit_code == 1
    assert "no other rule matches; the nearest are:\n" in result.stdout
    assert '"reports" has this path, but is for GET, HEAD, not' in result.stdout


def test_who_asks_is_what_the_options_say(folder: Path) -> None:
    document = as_json(
        folder, "GET", f"{FILES}/rights/x", "--as", "partner/eve", "--group", "partner/a", "--group", "b",
        "--claim", "dept=it", "--via", "jwt", "--mfa", "--ip", "::ffff:10.1.2.3", "--at", "2026-11-20T18:30:00Z",
    )  # fmt: skip

    assert document["subject"] == {
        "name": "partner/eve", "groups": ["a", "b"], "claims": [["dept", "it"]], "via": "jwt", "mfa": True,
    }  # fmt: skip
    assert document["request"] == {
        "method": "GET", "scheme": "https", "host": "files.example.com", "path": "/rights/x", "query": "",
        "ip": "10.1.2.3", "at": "2026-11-20T18:30:00Z",
    }  # fmt: skip
    assert (document["outcome"], document["reason"]) == ("refuse", "denied_by_rule")


def groups(folder: Path, *arguments: str) -> object:
    subject = as_json(folder, "GET", f"{FILES}/x", *arguments)["subject"]
    assert isinstance(subject, dict)
    return subject["groups"]


def test_groups_come_from_the_group_file_unless_they_are_named(folder: Path) -> None:
    assert groups(folder, "--as", "alice") == ["admin", "staff"]
    assert groups(folder, "--as", "alice", "--group", "x") == ["x"]
    assert groups(folder, "--as", "alice", "--group", "") == []
    assert groups(folder, "--as", "carol") == []
    assert groups(folder, "--as", "partner/alice") is None
    (folder / "authgate.toml").write_text(CONFIG.replace('groups = "groups"\n', ""))
    assert groups(folder, "--as", "alice") is None


def test_a_name_that_nobody_has_is_noted(folder: Path) -> None:
    note = '"carol" is not in users.htpasswd, so nobody can log in by that name now'

    assert as_json(folder, "GET", f"{FILES}/x", "--as", "carol")["notes"] == [note]
    assert as_json(folder, "GET", f"{FILES}/x", "--as", "alice")["notes"] == []
    assert as_json(folder, "GET", f"{FILES}/x", "--as", "partner/carol")["notes"] == []
    assert f"note: {note}\n" in run(folder, "GET", f"{FILES}/x", "--as", "carol").stdout


def test_handlers_are_really_asked(folder: Path) -> None:
    assert run(folder, "GET", f"{FILES}/rights/x", "--as", "alice").exit_code == 0
    result = run(folder, "GET", f"{FILES}/rights/x", "--as", "dave")

    assert result.exit_code == 1
    assert "it returned deny(): not in rights.db" in " ".join(result.stdout.split())
    assert result.stderr == ""


def test_a_traceback_is_shown_without_what_a_terminal_would_obey(folder: Path) -> None:
    result = run(folder, "GET", f"{FILES}/rights/x", "--as", "bob")

    assert "Traceback (most recent call last):" in result.stdout
    assert "LookupError: no \\x1b[31mbob" in result.stdout
    assert "\x1b" not in result.stdout
    assert result.stderr == ""


def test_json_holds_the_whole_explanation(folder: Path) -> None:
    document = as_json(folder, "GET", f"{FILES}/home/bob/x", "--as", "alice")

    assert document["rules"] == [
        {
            "rule": "guard",
            "place": 'authgate.toml: rules[0] "guard"',
            "captures": {},
            "deny": [
                {
                    "term": "user:mallory",
                    "result": "no",
                    "atoms": [{"atom": "user:mallory", "truth": "false", "why": "alice is not mallory"}],
                }
            ],
            "allow": None,
            "verdict": "a guard that has nothing against it: the next rule is asked",
        },
        {
            "rule": "homes",
            "place": 'authgate.toml: rules[2] "homes"',
            "captures": {"owner": "bob"},
            "deny": [],
            "allow": [
                {
                    "term": "user:{owner}",
                    "result": "no",
                    "atoms": [{"atom": "user:{owner}", "truth": "false", "why": "alice is not bob"}],
                }
            ],
            "verdict": "no term in allow admits",
        },
    ]
    assert document["near_misses"] == [
        {"rule": "homes", "term": "user:{owner}", "atom": "user:{owner}", "why": "alice is not bob"}
    ]
    rest = {key: document[key] for key in ("later", "nearest", "outcome", "reason", "why", "rule", "detail", "status")}
    assert rest == {
        "later": [], "nearest": [], "outcome": "refuse", "reason": "not_admitted", "why": "no term in allow admits",
        "rule": "homes", "detail": "", "status": 403,
    }  # fmt: skip
    assert document["headers"] == []


@pytest.mark.parametrize("path", ["/%1b%5b31m", "/%ff", "/a%00", "/\udcff"])
def test_bytes_that_no_terminal_shows_are_escaped(folder: Path, path: str) -> None:
    result = run(folder, "GET", FILES + path)

    assert result.exit_code == 1
    assert "REFUSE: ambiguous_path" in result.stdout
    assert result.stdout.isascii()
    assert "\x1b" not in result.stdout
    assert as_json(folder, "GET", FILES + path)["reason"] == "ambiguous_path"


USAGE = [
    (["get", f"{FILES}/"], '"get" is no method\nhint: write "GET"'),
    (["GE T", f"{FILES}/"], '"GE T" is no method'),
    (["GET", "/reports/"], '"/reports/" is no address of a site\nhint: write "GET https://files.example.com/x"'),
    (["GET", "https://alice:pw@files.example.com/"], "is no address of a site"),
    (["GET", "http://files.example.com/x"], f'the site with this host is {FILES}\nhint: write "{FILES}/x"'),
    (["GET", "https://files.example.com:8443/x?y"], f'the site with this host is {FILES}\nhint: write "{FILES}/x?y"'),
    (["GET", "https://[2001:db8::1]/"], "the site with this host is https://[2001:db8::1]:8443"),
    (["GET", f"{FILES}/", "--ip", "10.0.0"], '"10.0.0" is no address of a client'),
    (["GET", f"{FILES}/", "--at", "2026-11-20T19:30:00"], "has no zone\nhint: write 2026-11-20T19:30:00+01:00"),
    (["GET", f"{FILES}/", "--at", "yesterday"], '"yesterday" is no moment'),
    (["GET", f"{FILES}/", "--at", "9999-12-31T23:59:59Z"], "is not in the years 1971 to 9998"),
    (["GET", f"{FILES}/", "--group", "staff"], "belong to somebody\nhint: say who asks"),
    (["GET", f"{FILES}/", "--mfa"], "belong to somebody"),
    (["GET", f"{FILES}/", "--as", "alice", "--claim", "x"], '"x" is no claim\nhint: write --claim department=sales'),
    (["GET", f"{FILES}/", "--as", "alice", "--group", "partner/x"], '"partner/x" is no group of local users'),
    (["GET", f"{FILES}/", "--as", "partner/"], '"partner/" is no name'),
    (["GET", f"{FILES}/", "--as", "a/b/c"], '"a/b/c" is no name'),
]


@pytest.mark.parametrize(("arguments", "message"), USAGE)
def test_a_question_that_makes_no_sense_ends_with_2(folder: Path, arguments: list[str], message: str) -> None:
    result = run(folder, *arguments)

    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr
    assert result.stderr.startswith("authgate: ")


@pytest.mark.parametrize(
    "address",
    ["https://FILES.example.com", "https://files.example.com:443/", "HTTPS://files.example.com./", f"{FILES}/#top"],
)
def test_an_address_may_be_written_in_many_ways(folder: Path, address: str) -> None:
    request = as_json(folder, "GET", address)["request"]

    assert isinstance(request, dict)
    assert (request["host"], request["path"]) == ("files.example.com", "/")


def test_a_site_with_a_port_is_asked_with_its_port(folder: Path) -> None:
    assert as_json(folder, "GET", "https://[2001:db8::1]:8443/x")["reason"] == "no_rule"


def test_a_host_that_is_no_site_is_explained(folder: Path) -> None:
    result = run(folder, "GET", "https://other.example.com/")

    assert result.exit_code == 1
    assert 'no [[sites]] origin has the host "other.example.com"' in result.stdout


def test_a_configuration_that_is_refused_ends_with_2(folder: Path) -> None:
    (folder / "groups").write_text("staff alice\n")

    assert run(folder, "GET", f"{FILES}/").exit_code == 2
    (folder / "groups").write_text("staff: alice\n")
    (folder / "explain_rights.py").write_text("1 / 0\n")
    assert "ZeroDivisionError" in run(folder, "GET", f"{FILES}/").stderr
