"""The audit: every fact of a decision in one line that nobody can forge, and no secret."""

import json
import os
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from ipaddress import IPv6Address
from pathlib import Path
from typing import Any

import pytest

from authgate.config import Settings, parse
from authgate.errors import ConfigError
from authgate.model import (
    ANONYMOUS,
    NOBODY,
    AccessRequest,
    CredentialKind,
    Decision,
    Facts,
    HandlerCall,
    Identity,
    Link,
    Outcome,
    Reason,
    Subject,
    Use,
    allow,
    deny,
    login,
)
from authgate.networks import parse_address
from authgate.observe.audit import Audit
from authgate.observe.lines import MAX_LINE, Lines
from tests.policies import local, request
from tests.servers import eventually

ID = "n1-0123456789ab"
NOW = 1795199400.5
RULES = [
    {"name": "reports", "paths": ["/reports/{year}/**"], "allow": ["group:staff & claim:dept=it", "group:partner/a"]},
    {"name": "teams", "paths": ["/teams/{team}/**"], "allow": ["group:team-{team}"]},
]
ALICE = Identity(
    Subject("", "alice", frozenset({"staff", "football"}), frozenset({("dept", "it"), ("email", "a@example.com")})),
    CredentialKind.SESSION,
)
REFUSED = Decision(Outcome.REFUSE, Reason.NOT_ADMITTED, "reports", ALICE, captures={"year": "2026"})
ASKED = request("/reports/2026/x")._replace(instant=NOW)


def settings(folder: Path, **audit: object) -> Settings:
    document = {
        "node": "n1",
        "sites": [{"origin": "https://files.example.com"}],
        "applications": [{"source": "partner", "kind": "django", "secrets": ["partner.secret"]}],
        "rules": RULES,
        "audit": {"file": "audit.jsonl", **audit},
    }
    return parse(document, folder / "authgate.toml")


@contextmanager
def audit(folder: Path, **table: object) -> Iterator[Audit]:
    made = Audit(settings(folder, **table), lambda: NOW)
    try:
        yield made
    finally:
        made.close()


def lines(folder: Path) -> list[dict[str, Any]]:
    text = (folder / "audit.jsonl").read_bytes()
    assert text.isascii()
    assert all(len(line) < MAX_LINE for line in text.splitlines())
    return [json.loads(line) for line in text.splitlines()]


def written(folder: Path, decision: Decision, asked: AccessRequest | None, facts: Facts) -> dict[str, Any]:
    with audit(folder) as made:
        made.decided(ID, decision, asked, facts)
    assert made.written == 1
    return lines(folder)[-1]


def test_line_holds_every_fact_of_the_decision(tmp_path: Path) -> None:
    call = HandlerCall("rights::may", "reports")

    line = written(tmp_path, REFUSED, ASKED, Facts(ALICE, {call: deny("not in rights.db")}))

    assert list(line.items()) == [
        ("time", "2026-11-20T18:30:00.500Z"), ("id", ID), ("node", "n1"), ("event", "decision"),
        ("outcome", "refuse"), ("reason", "not_admitted"), ("rule", "reports"), ("detail", None),
        ("method", "GET"), ("scheme", "https"), ("host", "files.example.com"), ("path", "/reports/2026/x"),
        ("address", "192.0.2.1"), ("user", "alice"), ("groups", ["staff"]), ("claims", [["dept", "it"]]),
        ("credential", "session"), ("failure", None), ("second_factor", False), ("captures", {"year": "2026"}),
        ("answers", [{"rule": "reports", "handler": "rights::may", "answer": "deny", "detail": "not in rights.db"}]),
        ("policy", settings(tmp_path).version),
    ]  # fmt: skip


def test_query_headers_and_other_groups_and_claims_are_not_written(tmp_path: Path) -> None:
    asked = ASKED._replace(query="ag=secret", headers={"cookie": "secret", "authorization": "Basic secret"})
    written(tmp_path, REFUSED, asked, Facts(ALICE))

    text = (tmp_path / "audit.jsonl").read_text()
    assert not any(word in text for word in ("secret", "football", "a@example.com"))


def test_link_is_written_by_its_id(tmp_path: Path) -> None:
    used = written(tmp_path, REFUSED, ASKED, Facts(link=Link("l1", None, 3), use=Use.USED_UP))
    expired = written(tmp_path, REFUSED, ASKED, Facts(link=Link("l2", Reason.EXPIRED)))

    assert used["link"] == {"id": "l1", "failure": None, "uses": 3, "use": "used up"}
    assert expired["link"] == {"id": "l2", "failure": "expired", "uses": None, "use": None}
    assert "link" not in written(tmp_path, REFUSED, ASKED, Facts())


