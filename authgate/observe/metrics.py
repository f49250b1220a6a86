"""What is counted, and where on the board each figure stands.

Rules:
1. A decision costs one look into a dictionary and two additions; nothing here knows who reads the figures, or how.
2. What changes seldom is kept by the object that it is about, as a plain attribute, and copied to the board now and
   then by `Counts.publish`. A worker that is killed takes the last moment of that with it, and no decision.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from enum import StrEnum
from itertools import product
from typing import NamedTuple

from authgate.handlers.asking import Asked
from authgate.model import CredentialKind, Decision, Outcome, Reason
from authgate.observe.board import Board, Names, Row

# Beside them, a rule or a handler is not told from the others. A series costs whoever stores it, too.
MAX_RULES = 1000
MAX_HANDLERS = 100
OTHER, NO_RULE = "(other)", "(none)"  # no rule may be called so
_UNNAMED_RULES, _UNNAMED_HANDLERS = (OTHER, NO_RULE), (OTHER,)

# Seconds; what is above the last one has a cell as well.
BUCKETS = (0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 1.5)


class Kind(StrEnum):
    """How a figure behaves: it only grows, or it says what is."""

    COUNTER = "counter"
    GAUGE = "gauge"


class Figure(NamedTuple):
    """A figure without labels.

    Args:
        name: without ``authgate_`` and, for a counter, ``_total``; what `Counts.publish` knows it by.
        text: what is counted, for a person.
    """

    name: str
    kind: Kind
    text: str


FIGURES = (
    # Each worker says these of itself.
    Figure("session_cache_entries", Kind.GAUGE, "sessions in memory, summed over the workers"),
    Figure("session_cache_misses", Kind.COUNTER, "sessions that were not in memory, so that the store was asked"),
    Figure("password_verifications", Kind.COUNTER, "passwords that were verified, right or wrong"),
    Figure("password_wrong", Kind.COUNTER, "passwords that were verified and wrong"),
    Figure("password_busy", Kind.COUNTER, "passwords not verified because too many were waiting"),
    Figure("brakes_engaged", Kind.COUNTER, "times that a client was barred after too many wrong passwords"),
    Figure("store_operations", Kind.COUNTER, "reads and writes of the store"),
    Figure("store_errors", Kind.COUNTER, "reads and writes of the store that failed"),
    Figure("workers_following", Kind.GAUGE, "workers that hear at this moment of what is deleted in the store"),
    Figure("audit_lines", Kind.COUNTER, "lines that were written to the audit"),
    Figure("audit_dropped", Kind.COUNTER, "lines of the audit that were lost"),
    # The parent says these.
    Figure("workers_wanted", Kind.GAUGE, "workers that there should be"),
    Figure("workers_ready", Kind.GAUGE, "workers that can serve with the policy in force"),
    Figure("worker_ends", Kind.COUNTER, "workers that ended without being told to"),
    Figure("reloads_succeeded", Kind.COUNTER, "reloads that put another configuration in force"),
    Figure("reloads_failed", Kind.COUNTER, "reloads that changed nothing"),
    Figure("last_reload_failed", Kind.GAUGE, "1 when the last reload failed, else 0"),
    Figure("start_time_seconds", Kind.GAUGE, "when authgate was started, in seconds since 1970"),
)

OUTCOMES, REASONS, CREDENTIALS = tuple(Outcome), tuple(Reason), tuple(CredentialKind)


class Slots(NamedTuple):
    """Where in a row the cells of each kind begin.

    Args:
        decisions: one for each outcome, reason and credential, as `combinations` has them.
        waits: one for each bucket and one for what is above, then the sum in microseconds.
        figures: one for each of `FIGURES`.
        rules: for each rule one for each outcome.
        handlers: for each handler calls, failures and microseconds.
        end: how many cells there are.
    """

    decisions: int
    waits: int
    figures: int
    rules: int
    handlers: int
    end: int


def combinations() -> Iterable[tuple[Outcome, Reason, CredentialKind]]:
    """Return all labels of decisions in the order of their cells."""
    return product(OUTCOMES, REASONS, CREDENTIALS)


def _slots() -> Slots:
    waits = len(OUTCOMES) * len(REASONS) * len(CREDENTIALS)
    figures = waits + len(BUCKETS) + 2
    rules = figures + len(FIGURES)
    handlers = rules + (len(_UNNAMED_RULES) + MAX_RULES) * len(OUTCOMES)
    return Slots(0, waits, figures, rules, handlers, handlers + (len(_UNNAMED_HANDLERS) + MAX_HANDLERS) * 3)


SLOTS = _slots()
_DECISION_SLOT = {labels: slot for slot, labels in enumerate(combinations(), SLOTS.decisions)}
_FIGURE_SLOT = {figure.name: slot for slot, figure in enumerate(FIGURES, SLOTS.figures)}
_GAUGES = frozenset(figure.name for figure in FIGURES if figure.kind is Kind.GAUGE)
_SUM_OF_WAITS = SLOTS.waits + len(BUCKETS) + 1


def create_board() -> Board:
    """Make the board of a parent and its workers."""
    gauges = [_FIGURE_SLOT[name] for name in _GAUGES]
    return Board(SLOTS.end, gauges, Names(_UNNAMED_RULES, MAX_RULES), Names(_UNNAMED_HANDLERS, MAX_HANDLERS))


class Counts:
    """Counts what one process does."""

    def __init__(self, row: Row) -> None:
        self._board = row.board
        self._cells = row.cells
        self._decided: dict[tuple[str, Outcome, Reason, CredentialKind], tuple[int, int]] = {}
        self._published: dict[object, int] = {}

    def decided(self, decision: Decision) -> None:
        """Count a decision."""
        key = (decision.rule, decision.outcome, decision.reason, decision.identity.credential)
        try:
            first, second = self._decided[key]
        except KeyError:
            first, second = self._decided[key] = self._find(*key)
        cells = self._cells
        cells[first] += 1
        cells[second] += 1

    def waited(self, seconds: float) -> None:
        """Count a decision that was not made from memory alone."""
        self._cells[SLOTS.waits + bisect_left(BUCKETS, seconds)] += 1
        self._cells[_SUM_OF_WAITS] += _microseconds(seconds)

    def publish(self, figures: Mapping[str, int], handlers: Mapping[str, Asked] | None = None) -> None:
        """Copy to the board how things are.

        Args:
            figures: by the names in `FIGURES`; counters since this process began.
            handlers: by reference.
        """
        for name, value in figures.items():
            slot = _FIGURE_SLOT[name]
            if name in _GAUGES:
                self._cells[slot] = value
            else:
                self._add(slot, slot, value)
        for reference, asked in (handlers or {}).items():
            first = SLOTS.handlers + 3 * self._board.handlers.number(reference)
            values = (asked.calls, asked.failures, _microseconds(asked.seconds))
            for offset, value in enumerate(values):
                self._add(first + offset, (reference, offset), value)

    def _add(self, slot: int, key: object, value: int) -> None:
        # The row has what other processes counted before this one, and two handlers may have one cell.
        self._cells[slot] += value - self._published.get(key, 0)
        self._published[key] = value

    def _find(self, rule: str, outcome: Outcome, reason: Reason, credential: CredentialKind) -> tuple[int, int]:
        number = self._board.rules.number(rule or NO_RULE)
        of_rule = SLOTS.rules + number * len(OUTCOMES) + OUTCOMES.index(outcome)
        return _DECISION_SLOT[outcome, reason, credential], of_rule


def _microseconds(seconds: float) -> int:
    return max(0, round(seconds * 1_000_000))
