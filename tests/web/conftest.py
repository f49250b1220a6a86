"""Somebody who visits the pages."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clock import MovableClock
from tests.web.visitor import Visitor, visiting


@pytest.fixture
def visitor(tmp_path: Path) -> Iterator[Visitor]:
    with visiting(tmp_path, MovableClock()) as somebody:
        yield somebody
