"""What docs/conformance.md says each door makes of a case: the document is the data."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from tests.conformance.cases import Case, Expected
from tests.conformance.doors import APPLICATION_DOORS, DOORS

DOCUMENT = Path(__file__).parent.parent.parent / "docs" / "conformance.md"

_CELL = re.compile(r"(?P<decided>same|plain|refused)?(?:, )?(?P<status>[1-5]\d\d)?|(?P<none>none)")
_AMBIGUOUS = Expected("refuse", "ambiguous_path")


class Foretold(NamedTuple):
    """What has to come of a case at a door.

    Args:
        decided: None: authgate is not asked.
        served: the file's own body arrives.
    """

    decided: Expected | None
    status: int
    served: bool


def _rows(first_header: str) -> Mapping[str, list[str]]:
    """Return the rows of the table whose first column has this header, by their first cell."""
    found = re.search(rf"^\| {first_header} \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", DOCUMENT.read_text(), re.MULTILINE)
    assert found, f"{DOCUMENT.name} has no table {first_header}"
    rows = [[cell.strip() for cell in row.strip("|").split(" |")] for row in found[1].splitlines()]
    assert all(len(row) == 1 + len(DOORS) for row in rows), rows
    return {row[0]: row[1:] for row in rows}


STATUSES = _rows("Outcome")
DIFFERENCES = _rows("Request")


def foretell(case: Case, door: str) -> Foretold | None:
    """Return what has to come; None: this door has no such request."""
    rows = sorted(case.differences, key=list(DIFFERENCES).index)
    cells = [DIFFERENCES[row][DOORS.index(door)] for row in rows]
    cell = _CELL.fullmatch(next((cell for cell in cells if cell != "same"), "same"))
    assert cell, f"{case.id}: {cells}"
    if cell["none"]:
        return None
    status = int(cell["status"] or 0)
    if not cell["decided"]:
        return Foretold(None, status, served=False)
    decided = {"same": case.expected, "plain": case.plain, "refused": _AMBIGUOUS}[cell["decided"]]
    assert decided, f"{case.id}: what is decided at {door}?"
    if decided.outcome == "allow":
        status = status or _status(case, decided, door)
        return Foretold(decided, status, served=status == 200)
    return Foretold(decided, _status(case, decided, door), served=False)


def _status(case: Case, decided: Expected, door: str) -> int:
    row = {
        "allow": "allow" if case.file or is_application(case, door) else "allow, and no such file",
        "login": "login, of somebody who opens a page" if case.browser and case.method in {"GET", "HEAD"} else "login",
        "refuse": "refuse, unknown host" if decided.reason == "unknown_host" else "refuse",
    }[decided.outcome]
    return status_of(row, door)


def status_of(outcome: str, door: str) -> int:
    """Return the status with which an outcome of the first table reaches the client."""
    return int(STATUSES[outcome][DOORS.index(door)])


def is_application(case: Case, door: str) -> bool:
    """Tell whether something else than files answers."""
    return case.policy.served == "application" and door in APPLICATION_DOORS
