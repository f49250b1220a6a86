"""`authgate explain` as an operator sees it."""

import gzip
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from authgate.cli.explain import explain
from authgate.config import load
from authgate.model import (
    ANONYMOUS,
    AccessRequest,
    CredentialKind,
    Decision,
    Facts,
    HandlerCall,
    Identity,
    Outcome,
    Reason,
    Subject,
    allow,
    deny,
    login,
)
from authgate.networks import parse_address
from authgate.observe.audit import Audit

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


def run(folder: Path, *arguments: str, piped: str | None = None) -> Result:
    result = CliRunner().invoke(explain, [*arguments, "--config", str(folder / "authgate.toml")], input=piped)
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
    (folder / "authgate.toml").write_text(CONFIG.replace("[networks]", 'verify = "site::verify"\n[networks]'))
    assert as_json(folder, "GET", f"{FILES}/x", "--as", "carol")["notes"] == []
    (folder / "authgate.toml").write_text(CONFIG)
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
    (["GET", f"{FILES}/", "--as", "a/"], '"a/" is no name'),
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


# Decisions of the past

ID = "n1-c6bfff4b5cd9"
AUDITED = f'node = "n1"\n{CONFIG}\n[audit]\nfile = "audit.jsonl"\n'
CAROL = Identity(Subject("", "carol", frozenset({"finance", "choir"})), CredentialKind.SESSION)
ASKED = AccessRequest(
    "GET", "files.example.com", "/reports/q3.pdf", "https", parse_address("192.0.2.1"), 1795199400.25
)  # fmt: skip
REFUSED = Decision(Outcome.REFUSE, Reason.NOT_ADMITTED, "reports", CAROL)


def record(folder: Path, decision: Decision, asked: AccessRequest | None, facts: Facts, id_: str = ID) -> None:
    """Write a decision to the audit as the service does."""
    (folder / "authgate.toml").write_text(AUDITED)
    audit = Audit(load(folder / "authgate.toml"))
    audit.decided(id_, decision, asked, facts)
    audit.close()


def test_a_decision_of_the_past_is_explained_from_the_audit(folder: Path) -> None:
    record(folder, REFUSED, ASKED, Facts(CAROL))
    version = load(folder / "authgate.toml").version

    result = run(folder, ID)

    assert result.exit_code == 1
    assert result.stdout.startswith(
        f"""\
{ID}, decided at 2026-11-20T18:30:00.250Z by policy {version}
  REFUSE: not_admitted by "reports"

GET https://files.example.com/reports/q3.pdf
  carol by session, in finance, from 192.0.2.1, at 2026-11-20T18:30:00Z

authgate.toml: rules[0] "guard"
"""
    )
    assert "false      ip:office: 192.0.2.1 is not in office (10.0.0.0/8)" in result.stdout
    assert "true       group:finance: carol is in finance" in result.stdout
    assert result.stdout.endswith('REFUSE: not_admitted by "reports"\n  no term in allow admits\n  status 403\n')
    assert "note:" not in result.stdout


def test_handlers_are_not_asked_again(folder: Path) -> None:
    """Now it would admit alice, and fail for bob."""
    call = HandlerCall("explain_rights::may", "rights")
    asked = ASKED._replace(path="/rights/x")
    for name, said, reason in (
        ("alice", deny("on \x1b[31mleave"), Reason.DENIED_BY_RULE),
        ("bob", login(), Reason.LOGIN_REQUIRED),
    ):
        who = Identity(Subject("", name), CredentialKind.SESSION)
        record(
            folder, Decision(said.outcome, reason, "rights", who, detail=said.detail), asked, Facts(who, {call: said})
        )

        document = as_json(folder, ID)

        assert (document["reason"], document["rule"], document["detail"]) == (reason, "rights", said.detail)
        (folder / "audit.jsonl").unlink()
    record(folder, Decision(Outcome.ALLOW, Reason.ALLOWED, "rights", who), asked, Facts(who, {call: allow()}))
    assert run(folder, ID).exit_code == 0
    assert "explain_rights" not in sys.modules