def test_group_that_a_capture_names_is_written(tmp_path: Path) -> None:
    decision = Decision(Outcome.ALLOW, Reason.ALLOWED, "teams", captures={"team": "red"})
    who = local("alice", "team-red", "team-blue")

    assert written(tmp_path, decision, ASKED, Facts(who))["groups"] == ["team-red"]


def test_people_and_groups_of_another_source_are_written_as_rules_write_them(tmp_path: Path) -> None:
    who = Identity(Subject("partner", "eve", frozenset({"a", "staff"})), CredentialKind.JWT, None, True)
    line = written(tmp_path, REFUSED, ASKED, Facts(who))

    assert (line["user"], line["groups"], line["credential"]) == ("partner/eve", ["partner/a"], "jwt")
    assert line["second_factor"] is True


WHO: list[tuple[Identity | None, Mapping[str, object]]] = [
    (NOBODY, {"user": "", "groups": [], "claims": [], "credential": "none", "failure": None}),
    (None, {"user": None, "groups": None, "claims": None, "credential": None, "failure": None}),
    (Identity(Subject("", "alice", None), CredentialKind.BASIC), {"user": "alice", "groups": None}),
    (
        Identity(None, CredentialKind.SESSION, Reason.STORE_UNAVAILABLE),
        {"user": None, "groups": None, "credential": "session", "failure": "store_unavailable"},
    ),
    (
        Identity(ANONYMOUS, CredentialKind.BASIC, Reason.BAD_CREDENTIAL),
        {"user": "", "credential": "basic", "failure": "bad_credential"},
    ),
]


@pytest.mark.parametrize(("identity", "expected"), WHO)
def test_nobody_is_not_the_same_as_unknown(
    tmp_path: Path, identity: Identity | None, expected: Mapping[str, object]
) -> None:
    line = written(tmp_path, Decision(Outcome.REFUSE, Reason.NO_RULE), ASKED, Facts(identity))

    assert {key: line[key] for key in expected} == expected


def test_who_asked_is_written_though_no_rule_looked(tmp_path: Path) -> None:
    assert written(tmp_path, Decision(Outcome.REFUSE, Reason.NO_RULE), ASKED, Facts(ALICE))["user"] == "alice"
    assert written(tmp_path, REFUSED, ASKED, Facts())["user"] == "alice"


def test_question_that_could_not_be_read_has_no_request(tmp_path: Path) -> None:
    line = written(tmp_path, Decision(Outcome.REFUSE, Reason.MISSING_PATH), None, Facts())

    assert [line[key] for key in ("method", "scheme", "host", "path", "address", "user", "rule")] == [None] * 7
    assert (line["reason"], line["time"]) == ("missing_path", "2026-11-20T18:30:00.500Z")


def test_preflight_is_said(tmp_path: Path) -> None:
    assert written(tmp_path, REFUSED, ASKED._replace(preflight=True), Facts())["preflight"] is True
    assert "preflight" not in written(tmp_path, REFUSED, ASKED, Facts())


def test_address_is_as_people_write_it(tmp_path: Path) -> None:
    for text in ("2001:db8::1", "0.0.0.1"):
        asked = ASKED._replace(address=parse_address(text))
        assert written(tmp_path, REFUSED, asked, Facts())["address"] == text
    assert written(tmp_path, REFUSED, ASKED._replace(address=IPv6Address(1)), Facts())["address"] == "::1"
    assert written(tmp_path, REFUSED, ASKED._replace(address=None), Facts())["address"] is None


def test_every_answer_of_a_handler_has_a_name(tmp_path: Path) -> None:
    failed = Decision(Outcome.REFUSE, Reason.HANDLER_ERROR, detail='Traceback:\n  File "x"\nLookupError: no table\n')
    answers = {HandlerCall(f"h::{n}", "r"): said for n, said in enumerate((None, allow(), login(), deny("x"), failed))}

    line = written(tmp_path, failed, ASKED, Facts(NOBODY, answers))

    assert [(answer["answer"], answer["detail"]) for answer in line["answers"]] == [
        ("none", None), ("allow", None), ("login", None), ("deny", "x"), ("failed", "LookupError: no table"),
    ]  # fmt: skip
    assert line["detail"] == "LookupError: no table"


