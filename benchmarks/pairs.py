"""Measuring by pairs: on a shared machine only a ratio within one run says something."""

import re
import statistics
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.servers import require

PAIRS = 7


def median_ratio(measured: Callable[[], float], reference: Callable[[], float], pairs: int = PAIRS) -> str:
    """Measure alternately and return the median of the ratios, with the extremes."""
    ratios = sorted(measured() / reference() for _ in range(pairs))
    return f"{statistics.median(ratios):.2f} (of {pairs} pairs: {ratios[0]:.2f} to {ratios[-1]:.2f})"


def requests_per_second(
    url: str,
    *,
    seconds: int,
    connections: int = 16,
    script: Path | None = None,
    headers: Sequence[str] = (),
    refusals: bool = False,
) -> float:
    """Load `url` with wrk.

    Args:
        refusals: some of the answers shall be.

    Raises:
        RuntimeError: an answer was neither 2xx nor 3xx, or a connection failed: the figure would mean nothing.
    """
    command = [require("wrk"), "-t1", f"-c{connections}", f"-d{seconds}s"]
    command += ["-s", str(script)] if script else []
    for header in headers:
        command += ["-H", header]
    printed = subprocess.run([*command, url], capture_output=True, text=True, check=True, timeout=seconds + 30).stdout
    found = re.search(r"Requests/sec:\s+([0-9.]+)", printed)
    if found is None or ("Non-2xx" in printed) is not refusals or "Socket errors" in printed:
        raise RuntimeError(f"wrk {url}:\n{printed}")
    return float(found[1])
