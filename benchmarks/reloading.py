"""100 reloads under 2,000 requests a second through nginx: how many were lost, and what the others waited."""

import statistics
import time

from click.testing import CliRunner

from authgate.cli.reload import reload
from benchmarks.rules import site_of
from tests.load import load

RELOADS = 100
RATE = 2_000


def main() -> None:
    """Print the figures."""
    with site_of(10) as site:
        took = []
        with load(site.folder, site.url, rate=RATE, methods=("GET", "POST")) as measured:
            for number in range(RELOADS):
                site.change(number)
                began = time.monotonic()
                result = CliRunner().invoke(reload, ["--config", str(site.config)])
                if result.exit_code:
                    raise RuntimeError(result.output)
                took.append(time.monotonic() - began)
                time.sleep(max(0.0, 0.2 - took[-1]))
    # nginx itself refuses a POST to a file, after authgate has allowed it.
    answered = sum(measured.answers.values())
    lost = answered - measured.answers.get(200, 0) - measured.answers.get(405, 0) + measured.errors
    print(
        f"{RELOADS} reloads under {measured.rate:,.0f} requests/s: {answered:,} answered, {lost} lost; p99 "
        f"{measured.p99:.1f} ms, longest {measured.longest:.0f} ms; a reload takes {statistics.median(took):.2f} s"
    )


if __name__ == "__main__":
    main()