@pytest.mark.parametrize("path", ['/a"b\\', '/\n{"id":', "/\x1b[31m\x7f\x9b", "/\udcff\udc80", "/ä\u202e\U0001f600"])
def test_what_a_client_chose_stays_within_its_value(tmp_path: Path, path: str) -> None:
    asked = ASKED._replace(path=path, method="GE\nT", host='x"\x1b')
    line = written(tmp_path, REFUSED, asked, Facts())

    assert (line["path"], line["method"], line["host"]) == (path, "GE\nT", 'x"\x1b')
    assert not any(byte < 0x20 or byte > 0x7E for byte in (tmp_path / "audit.jsonl").read_bytes().rstrip(b"\n"))


def test_line_that_would_be_too_long_keeps_something_of_everything(tmp_path: Path) -> None:
    long = "\x1b" * 40_000
    who = Identity(
        Subject("", long, frozenset({"staff"}), frozenset(("dept", f"{n}{long}") for n in range(9))),
        CredentialKind.APPLICATION, Reason.STORE_UNAVAILABLE, True,
    )  # fmt: skip
    answers = {HandlerCall(f"h{n}::{'f' * 100}", "r" * 64): deny(long) for n in range(64)}
    decision = Decision(
        Outcome.REFUSE, Reason.SECOND_FACTOR_REQUIRED, "r" * 64, who, captures={"a": "b", "c": long}, detail=long
    )
    asked = AccessRequest(
        "\x01" * 32, "\xff" * 300, "/" + long, "https", parse_address("2001:db8:1111:2222:3333:4444:5555:6666"), NOW
    )

    line = written(tmp_path, decision, asked._replace(preflight=True), Facts(who, answers))

    assert line["cut"] == ["method", "host", "path", "captures", "detail", "answers", "claims", "user"]
    assert (line["groups"], line["captures"], line["preflight"]) == (["staff"], {"a": "b"}, True)
    assert all(line[key].endswith("...") for key in ("method", "host", "path", "detail", "user"))
    assert line["path"].startswith("/\x1b\x1b")
    assert line["answers"][0]["answer"] == "deny"


def test_path_as_long_as_nginx_takes_is_shortened_alone(tmp_path: Path) -> None:
    line = written(tmp_path, REFUSED, ASKED._replace(path="/" + "x" * 8000), Facts(ALICE))

    assert (line["cut"], line["user"], line["groups"]) == (["path"], "alice", ["staff"])
    assert 800 < len(line["path"]) < 1000


def test_many_groups_are_shortened(tmp_path: Path) -> None:
    names = [f"group-{number:04}" for number in range(1000)]
    decision = REFUSED._replace(captures={"all": "group-"})
    line = written(tmp_path, decision, ASKED, Facts(local("alice", *names)))

    assert line["cut"] == ["groups"]
    assert line["groups"] == names[: len(line["groups"])]
    assert len(line["groups"]) > 10


def test_logins_and_logouts(tmp_path: Path) -> None:
    with audit(tmp_path) as made:
        made.login(Reason.ALLOWED, "alice", "files.example.com", parse_address("192.0.2.1"))
        made.login(Reason.BAD_CREDENTIAL, "", "files.example.com", parse_address("2001:db8::1"))
        made.logout("x" * 9000, "h" * 9000, None)

    common = {"time": "2026-11-20T18:30:00.500Z", "node": "n1", "host": "files.example.com"}
    good, bad, out = lines(tmp_path)
    assert good == common | {
        "event": "login", "outcome": "allow", "reason": "allowed", "address": "192.0.2.1", "user": "alice"
    }  # fmt: skip
    assert bad == common | {
        "event": "login", "outcome": "refuse", "reason": "bad_credential", "address": "2001:db8::1", "user": None
    }  # fmt: skip
    assert (out["event"], out["address"], "reason" in out) == ("logout", None, False)


def test_allows_are_asked_for(tmp_path: Path) -> None:
    with audit(tmp_path) as made:
        assert not made.allows
    with audit(tmp_path, allows=True) as made:
        assert made.allows


def test_new_file_is_not_for_everybody_and_an_old_one_goes_on(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        written(tmp_path, REFUSED, ASKED, Facts())
    finally:
        os.umask(before)
    file = tmp_path / "audit.jsonl"
    assert stat.S_IMODE(file.stat().st_mode) == 0o640

    file.chmod(0o600)
    written(tmp_path, REFUSED, ASKED, Facts())
    assert (len(lines(tmp_path)), stat.S_IMODE(file.stat().st_mode)) == (2, 0o600)


def test_folder_of_the_file_is_made(tmp_path: Path) -> None:
    with audit(tmp_path, file="state/audit.jsonl"):
        assert (tmp_path / "state" / "audit.jsonl").is_file()


def test_file_that_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "elsewhere").touch()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(tmp_path / "pipe")  # one that nobody reads would wait for ever
    for name, why in (
        ("folder", "is a directory"),
        ("link", "symbolic links"),
        ("none/none/x", "no such file"),
        ("pipe", "no such device"),
    ):
        with pytest.raises(ConfigError) as caught:
            Audit(settings(tmp_path, file=name))
        (problem,) = caught.value.problems
        assert problem.place == "authgate.toml: audit.file"
        assert why in problem.message
        assert problem.hint


