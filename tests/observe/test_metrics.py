"""What is counted where, over several processes and policies."""

import pytest

from authgate.handlers.asking import Asked
from authgate.model import CredentialKind, Decision, Identity, Outcome, Reason, Subject
from authgate.observe.board import Board, Row
from authgate.observe.metrics import (
    BUCKETS,
    FIGURES,
    MAX_RULES,
    NO_RULE,
    OTHER,
    OUTCOMES,
    SLOTS,
    Counts,
    combinations,
    create_board,
)

ALLOWED = Decision(Outcome.ALLOW, Reason.ALLOWED, "staff", Identity(Subject("", "alice"), CredentialKind.SESSION))
REFUSED = Decision(Outcome.REFUSE, Reason.NO_RULE)


def allotted(board: Board) -> Row:
    row = board.allot()
    assert row is not None
    return row


def board_for(*rules: str) -> Board:
    board = create_board()
    board.rules.learn(rules)
    return board


def decisions(board: Board) -> dict[tuple[str, str, str], int]:
    values = zip(combinations(), board.totals(), strict=False)
    return {(labels[0].name, labels[1].value, labels[2].value): value for labels, value in values if value}


def of_rules(board: Board) -> dict[tuple[str, str], int]:
    totals = board.totals()
    cells = [(name, outcome) for name in board.rules for outcome in OUTCOMES]
    return {
        (name, outcome.name): value
        for (name, outcome), value in zip(cells, totals[SLOTS.rules :], strict=False)
        if value
    }


def figure(board: Board, name: str) -> int:
    return board.totals()[SLOTS.figures + [figure.name for figure in FIGURES].index(name)]


def test_decision_is_counted_by_what_it_was_and_by_its_rule() -> None:
    board = board_for("staff")
    counts = Counts(allotted(board))

    for decision in (ALLOWED, ALLOWED, REFUSED):
        counts.decided(decision)

    assert decisions(board) == {("ALLOW", "allowed", "session"): 2, ("REFUSE", "no_rule", "none"): 1}
    assert of_rules(board) == {("staff", "ALLOW"): 2, (NO_RULE, "REFUSE"): 1}


def test_every_combination_has_a_cell_of_its_own() -> None:
    board = create_board()
    counts = Counts(allotted(board))

    for outcome, reason, kind in combinations():
        counts.decided(Decision(outcome, reason, identity=Identity(None, kind)))

    assert board.totals()[: SLOTS.waits] == [1] * (len(Outcome) * len(Reason) * len(CredentialKind))


def test_workers_of_two_policies_are_summed() -> None:
    board = board_for("staff", "old")
    first = Counts(allotted(board))
    board.rules.learn(["new", "staff"])
    second = Counts(allotted(board))

    for counts, rule in ((first, "staff"), (first, "old"), (second, "new"), (second, "staff")):
        counts.decided(ALLOWED._replace(rule=rule))

    assert of_rules(board) == {("staff", "ALLOW"): 2, ("old", "ALLOW"): 1, ("new", "ALLOW"): 1}


def test_rules_past_the_limit_are_counted_together() -> None:
    names = [f"r{number}" for number in range(MAX_RULES + 2)]
    board = board_for(*names)
    counts = Counts(allotted(board))

    for name in names[-3:]:
        counts.decided(ALLOWED._replace(rule=name))

    assert of_rules(board) == {(OTHER, "ALLOW"): 2, (names[-3], "ALLOW"): 1}


def test_wait_is_counted_in_its_bucket() -> None:
    board = create_board()
    counts = Counts(allotted(board))

    for seconds in (0.001, 0.005, 0.3, 7.0):
        counts.waited(seconds)

    waits = board.totals()[SLOTS.waits : SLOTS.figures]
    assert waits == [2, 0, 0, 0, 1, 0, 0, 1, 7_306_000]
    assert len(waits) == len(BUCKETS) + 2


def test_counters_go_on_where_an_ended_worker_stood_and_gauges_do_not() -> None:
    board = create_board()
    for misses, entries in ((3, 100), (5, 20)):
        row = allotted(board)
        counts = Counts(row)
        counts.publish({"session_cache_misses": misses - 1, "session_cache_entries": 1})
        counts.publish({"session_cache_misses": misses, "session_cache_entries": entries})
        before = figure(board, "session_cache_misses"), figure(board, "session_cache_entries")
        board.release(row)

    assert before == (8, 20)
    assert (figure(board, "session_cache_misses"), figure(board, "session_cache_entries")) == (8, 0)


def test_unknown_figure_is_an_error() -> None:
    with pytest.raises(KeyError):
        Counts(allotted(create_board())).publish({"cache_mises": 1})


def test_handlers_are_counted_by_reference_and_the_rest_together() -> None:
    board = create_board()
    board.handlers.learn(["site::a"])
    counts = Counts(allotted(board))

    for _ in range(2):
        counts.publish({}, {"site::a": Asked(4, 1, 0.5), "site::b": Asked(1), "site::c": Asked(2, 2)})

    assert board.totals()[SLOTS.handlers :][:6] == [3, 2, 0, 4, 1, 500_000]
