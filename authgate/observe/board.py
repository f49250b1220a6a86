"""Counters of several processes: memory made before they are forked, a row of cells for each of them.

Rules:
1. A process writes into its own row alone, and in one thread. So no addition is lost, and none needs a lock.
2. What was counted is never taken back. A row outlives its process with its counts in it, and goes to another process,
   which goes on counting there: the sums over all rows only grow, whoever dies or takes over.
3. A gauge says what is, and of a process that has ended nothing is: its gauges are set to zero before the row goes to
   another one.
"""

import mmap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

# Processes at a time, the parent among them: four generations of the most workers there may be, and more. Rows that
# were never used cost no memory.
ROWS = 512

_CELL = 8

# A row begins with a page of its own: two processors that count in one cache line wait for each other.
_PAGE = mmap.PAGESIZE // _CELL


class Names:
    """Numbers for names, given by the parent before a fork; a name keeps its number as long as the parent lives.

    Args:
        first: what has the numbers from zero; the first of them stands for every name that has none.
        limit: how many more names get a number.
    """

    def __init__(self, first: Iterable[str], limit: int) -> None:
        self._numbers = {name: number for number, name in enumerate(first)}
        self._limit = len(self._numbers) + limit

    def learn(self, names: Iterable[str]) -> None:
        """Give a number to each name that has none, while there are any."""
        for name in names:
            if len(self._numbers) >= self._limit:
                return
            self._numbers.setdefault(name, len(self._numbers))

    def number(self, name: str) -> int:
        """Return the number of a name; zero when it has none."""
        return self._numbers.get(name, 0)

    def __iter__(self) -> Iterator[str]:
        """Name all that have a number, in the order of the numbers."""
        return iter(self._numbers)


@dataclass(frozen=True, slots=True)
class Row:
    """The row of one process.

    Args:
        cells: unsigned numbers of 64 bits.
    """

    board: "Board"
    number: int
    cells: memoryview


class Board:
    """All rows. To be made by the parent; a fork shares the cells, and copies the rest as it is then.

    Args:
        cells: of each row.
        gauges: those of them that say what is.
        rules: numbers of the rules' names.
        handlers: numbers of the handlers' references.
    """

    def __init__(self, cells: int, gauges: Iterable[int], rules: Names, handlers: Names) -> None:
        self.rules = rules
        self.handlers = handlers
        self._width = cells
        self._gauges = tuple(gauges)
        self._stride = -(-cells // _PAGE) * _PAGE
        # The first page holds how many rows were ever used: a worker does not see those of workers that came later.
        self._memory = memoryview(mmap.mmap(-1, (_PAGE + ROWS * self._stride) * _CELL)).cast("Q")
        self._free: list[int] = []

    def allot(self) -> Row | None:
        """Return a row that no process has; None when there is none."""
        used = self._memory[0]
        if self._free:
            number = self._free.pop()
        elif used < ROWS:
            number = used
            self._memory[0] = used + 1
        else:
            return None
        return Row(self, number, self._cells(number))

    def release(self, row: Row) -> None:
        """Take back the row of a process that has ended."""
        for gauge in self._gauges:
            row.cells[gauge] = 0
        self._free.append(row.number)

    def totals(self) -> list[int]:
        """Return the sum of all rows, cell by cell."""
        rows = [self._cells(number).tolist() for number in range(self._memory[0])]
        return [sum(column) for column in zip([0] * self._width, *rows, strict=True)]

    def _cells(self, number: int) -> memoryview:
        start = _PAGE + number * self._stride
        return self._memory[start : start + self._width]