def test_rotated_file_is_left_when_told(tmp_path: Path) -> None:
    file, old = tmp_path / "audit.jsonl", tmp_path / "audit.jsonl.1"
    with audit(tmp_path) as made:
        made.logout("first", "h", None)
        eventually(lambda: made.written == 1, "the line is written")
        file.rename(old)
        made.logout("second", "h", None)
        eventually(lambda: made.written == 2, "the line is written")
        assert not file.exists()
        made.reopen()
        eventually(file.exists, "the file is opened again")
        made.logout("third", "h", None)

    assert [json.loads(line)["user"] for line in old.read_text().splitlines()] == ["first", "second"]
    assert [line["user"] for line in lines(tmp_path)] == ["third"]


def test_without_a_file_lines_go_to_stderr(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    made = Audit(parse({"sites": [{"origin": "https://files.example.com"}]}, tmp_path / "authgate.toml"))
    made.logout("alice", "h", None)
    made.close()

    assert json.loads(capfd.readouterr().err)["event"] == "logout"
    os.fstat(2)


# docs/audit.md

PAGE = (Path(__file__).parents[2] / "docs" / "audit.md").read_text()


def documented(header: str) -> set[str]:
    found = re.search(rf"^\| {header} \| \|\n\|[-|]+\|\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
    assert found
    return {name for row in found[1].splitlines() for name in re.findall(r"`(\w+)`", row.split("|")[1])}


def test_every_field_is_documented(tmp_path: Path) -> None:
    asked = ASKED._replace(path="/" + "x" * 5000, preflight=True)
    assert documented("Field") == set(written(tmp_path, REFUSED, asked, Facts(link=Link("l1"))))
    with audit(tmp_path) as made:
        made.login(Reason.BAD_CREDENTIAL, "alice", "h", None)
    assert documented("Login field") == set(lines(tmp_path)[-1])
    dropped = json.loads(Lines("n1", "v").dropped(NOW, 7))
    assert documented("Dropped field") == set(dropped)
    assert dropped["count"] == 7


def test_documented_filter_finds_wrong_passwords_and_nothing_else(tmp_path: Path) -> None:
    """As fail2ban 1.0 reads it: without the date, and <ADDR> is an address."""
    block = re.search(r"```ini\n\[Definition\]\nfailregex = (.*?)\ndatepattern = (.*?)\n```", PAGE, re.DOTALL)
    assert block
    patterns = [re.compile(line.strip().replace("<ADDR>", r"(?P<ip>[0-9a-f.:]+)")) for line in block[1].splitlines()]
    wrong = Identity(ANONYMOUS, CredentialKind.BASIC, Reason.BAD_CREDENTIAL)
    stale = Identity(ANONYMOUS, CredentialKind.SESSION, Reason.BAD_CREDENTIAL)
    decision = Decision(Outcome.LOGIN, Reason.BAD_CREDENTIAL)
    forged = ASKED._replace(path='/","address":"203.0.113.9","credential":"basic"')
    with audit(tmp_path) as made:
        for number, who in enumerate((wrong, stale, NOBODY)):
            address = parse_address(f"192.0.2.{number}")
            made.decided(ID, decision, forged._replace(address=address), Facts(who))
        made.login(Reason.BAD_CREDENTIAL, "", "h", parse_address("2001:db8::1"))
        made.login(Reason.ALLOWED, "alice", "h", parse_address("192.0.2.9"))

    date = re.compile(r'^\{"time":"2026-11-20T18:30:00\.500Z",')
    rest = [date.sub("", line) for line in (tmp_path / "audit.jsonl").read_text().splitlines()]
    found = [match["ip"] for line in rest for pattern in patterns if (match := pattern.search(line))]
    assert found == ["192.0.2.0", "2001:db8::1"]
    form = block[2].removeprefix('^\\{"time":"').removesuffix('",').replace("%%", "%").replace("\\", "")
    assert datetime.strptime("2026-11-20T18:30:00.500Z", form).timestamp() == NOW  # noqa: DTZ007 - form has %z


def test_documented_rotation_is_what_is_shipped() -> None:
    shipped = (Path(__file__).parents[2] / "deploy" / "systemd" / "authgate.logrotate").read_text()

    assert shipped.partition("\n")[2] in PAGE
