"""Decisions are found again, and are read as they were written."""

import gzip
import json
import os
from ipaddress import IPv4Address
from pathlib import Path

import pytest

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
from authgate.observe import records
from authgate.observe.lines import Lines
from authgate.observe.records import RecordError, find, find_in_file, log_files, read_record

LINES = Lines("n1", "25e6d9f53a09", frozenset({"staff", "partner/a"}), {"dept"})
ASKED = AccessRequest("GET", "files.example.com", "/x/\udcff\n", "https", IPv4Address("192.0.2.1"), 1795199400.25)
FAILED = Decision(Outcome.REFUSE, Reason.HANDLER_ERROR, detail="LookupError: x")


def id_of(number: int) -> str:
    return f"n1-{number:012x}"


def line(
    number: int = 0,
    decision: Decision = Decision(Outcome.REFUSE, Reason.NO_RULE),  # noqa: B008 - immutable
    asked: AccessRequest | None = ASKED,
    facts: Facts = Facts(),  # noqa: B008 - immutable
) -> str:
    first = None if asked is None else asked[:6]
    return LINES.decision((id_of(number), decision, first, bool(asked and asked.preflight), facts, 1795199400.0))


IDENTITIES = [
    NOBODY,
    Identity(Subject("", "alice", frozenset({"staff"}), frozenset({("dept", "it"), ("dept", "hr")})),
             CredentialKind.SESSION),
    Identity(Subject("", "alice", None), CredentialKind.BASIC),
    Identity(Subject("partner", "eve", frozenset({"a"})), CredentialKind.JWT, None, True),
    Identity(ANONYMOUS, CredentialKind.SESSION, Reason.EXPIRED),
    Identity(None, CredentialKind.BASIC, Reason.BUSY),
]  # fmt: skip


@pytest.mark.parametrize("identity", IDENTITIES)
def test_record_is_what_was_decided(identity: Identity) -> None:
    decision = Decision(
        Outcome.LOGIN, Reason.LOGIN_REQUIRED, "a rule", identity, captures={"a": "b"}, detail='said "no"'
    )
    said = (None, allow(), login(), deny("x"), deny(), FAILED)
    answers = {HandlerCall(f"h::{number}", "r"): one for number, one in enumerate(said)}
    asked = ASKED._replace(preflight=True)

    record = read_record(json.loads(line(7, decision, asked, Facts(identity, answers))))

    assert (record.id, record.policy, record.time) == (id_of(7), "25e6d9f53a09", "2026-11-20T18:30:00.250Z")
    assert record.decision == decision
    assert record.request == asked
    assert record.identity == identity
    assert record.answers == answers
    assert record.cut == ()


@pytest.mark.parametrize(
    ("link", "use"),
    [(Link("l1", None, 3), Use.GRANTED), (Link("l2", Reason.REVOKED), None), (Link("", Reason.BAD_CREDENTIAL), None)],
)
def test_link_is_read_as_it_was(link: Link, use: Use | None) -> None:
    record = read_record(json.loads(line(facts=Facts(NOBODY, link=link, use=use))))

    assert (record.link, record.use) == (link, use)


def test_question_that_could_not_be_read_has_no_request() -> None:
    decision = Decision(Outcome.REFUSE, Reason.MISSING_PATH)

    record = read_record(json.loads(line(decision=decision, asked=None)))

    assert record.request is None
    assert record.decision.reason is Reason.MISSING_PATH


def test_identity_that_nobody_looked_at_is_unknown() -> None:
    assert read_record(json.loads(line())).identity.subject is None


def test_what_was_cut_is_said() -> None:
    record = read_record(json.loads(line(asked=ASKED._replace(path="/" + "x" * 5000))))

    assert record.cut == ("path",)


@pytest.mark.parametrize(
    ("key", "value"),
    [("reason", "because"), ("outcome", "maybe"), ("outcome", None), ("path", 7), ("time", "now"), ("claims", [["a"]]),
     ("answers", [7]), ("answers", [{"handler": "h::f"}]), ("groups", "staff"), ("captures", []), ("method", None)],
)  # fmt: skip
def test_line_of_another_kind_is_refused(key: str, value: object) -> None:
    identity = IDENTITIES[1]
    fields = json.loads(line(facts=Facts(identity)))
    with pytest.raises(RecordError):
        read_record(fields | {key: value})
    del fields[key]
    with pytest.raises(RecordError):
        read_record(fields)


def test_line_is_found_among_others() -> None:
    login_line = LINES.login(0.0, Reason.ALLOWED, "alice", "h", None)
    lines = [
        "authgate: ready\n", login_line, line(1), f"Nov 20 18:30:00 host authgate[7]: {line(2)}", line(3),
        # A full disk cut the line before off in its middle.
        line(4)[:200] + line(5), line(6)[:300] + "\n",
    ]  # fmt: skip
    raw = [one.encode() for one in lines]

    for number in (1, 2, 3, 5):
        found = find(id_of(number), raw)
        assert found is not None
        assert (found["id"], found["path"]) == (id_of(number), ASKED.path)
    for number in (4, 6, 9):
        assert find(id_of(number), raw) is None


def test_client_cannot_pass_for_another_decision() -> None:
    forged = line(1).strip()
    path = f'/{forged}\n{{"time":"","id":"{id_of(1)}","event":"decision"'

    assert find(id_of(1), [line(2, asked=ASKED._replace(path=path)).encode()]) is None


@pytest.mark.parametrize("block", [1, 7, 100, 1 << 20])
def test_file_is_read_from_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(records, "_BLOCK", block)
    file = tmp_path / "audit"
    newer = line(0, Decision(Outcome.REFUSE, Reason.DENIED_BY_RULE))
    file.write_text(line(0) + line(1) + newer + line(2))

    for number, reason in ((0, "denied_by_rule"), (1, "no_rule"), (2, "no_rule")):
        found = find_in_file(id_of(number), file)
        assert found is not None
        assert found["reason"] == reason
    assert find_in_file(id_of(3), file) is None
    file.write_text("")
    assert find_in_file(id_of(0), file) is None


def test_compressed_files_are_read(tmp_path: Path) -> None:
    file = tmp_path / "audit.1.gz"
    file.write_bytes(gzip.compress(line(1).encode()))

    found = find_in_file(id_of(1), file)

    assert found is not None
    for damaged in (b"no gzip", gzip.compress(line(1).encode())[:-20], gzip.compress(b"x" * 99)[:12] + b"\xff" * 99):
        file.write_bytes(damaged)
        with pytest.raises(OSError, match=r"gzip|damaged"):
            find_in_file(id_of(1), file)


def test_rotated_files_are_looked_at_newest_first(tmp_path: Path) -> None:
    names = ["audit.jsonl", "audit.jsonl.1", "audit.jsonl-20261119.gz", "audit.jsonl.3.gz", "audit.jsonl-20261101"]
    for age, name in enumerate(names):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (0, 1_000_000 - age))
    os.utime(tmp_path / names[0], (0, 0))
    for name in ("audit.jsonl.bak", "audit.jsonl~", "other.jsonl.1", "audit.jsonl.1.xz", "audit.json"):
        (tmp_path / name).touch()

    assert [path.name for path in log_files(tmp_path / "audit.jsonl")] == names