def test_a_policy_that_has_changed_is_said_and_asked(folder: Path) -> None:
    record(folder, REFUSED._replace(detail="for the log"), ASKED, Facts(CAROL))
    then = load(folder / "authgate.toml").version
    changed = AUDITED.replace(
        '"user:root"]', '"user:carol & handler:explain_rights::may", "group:choir", "user:carol"]'
    )
    (folder / "authgate.toml").write_text(changed)
    now = load(folder / "authgate.toml").version

    result = run(folder, ID)
    text = " ".join(result.stdout.split())

    assert f'by policy {then} REFUSE: not_admitted by "reports" for the log the policy on the disk is another' in text
    assert f"another one, {now}: below is" in text
    assert "note: of groups and claims the log has those that rules named then" in text
    assert "it failed: it was not asked then, and is not asked now" in text
    assert "carol is in finance; not in choir" in text
    (folder / "authgate.toml").write_text(AUDITED.replace('"user:root"]', '"user:carol"]'))
    assert run(folder, ID).exit_code == 0
    assert as_json(folder, ID)["outcome"] == "allow"


def test_json_has_what_was_logged(folder: Path) -> None:
    record(folder, REFUSED, ASKED, Facts(CAROL))

    document = as_json(folder, ID)

    assert document["logged"] == json.loads((folder / "audit.jsonl").read_text())
    assert document["outcome"] == "refuse"
    assert as_json(folder, "GET", f"{FILES}/")["logged"] is None


def test_what_stood_in_the_way_then_is_not_there_now(folder: Path) -> None:
    record(folder, Decision(Outcome.REFUSE, Reason.BUSY), ASKED, Facts(CAROL))
    assert "by the same policy it comes out otherwise now" in run(folder, ID).stdout

    (folder / "audit.jsonl").unlink()
    unknown = Identity(None, CredentialKind.SESSION, Reason.STORE_UNAVAILABLE)
    record(folder, Decision(Outcome.REFUSE, Reason.STORE_UNAVAILABLE, "guard", unknown), ASKED, Facts(unknown))
    text = run(folder, ID).stdout
    assert "otherwise now" not in text
    assert "\n  nobody knows who (session: store_unavailable), from 192.0.2.1" in text
    assert "who asks is not known (store_unavailable)" in text
    assert 'REFUSE: store_unavailable by "guard"\n  the store could not be read, so nobody knew who asks\n' in text


def test_a_credential_that_proved_nothing_is_named(folder: Path) -> None:
    wrong = Identity(ANONYMOUS, CredentialKind.BASIC, Reason.BAD_CREDENTIAL)
    record(folder, Decision(Outcome.LOGIN, Reason.BAD_CREDENTIAL, "reports", wrong), ASKED, Facts(wrong))

    result = run(folder, ID)

    assert "\n  nobody (basic: bad_credential), from 192.0.2.1" in result.stdout
    assert 'LOGIN: bad_credential by "reports"\n  what was sent proves nothing' in result.stdout
    assert "note:" not in result.stdout


def test_what_the_log_has_shortened_is_said(folder: Path) -> None:
    record(folder, REFUSED, ASKED._replace(path="/" + "x" * 5000), Facts(CAROL))

    assert as_json(folder, ID)["notes"] == [
        "too long for the log and shortened there: path",
        "by the same policy it comes out otherwise now: what was in its way then, the log of the service says",
    ]


@pytest.mark.parametrize("reason", [Reason.MISSING_PATH, Reason.CONFLICTING_HEADERS, Reason.UNKNOWN_HOST,
                                    Reason.AMBIGUOUS_PATH])  # fmt: skip
def test_a_question_that_could_not_be_read_has_no_rules(folder: Path, reason: Reason) -> None:
    record(folder, Decision(Outcome.REFUSE, reason), None, Facts())

    result = run(folder, ID)
    document = as_json(folder, ID)

    assert result.exit_code == 1
    assert f"  REFUSE: {reason}\n  " in result.stdout
    assert document["request"] is None
    assert document["why"]


def test_a_path_that_no_terminal_shows_is_explained(folder: Path) -> None:
    record(folder, Decision(Outcome.REFUSE, Reason.AMBIGUOUS_PATH), ASKED._replace(path="/\udcff\x1b[31m"), Facts())

    result = run(folder, ID)

    assert "/\\udcff\\x1b[31m\n" in result.stdout
    assert result.stdout.isascii()
    assert as_json(folder, ID)["request"]["path"] == "/\udcff\x1b[31m"  # type: ignore[index]


