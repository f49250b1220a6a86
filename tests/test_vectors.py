"""The tables in ``tests/vectors``: patterns, terms and outcomes."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from authgate.engine import decide
from authgate.model import (
    NOBODY,
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
from authgate.patterns import PatternError, parse_pattern
from authgate.policy.atoms import Atom, Question, Truth
from authgate.policy.parsing import parse_term
from authgate.policy.terms import Part, Term
from tests.policies import NETWORKS, compiled, request

VECTORS = Path(__file__).parent / "vectors"


def read(name: str) -> Mapping[str, Any]:
    return tomllib.loads((VECTORS / f"{name}.toml").read_text())


# Patterns

PATTERNS = read("patterns")
COVERED = [(row["pattern"], path) for row in PATTERNS["patterns"] for path in row.get("covers", ())]
NOT_COVERED = [(row["pattern"], path) for row in PATTERNS["patterns"] for path in row.get("others", ())]
CAPTURED = [(row["pattern"], *item) for row in PATTERNS["patterns"] for item in row.get("captures", {}).items()]
REFUSED = [(text, row["message"]) for row in PATTERNS["refused"] for text in row["patterns"]]


def covering(pattern: str, path: str) -> Mapping[str, str] | None:
    """Return what was captured; None when the path is not covered."""
    found = list(compiled({"paths": [pattern], "allow": ["anyone"]}).matching("files.example.com", path, "GET"))
    return found[0][1] if found else None


@pytest.mark.parametrize(("pattern", "path"), COVERED)
def test_pattern_covers(pattern: str, path: str) -> None:
    assert covering(pattern, path) is not None


@pytest.mark.parametrize(("pattern", "path"), NOT_COVERED)
def test_pattern_does_not_cover(pattern: str, path: str) -> None:
    assert covering(pattern, path) is None


@pytest.mark.parametrize(("pattern", "path", "captures"), CAPTURED)
def test_pattern_captures(pattern: str, path: str, captures: Mapping[str, str]) -> None:
    assert covering(pattern, path) == captures


@pytest.mark.parametrize(("text", "message"), REFUSED)
def test_text_that_is_no_pattern_is_refused(text: str, message: str) -> None:
    with pytest.raises(PatternError) as caught:
        parse_pattern(text)

    assert message in str(caught.value)


# Terms

TRUTHS: Mapping[str, Truth] = {"T": True, "F": False, "?": None}
TERMS = [(row["term"], line.split()) for row in read("terms")["terms"] for line in row["truth"].splitlines()]


@dataclass(frozen=True, slots=True)
class Given(Atom):
    """An atom that is what the table says."""

    truth: Truth

    def evaluate(self, asked: Question) -> Truth:
        return self.truth


@pytest.mark.parametrize(("text", "truths"), TERMS, ids="".join)
def test_term(text: str, truths: list[str]) -> None:
    *given, wanted = (TRUTHS[truth] for truth in truths)
    texts = text.split(" & ")
    parts = [Part(part, part[0] == "!", Given(truth)) for part, truth in zip(texts, given, strict=True)]
    term = Term(text, tuple(parts), asks_identity=False)
    question = Question(request(), NOBODY, {}, "r", {}, {})

    assert (term.holds(question), term.refuses(question)) == (wanted is True, wanted is not False)


# Two atoms that can be true, false and unknown independently of each other.
ADDRESSES: Mapping[str, str | None] = {"T": "10.0.0.1", "F": "192.0.2.1", "?": None}
GROUPS: Mapping[str, frozenset[str] | None] = {"T": frozenset({"staff"}), "F": frozenset(), "?": None}


@pytest.mark.parametrize(("text", "truths"), [row for row in TERMS if len(row[1]) == 3], ids="".join)
def test_term_as_it_is_written(text: str, truths: list[str]) -> None:
    ip, group, truth = truths
    wanted = TRUTHS[truth]
    term = parse_term(text.replace("a", "ip:office").replace("b", "group:staff"), NETWORKS)
    alice = Identity(Subject("", "alice", GROUPS[group]), CredentialKind.SESSION)
    question = Question(request(ip=ADDRESSES[ip]), alice, {}, "r", {}, {})

    assert (term.holds(question), term.refuses(question)) == (wanted is True, wanted is not False)


# Outcomes

OUTCOMES = read("outcomes")
CASES = [
    pytest.param(case, id=f"{section['about']} {index}")
    for section in OUTCOMES["outcomes"]
    for index, case in enumerate(section["cases"])
]
SAYINGS: Mapping[str, Decision | None] = {
    "allow": allow(),
    "deny": deny("no"),
    "login": login(),
    "none": None,
    "error": Decision(Outcome.REFUSE, Reason.HANDLER_ERROR),
}


def identity(
    name: str | None = None,
    source: str = "",
    groups: list[str] | None = None,
    claims: list[list[str]] | None = None,
    via: str = "session",
    failure: str | None = None,
    mfa: bool = False,
) -> Identity:
    """Return who a table of people describes: without a name nobody knows who it is, without groups in which."""
    known = None if groups is None else frozenset(groups)
    claimed = frozenset((claim, value) for claim, value in claims or ())
    subject = None if name is None else Subject(source, name, known, claimed)
    return Identity(subject, CredentialKind(via), Reason(failure) if failure else None, mfa)


@pytest.mark.parametrize("case", CASES)
def test_outcome(case: Mapping[str, Any]) -> None:
    policy = compiled(*({"paths": ["/**"], **rule} for rule in case["rules"]))
    method, _, url = case.get("request", "GET https://files.example.com/x").partition(" ")
    at = case.get("at", datetime.fromisoformat("1970-01-01T00:00:00Z")).timestamp()
    address = case.get("from", "192.0.2.1")
    asked = request(urlsplit(url).path, method=method, host=urlsplit(url).netloc, ip=address)._replace(instant=at)
    who = identity(**OUTCOMES["people"][case["who"]]) if "who" in case else NOBODY

    answers: dict[HandlerCall, Decision | None] = {}
    while not isinstance(decision := decide(policy, asked, Facts(who, answers)), Decision):
        assert decision.call is not None
        assert decision.call.handler in case.get("handlers", {}), "a handler was asked for"
        answers[decision.call] = SAYINGS[case["handlers"][decision.call.handler]]

    assert {call.handler for call in answers} == set(case.get("handlers", ()))
    assert f"{decision.outcome.name.lower()} {decision.reason} {decision.rule}".startswith(case["expect"])
    assert decision.captures == {} or decision.rule
