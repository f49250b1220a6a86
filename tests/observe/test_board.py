"""Rows of cells that processes share, with real processes."""

import os
import signal
from collections.abc import Callable

from authgate.observe.board import ROWS, Board, Names, Row

COUNTER, GAUGE = 0, 1


def board() -> Board:
    return Board(2, [GAUGE], Names(["(other)"], 2), Names(["(other)"], 2))


def allotted(shared: Board) -> Row:
    row = shared.allot()
    assert row is not None
    return row


def fork(work: Callable[[], object]) -> int:
    """Run `work` in a child process; return its process id."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        finally:
            os._exit(0)
    return pid


def test_nothing_is_lost_when_processes_count_at_the_same_time() -> None:
    shared = board()
    rows = [allotted(shared) for _ in range(4)]

    def count(row: Row) -> None:
        for _ in range(20_000):
            row.cells[COUNTER] += 1

    for child in [fork(lambda row=row: count(row)) for row in rows]:  # type: ignore[misc]  # of a default in a lambda
        os.waitpid(child, 0)

    assert shared.totals() == [80_000, 0]


def test_what_a_killed_process_counted_stays() -> None:
    shared = board()
    row = allotted(shared)

    def count() -> None:
        row.cells[COUNTER] = 7
        os.kill(os.getpid(), signal.SIGKILL)

    os.waitpid(fork(count), 0)
    shared.release(row)

    assert shared.totals() == [7, 0]


def test_row_of_a_process_that_ended_goes_on_with_its_counts_and_without_its_gauges() -> None:
    shared = board()
    row = allotted(shared)
    row.cells[COUNTER], row.cells[GAUGE] = 5, 9

    shared.release(row)
    again = allotted(shared)
    again.cells[COUNTER] += 1

    assert again.number == row.number
    assert shared.totals() == [6, 0]


def test_rows_of_running_processes_are_not_given_away() -> None:
    shared = board()

    assert len({allotted(shared).number for _ in range(5)}) == 5


def test_process_sees_what_is_counted_by_one_that_came_later() -> None:
    shared = board()
    allotted(shared)
    seen, tell = os.pipe()
    go, ready = os.pipe()

    def look() -> None:
        os.read(go, 1)
        os.write(tell, bytes(shared.totals()))

    older = fork(look)
    allotted(shared).cells[COUNTER] = 3
    os.write(ready, b"x")
    os.waitpid(older, 0)

    assert os.read(seen, 2) == bytes([3, 0])
    for descriptor in (seen, tell, go, ready):
        os.close(descriptor)


def test_there_is_no_row_for_too_many_processes() -> None:
    shared = board()
    rows = [allotted(shared) for _ in range(ROWS)]
    assert shared.allot() is None

    shared.release(rows[7])

    assert allotted(shared).number == 7


def test_name_keeps_its_number_and_those_without_have_zero() -> None:
    names = Names(["(other)"], 2)

    names.learn(["a"])
    names.learn(["b", "a", "c"])

    assert [names.number(name) for name in ("a", "b", "c", "never heard of")] == [1, 2, 0, 0]
    assert list(names) == ["(other)", "a", "b"]
