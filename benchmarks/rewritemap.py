"""Apache with authgate as its rewrite map, and the same Apache with a program that only says OK."""

import sys
from contextlib import ExitStack
from pathlib import Path

from benchmarks.pairs import median_ratio, requests_per_second
from tests import servers
from tests.deploy_apache.test_rewritemap import HOST, Site, apache
from tests.server.test_rewritemap import log_in

SECONDS = 4
FILE = "/files/staff/handbook.txt"

# As little as such a program can do in Python: no field is looked at, and the nonce alone is copied.
ONLY_OK = """
import os
while True:
    line = os.read(0, 65536)
    if not line:
        break
    while line[-1] != 10:
        line += os.read(0, 65536)
    os.write(1, line[: line.index(b" ")] + b" OK - - -\\n")
"""
RULES = "".join(
    f'[[rules]]\nname = "r{n}"\npaths = ["/files/d{n}/**"]\nallow = ["group:g{n}", "user:root"]\n' for n in range(1000)
)
STAFF = '[[rules]]\nname = "staff"\npaths = ["/files/staff/**"]\nallow = ["group:staff"]\n'
# Enough that Apache ends no process while it is measured.
THREADS = "ThreadsPerChild 32\nMaxRequestWorkers 64\nMaxSpareThreads 64\nMaxKeepAliveRequests 0"


def main() -> None:
    """Print the figures."""
    with ExitStack() as stack:
        stub = stack.enter_context(servers.open_folder())
        (stub / "ok.py").write_text(ONLY_OK)
        plain, asked = _site(stack, f"{sys.executable} {stub}/ok.py"), _site(stack)
        cookie = log_in(asked.folder)
        for site in (plain, asked):
            servers.eventually(lambda: site.status(FILE, cookie) == 200, "the program answers")  # noqa: B023

        def rate(site: Site) -> float:
            url = f"http://127.0.0.1:{site.port}{FILE}"
            return requests_per_second(url, seconds=SECONDS, headers=[f"Host: {HOST}", f"Cookie: {cookie}"])

        rates = {name: rate(site) for name, site in (("authgate", asked), ("only OK", plain))}
        print("rewritemap: " + ", ".join(f"{name} {found:,.0f}/s" for name, found in rates.items()))
        print(f"authgate / only OK: {median_ratio(lambda: rate(asked), lambda: rate(plain))}")
        print(f"its program: {_memory(asked.program()):.0f} MiB")


def _site(stack: ExitStack, program: str | None = None) -> Site:
    folder = stack.enter_context(servers.open_folder())
    return stack.enter_context(apache(folder, program=program, above=THREADS, rules=RULES + STAFF))


def _memory(pid: int) -> float:
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Rss:")) / 1024


if __name__ == "__main__":
    main()
