"""What reading many rules takes, and what requests wait while a running service reads them."""

import sys
import time

from click.testing import CliRunner

from authgate.cli.reload import reload
from authgate.config import load as read
from benchmarks.rules import site_of
from tests.load import load

SIZES = (10_000, 100_000)
RATE = 500


def main(*sizes: int) -> None:
    """Print the figures."""
    for rules in sizes or SIZES:
        with site_of(rules) as site:
            began = time.monotonic()
            read(site.config)
            print(f"{rules:,} rules: read and compiled in {time.monotonic() - began:.2f} s")
            site.change(1)
            before = site.authgate.text().count("configuration reloaded: ")
            with load(site.folder, site.url, rate=RATE) as measured:
                began = time.monotonic()
                # The command compiles first, and then the service: both take a processor from the workers.
                result = CliRunner().invoke(reload, ["--config", str(site.config)])
                took = time.monotonic() - began
            if result.exit_code or site.authgate.text().count("configuration reloaded: ") != before + 1:
                raise RuntimeError(result.output)
            lost = sum(count for status, count in measured.answers.items() if status != 200) + measured.errors
            print(
                f"{rules:,} rules: reload in {took:.2f} s; meanwhile {measured.rate:,.0f} requests/s, {lost} lost, "
                f"p99 {measured.p99:.1f} ms, longest {measured.longest:.0f} ms; {site.memory() >> 20} MiB in all"
            )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