def test_a_log_that_is_piped_in_is_searched(folder: Path) -> None:
    record(folder, REFUSED, ASKED, Facts(CAROL))
    journal = f"Nov 20 18:30:00 host authgate[7]: {(folder / 'audit.jsonl').read_text()}authgate: ready\n"
    (folder / "authgate.toml").write_text(f'node = "n1"\n{CONFIG}')

    assert 'REFUSE: not_admitted by "reports"' in run(folder, ID, "--log", "-", piped=journal).stdout
    nothing = run(folder, ID, "--log", "-", piped="authgate: ready\n")
    assert (nothing.exit_code, nothing.stdout) == (1, "")
    assert nothing.stderr.startswith(
        f"authgate: {ID} is not in what was piped in\nhint: requests that may pass are only"
    )


def test_rotated_and_named_files_are_searched(folder: Path) -> None:
    record(folder, REFUSED, ASKED, Facts(CAROL))
    old = folder / "audit.jsonl.2.gz"
    old.write_bytes(gzip.compress((folder / "audit.jsonl").read_bytes()))
    (folder / "audit.jsonl").write_text("")
    assert run(folder, ID).exit_code == 1
    assert run(folder, ID).stderr == ""
    old.rename(folder / "kept.gz")
    assert "REFUSE" in run(folder, ID, "--log", str(folder / "kept.gz")).stdout

    missing = run(folder, ID)
    assert missing.exit_code == 1
    assert missing.stderr.startswith(f"authgate: {ID} is not in {folder / 'audit.jsonl'}\nhint: ")
    other = run(folder, "9fe0-c6bfff4b5cd9")
    assert "hint: node 9fe0 is not this one (n1): look at its audit" in other.stderr
    (folder / "authgate.toml").write_text(f"{AUDITED}allows = true\n")
    assert '"dropped"' in run(folder, ID).stderr
    (folder / "audit.jsonl").unlink()
    assert f"there is no audit file {folder / 'audit.jsonl'}\nhint: " in run(folder, ID).stderr
    (folder / "kept.gz").write_bytes(b"no gzip")
    assert "cannot read " in run(folder, ID, "--log", str(folder / "kept.gz")).stderr
    assert "cannot read /no/such: no such file" in run(folder, ID, "--log", "/no/such").stderr


def test_a_line_of_another_version_is_said_to_be_one(folder: Path) -> None:
    (folder / "authgate.toml").write_text(AUDITED)
    (folder / "audit.jsonl").write_text(f'{{"time":"x","id":"{ID}","event":"decision"}}\n')

    result = run(folder, ID)

    assert result.exit_code == 1
    assert "the line does not say all of the decision" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["3fa1"], '"3fa1" is no id of a decision\nhint: such as 3fa1-c6bfff4b5cd9'),
        ([f"{ID}\n"], "is no id of a decision"),
        ([f"{FILES}/x"], f'hint: write "authgate explain GET {FILES}/x"'),
        ([ID, "--as", "alice", "--ip", "::1"], "--as, --ip goes with METHOD URL; the audit says who asked"),
        (["GET", f"{FILES}/x", "--log", "x"], "--log goes with ID"),
        (["GET", f"{FILES}/x", "y"], "METHOD URL or ID, not 3 words"),
        ([], "Missing argument 'METHOD URL | ID'"),
    ],
)
def test_two_forms_are_not_mixed(folder: Path, arguments: list[str], message: str) -> None:
    result = run(folder, *arguments)

    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr


def test_without_an_audit_file_the_log_has_to_be_piped_in(folder: Path) -> None:
    result = run(folder, ID)

    assert result.exit_code == 1
    assert f"hint: pipe the log in: journalctl -u authgate | authgate explain {ID} --log -\n" in result.stderr


def test_a_signed_link_is_not_shown(folder: Path) -> None:
    link = f"{'eyJh' * 10}.{'eyJp' * 30}.{'s' * 43}"
    for target in (f"/a?x=1&ag={link}", f"/a?%61g={link[:60]}", f"/a?to=/b?ag={link}", f"/authgate-link/{link}/a"):
        for more in ([], ["--json"]):
            shown = run(folder, "GET", f"https://files.example.com{target}", *more).output

            assert "eyJheyJ" not in shown, shown
            assert "sss" not in shown
