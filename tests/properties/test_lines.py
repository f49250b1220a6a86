"""What is written about decisions: one line each, whatever is in it, that is read back as it was."""

import json
from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from authgate.handlers.asking import Asked
from authgate.model import (
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
from authgate.networks import Address
from authgate.observe.arrivals import masked
from authgate.observe.exposition import expose
from authgate.observe.lines import MAX_LINE, Decided, Lines
from authgate.observe.metrics import Counts, create_board
from authgate.observe.records import find, read_record
from tests.properties.amounts import tried

ID = "n1-0123456789ab"
# Surrogates, too: what is not UTF-8 in a path.
TEXT = st.text(
    st.sampled_from('a"\\/\n\r\t\0\x7f\x85\u2028\u00fc\U0001f600\ud800\udcff<>{}:,') | st.characters(), max_size=20
)
LONG = st.builds(str.__mul__, TEXT, st.sampled_from([1, 1, 1, 1, 50, 500]))
RULES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9 ._/-]{0,63}", fullmatch=True)
REFERENCES = st.from_regex(r"[a-z_][a-z0-9_.]{0,30}::[a-z_]{1,300}", fullmatch=True)
NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/"), min_size=1, max_size=10)
MEMBERS = st.frozensets(st.builds(str.__mul__, NAMES, st.sampled_from([1, 1, 30])), max_size=5)
CLAIMS = st.frozensets(st.tuples(st.sampled_from(["dept", "other"]), LONG), max_size=4)
WHO = st.builds(
    Identity,
    st.none() | st.builds(Subject, st.sampled_from(["", "partner"]), LONG, st.none() | MEMBERS, CLAIMS),
    st.sampled_from(CredentialKind),
    st.none() | st.sampled_from(Reason),
    st.booleans(),
    session=st.just({"secret": "secret"}),
    scope=st.none(),
)
LINKS = st.builds(
    Link,
    st.from_regex(r"[A-Za-z0-9_-]{0,64}", fullmatch=True),
    st.none() | st.sampled_from(Reason),
    st.none() | st.integers(1, 1_000_000),
)
SAID = (
    st.none()
    | st.sampled_from([allow(), login()])
    | LONG.map(deny)
    | LONG.map(lambda detail: Decision(Outcome.REFUSE, Reason.HANDLER_ERROR, detail=detail))
)
ANSWERS = st.dictionaries(st.builds(HandlerCall, REFERENCES, RULES), SAID, max_size=3)
ASKED = st.none() | st.tuples(
    st.from_regex(r"[A-Z!-9]{1,32}", fullmatch=True),
    LONG.map(lambda text: text[:300]),
    LONG,
    st.sampled_from(["http", "https"]),
    st.none() | st.ip_addresses(),
    st.floats(0, 4e9),
)
CAPTURES = st.dictionaries(st.from_regex(r"[a-z][a-z0-9_]{0,9}", fullmatch=True), LONG, max_size=3)
DECISIONS = st.builds(
    Decision,
    st.sampled_from(Outcome),
    st.sampled_from(Reason),
    RULES | st.just(""),
    WHO,
    captures=CAPTURES,
    detail=LONG,
)
DECIDED: st.SearchStrategy[Decided] = st.tuples(
    st.just(ID),
    DECISIONS,
    ASKED,
    st.booleans(),
    st.builds(Facts, st.none() | WHO, ANSWERS, st.none() | LINKS, st.none() | st.sampled_from(Use)),
    st.floats(0, 4e9),
)


def parsed(line: str) -> Mapping[str, object]:
    """Read a line; fail when it is none, or more than one."""
    assert line.isascii()
    assert line.endswith("\n")
    assert line.count("\n") == 1
    assert line[:-1].isprintable()
    assert len(line) <= MAX_LINE
    fields = json.loads(line)
    assert isinstance(fields, dict)
    return fields


