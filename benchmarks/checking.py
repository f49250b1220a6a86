"""`/check` behind nginx: what a decision costs a visitor, and the same file with and without authgate."""

import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from benchmarks.pairs import median_ratio, requests_per_second
from benchmarks.site import BIG_MIB, RULES, SESSIONS, Measured, measured_site
from tests import servers

SECONDS = 5
TICKS = os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Print the figures."""
    with measured_site() as site:
        print(f"start of authgate with {RULES:,} rules to its first answer: {site.first_answer:.2f} s")
        _decisions(site)
        print(f"a worker with {RULES:,} rules and {SESSIONS:,} cached sessions: {_memory(site.worker())}")
        _big_file(site)


def _decisions(site: Measured) -> None:
    def load(what: str) -> float:
        return requests_per_second(site.url(what), seconds=SECONDS, script=site.script)

    load("authgate")  # every session into the cache, as on a server that has run for a while
    rates: dict[str, float] = {}
    for what in ("authgate", "bare", "return", "direct"):
        rates[what] = load(what)
    print(", ".join(f"{what} {rate:,.0f}/s" for what, rate in rates.items()))
    for other in ("bare", "return"):
        print(f"authgate / {other}: {median_ratio(lambda: load('authgate'), lambda: load(other))}")  # noqa: B023


def _memory(pid: int) -> str:
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    sizes = {key: int(re.search(rf"^{key}:\s+(\d+)", text, re.MULTILINE)[1]) / 1024 for key in ("Rss", "Pss")}  # type: ignore[index] # the kernel writes both
    return ", ".join(f"{key} {size:.0f} MiB" for key, size in sizes.items())


def _big_file(site: Measured) -> None:
    nginx = servers.children(site.nginx.process.pid)
    for what, pids in (
        ("direct", nginx),
        ("authgate", [*nginx, site.worker()]),
        ("starlette", [*nginx, site.starlette.pid]),
    ):
        before = _cpu(pids)
        rate, gib = _download(site.url(what, "/big.bin"), site.cookie)
        print(f"{BIG_MIB} MiB file, {what}: {rate:.1f} requests/s, {(_cpu(pids) - before) / gib:.3f} CPU s per GiB")


def _cpu(pids: Sequence[int]) -> float:
    """Return the CPU seconds that the processes have used (proc(5), fields 14 and 15 of stat)."""
    stats = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids]
    return sum(int(fields[11]) + int(fields[12]) for fields in stats) / TICKS


def _download(url: str, header: str) -> tuple[float, float]:
    """Return requests/s and the GiB that were read."""
    command = [servers.require("wrk"), "-t1", "-c2", f"-d{SECONDS}s", "--timeout", "30s", "-H", header, url]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    rate = re.search(r"Requests/sec:\s+([0-9.]+)", printed)
    read = re.search(r", ([0-9.]+)([MG])B read", printed)
    if rate is None or read is None or "Non-2xx" in printed:
        raise RuntimeError(f"wrk {url}:\n{printed}")
    return float(rate[1]), float(read[1]) / (1 if read[2] == "G" else 1024)


if __name__ == "__main__":
    main()
