"""The board in the words of Prometheus: the text format, or OpenMetrics for whoever asks for it."""

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from authgate.observe.board import Board
from authgate.observe.metrics import BUCKETS, FIGURES, OUTCOMES, SLOTS, Kind, combinations


def expose(board: Board, version: Callable[[], str], accept: str) -> tuple[bytes, str]:
    """Return the figures and their media type.

    Args:
        version: of the configuration in force.
        accept: the field of who asks; says which format is understood.
    """
    registry = CollectorRegistry()
    registry.register(_Figures(board, version()))
    encode, media_type = choose_encoder(accept)
    return encode(registry), media_type


class _Figures(Collector):
    def __init__(self, board: Board, version: str) -> None:
        self._board = board
        self._version = version

    def collect(self) -> Iterator[Metric]:
        """Make metrics of what the board says at this moment."""
        totals = self._board.totals()
        yield _decisions(totals)
        yield _rules(totals, self._board)
        yield _waits(totals)
        for figure, value in zip(FIGURES, totals[SLOTS.figures : SLOTS.rules], strict=True):
            family = CounterMetricFamily if figure.kind is Kind.COUNTER else GaugeMetricFamily
            yield family(f"authgate_{figure.name}", figure.text, value=value)
        yield from _handlers(totals, self._board)
        yield InfoMetricFamily("authgate_policy", "the policy in force", {"version": self._version})


# A combination that never occurred is no series: of some hundreds a site sees ten.


def _decisions(totals: list[int]) -> Metric:
    family = CounterMetricFamily("authgate_decisions", "decisions", labels=["outcome", "reason", "credential"])
    for (outcome, reason, credential), value in zip(combinations(), totals[SLOTS.decisions :], strict=False):
        if value:
            family.add_metric([outcome.name.lower(), reason.value, credential.value], value)
    return family


def _rules(totals: list[int], board: Board) -> Metric:
    family = CounterMetricFamily("authgate_rule_decisions", "decisions of a rule", labels=["rule", "outcome"])
    for number, name in enumerate(board.rules):
        for offset, outcome in enumerate(OUTCOMES):
            value = totals[SLOTS.rules + number * len(OUTCOMES) + offset]
            if value:
                family.add_metric([name, outcome.name.lower()], value)
    return family


def _waits(totals: list[int]) -> Metric:
    buckets, below = [], 0
    for bound, value in zip([*map(str, BUCKETS), "+Inf"], totals[SLOTS.waits :], strict=False):
        below += value
        buckets.append((bound, below))
    seconds = totals[SLOTS.waits + len(buckets)] / 1_000_000
    text = "time of decisions for which a store, a password or a handler was asked"
    return HistogramMetricFamily("authgate_decision_wait_seconds", text, buckets=buckets, sum_value=seconds)


def _handlers(totals: list[int], board: Board) -> Iterator[Metric]:
    texts = {"calls": "times that a handler was asked", "failures": "answers that were handler_error",
             "seconds": "time that a handler took, in sum"}  # fmt: skip
    for offset, (name, text) in enumerate(texts.items()):
        family = CounterMetricFamily(f"authgate_handler_{name}", text, labels=["handler"])
        for number, reference in enumerate(board.handlers):
            value = totals[SLOTS.handlers + number * len(texts) + offset]
            # The first is whatever handlers have no number of their own, most often none.
            if number or value:
                family.add_metric([reference], value / 1_000_000 if name == "seconds" else value)
        yield family