@tried(150)
@given(DECIDED, st.frozensets(NAMES, max_size=3))
def test_a_decision_is_one_line_that_is_read_as_it_was_meant(decided: Decided, named: frozenset[str]) -> None:
    _, decision, request, preflight, facts, _ = decided
    line = Lines("n1", "0123456789ab", named, ["dept"]).decision(decided)

    fields = parsed(line)
    record = read_record(fields)

    assert find(ID, [b"journal: " + line.encode()]) == fields
    assert (record.decision.outcome, record.decision.reason, record.decision.rule) == decision[:3]
    assert (record.request is None) == (request is None)
    assert (record.link, record.use) == ((facts.link, facts.use) if facts.link else (None, None))
    if not record.cut:
        assert record.decision.captures == decision.captures
        assert facts.answers.keys() == record.answers.keys()
        if request is not None and record.request is not None:
            assert record.request[:3] == request[:3]
            assert (record.request.address, record.request.preflight) == (_usual(request[4]), preflight)
            assert abs(record.request.instant - request[5]) < 0.002


def _usual(address: Address | None) -> Address | None:
    """An address as doors hand it on: an IPv4 address is never written as IPv6."""
    return getattr(address, "ipv4_mapped", None) or address


@tried(150)
@given(st.floats(0, 4e9), st.sampled_from(Reason), LONG, LONG, st.none() | st.ip_addresses())
def test_a_login_is_one_line_whatever_is_typed(
    instant: float, reason: Reason, name: str, host: str, address: Address | None
) -> None:
    lines = Lines("n1", "0123456789ab")

    for line in (lines.login(instant, reason, name, host, address), lines.logout(instant, name, host, address)):
        fields = parsed(line)
        shown = fields["user"] or ""
        assert isinstance(shown, str)
        assert name == shown or name.startswith(shown.removesuffix("..."))


@tried(40)
@given(
    st.lists(
        st.tuples(RULES, st.sampled_from(Outcome), st.sampled_from(Reason), st.sampled_from(CredentialKind)), max_size=5
    ),
    st.dictionaries(REFERENCES, st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=3),
    st.lists(st.floats(0, 100), max_size=5),
)
def test_figures_are_read_as_they_were_counted(
    decisions: list[tuple[str, Outcome, Reason, CredentialKind]],
    handlers: dict[str, tuple[int, int]],
    waits: list[float],
) -> None:
    board = create_board()
    board.rules.learn([rule for rule, *_ in decisions])
    board.handlers.learn(handlers)
    row = board.allot()
    assert row is not None
    counts = Counts(row)
    for rule, outcome, reason, kind in decisions:
        counts.decided(Decision(outcome, reason, rule, Identity(None, kind)))
    for seconds in waits:
        counts.waited(seconds)
    counts.publish({}, {name: Asked(calls, failures, 0.0) for name, (calls, failures) in handlers.items()})

    for accept, parse in (("", parse_text), ("application/openmetrics-text;version=1.0.0", parse_openmetrics)):
        body, _ = expose(board, lambda: "0123456789ab", accept)
        samples = [sample for family in parse(body.decode()) for sample in family.samples]
        found = {(sample.name, *sorted(sample.labels.values())): sample.value for sample in samples}
        assert sum(value for key, value in found.items() if key[0] == "authgate_decisions_total") == len(decisions)
        for rule, outcome, _, _ in decisions:
            wanted = sum((rule, outcome) == (other, of) for other, of, _, _ in decisions)
            assert found["authgate_rule_decisions_total", *sorted((rule, outcome.name.lower()))] == wanted
        for name, (calls, failures) in handlers.items():
            assert found["authgate_handler_calls_total", name] == calls
            assert found["authgate_handler_failures_total", name] == failures
        assert found["authgate_decision_wait_seconds_count",] == len(waits)


FIELDS = ["cookie", "authorization", "x-authgate-query", "x-authgate-uri", "referer", "location", "x-other", "Cookie"]
SECRETS = st.from_regex(r"[A-Z]{12}", fullmatch=True)


@tried(150)
@given(
    SECRETS,
    st.sampled_from(FIELDS),
    st.sampled_from(["{}", "a={}", "Basic {}", "https://a:{}@b/c", "/x?a={}&{}#{}", "a=b; c={}", "?{}"]),
    TEXT,
)
def test_no_secret_is_shown_of_what_arrives(secret: str, name: str, form: str, more: str) -> None:
    # Names are shown: nothing that makes one of the secret.
    shown = masked(name, form.replace("{}", secret) + more.replace("=", "").replace(" ", ""))

    assert shown.isprintable()
    assert len(shown) < 20_000
    if name.lower() in {"cookie", "authorization", "x-authgate-query", "x-other"} or "?" in form or "@" in form:
        assert secret not in shown
