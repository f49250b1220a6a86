"""The figures as Prometheus reads them: by its own parsers."""

from collections.abc import Mapping

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from authgate.handlers.asking import Asked
from authgate.model import CredentialKind, Decision, Identity, Outcome, Reason
from authgate.observe.board import Board
from authgate.observe.exposition import expose
from authgate.observe.metrics import FIGURES, Counts, create_board

OPENMETRICS = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"


def board() -> Board:
    """Return a board on which everything was counted once."""
    made = create_board()
    made.rules.learn(["staff", "quiet"])
    made.handlers.learn(["site::asked", "site::quiet"])
    row = made.allot()
    assert row is not None
    counts = Counts(row)
    counts.decided(Decision(Outcome.LOGIN, Reason.EXPIRED, "staff", Identity(None, CredentialKind.SESSION)))
    counts.waited(0.01)
    counts.publish({figure.name: 1 for figure in FIGURES}, {"site::asked": Asked(3, 2, 1.25)})
    return made


def samples(accept: str = "") -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    body, _ = expose(board(), lambda: "0123456789ab", accept)
    parse = parse_openmetrics if accept else parse_text
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in parse(body.decode())
        for sample in family.samples
    }


def series(name: str, labels: Mapping[str, str]) -> tuple[str, frozenset[tuple[str, str]]]:
    return name, frozenset(labels.items())


@pytest.mark.parametrize("accept", ["", OPENMETRICS])
def test_what_was_counted_is_read(accept: str) -> None:
    found = samples(accept)

    login = {"outcome": "login", "reason": "expired", "credential": "session"}
    assert found[series("authgate_decisions_total", login)] == 1
    assert found[series("authgate_rule_decisions_total", {"rule": "staff", "outcome": "login"})] == 1
    assert found[series("authgate_handler_calls_total", {"handler": "site::asked"})] == 3
    assert found[series("authgate_handler_failures_total", {"handler": "site::asked"})] == 2
    assert found[series("authgate_handler_seconds_total", {"handler": "site::asked"})] == 1.25
    assert found[series("authgate_policy_info", {"version": "0123456789ab"})] == 1
    assert found[series("authgate_decision_wait_seconds_bucket", {"le": "0.005"})] == 0
    assert found[series("authgate_decision_wait_seconds_bucket", {"le": "0.025"})] == 1
    assert found[series("authgate_decision_wait_seconds_count", {})] == 1
    assert found[series("authgate_decision_wait_seconds_sum", {})] == 0.01


def test_every_figure_is_there_under_its_name() -> None:
    found = {name for name, _ in samples()}

    for figure in FIGURES:
        assert f"authgate_{figure.name}{'_total' * (figure.kind == 'counter')}" in found


def test_what_never_occurred_is_no_series_but_a_handler_is_there_from_the_start() -> None:
    found = samples()

    assert [key for key in found if key[0] == "authgate_decisions_total" and found[key] == 0] == []
    assert not any(("rule", "quiet") in labels for _, labels in found)
    assert found[series("authgate_handler_calls_total", {"handler": "site::quiet"})] == 0
    assert not any(("handler", "(other)") in labels for _, labels in found)


def test_format_is_the_one_that_is_asked_for() -> None:
    assert expose(board(), str, "")[1].startswith("text/plain; version=0.0.4")
    body, media_type = expose(board(), str, OPENMETRICS)
    assert media_type.startswith("application/openmetrics-text")
    assert body.endswith(b"# EOF\n")
