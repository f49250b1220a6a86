"""Which process has which row of the board."""

from pathlib import Path

import pytest

from authgate.config import Settings, parse
from authgate.observe.board import ROWS, Row
from authgate.observe.metrics import MAX_RULES
from authgate.server.counting import Counting


def settings(*rules: str, api: bool = True) -> Settings:
    document = {
        "sites": [{"origin": "https://files.example.com"}],
        "listen": {"api": "unix:run/api.sock"} if api else {},
        "rules": [{"name": name, "paths": [f"/{name}"], "allow": ["anyone"]} for name in rules],
    }
    return parse(document, Path("/srv/authgate.toml"))


def allotted(counting: Counting, *rules: str) -> Row:
    row = counting.allot(settings(*rules))
    assert row is not None
    return row


def test_without_the_listener_nothing_is_counted() -> None:
    silent = settings(api=False)

    assert Counting(silent).allot(silent) is None


def test_worker_has_a_row_that_neither_the_parent_nor_another_worker_has() -> None:
    counting = Counting(settings())

    numbers = [allotted(counting).number for _ in range(3)]

    assert sorted(numbers) == [1, 2, 3]


def test_worker_knows_the_rules_of_its_policy_by_the_numbers_they_always_had() -> None:
    counting = Counting(settings())
    first = allotted(counting, "a", "b").board.rules.number("b")

    rules = allotted(counting, "c", "b").board.rules

    assert rules.number("b") == first
    assert len({rules.number(name) for name in ("a", "b", "c")} - {0}) == 3
    assert len(list(rules)) <= MAX_RULES


def test_too_many_workers_serve_uncounted(caplog: pytest.LogCaptureFixture) -> None:
    counting = Counting(settings())
    rows = [allotted(counting) for _ in range(ROWS - 1)]

    assert counting.allot(settings()) is None
    assert "counts nothing" in caplog.text

    counting.release(rows[0])
    assert allotted(counting).number == rows[0].number
