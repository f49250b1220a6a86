"""``python -m tests.hostile 100000``: so many hostile targets through nginx and Apache, fewer through other doors."""

import argparse
import secrets
import sys
import time

from tests import servers
from tests.hostile.doors import inhabited
from tests.hostile.site import DOORS
from tests.hostile.trying import drive, shrunk

_MAIN = ("nginx", "fastcgi")


def main() -> int:
    """Run, print the figures and the failures, and return the exit status."""
    options = argparse.ArgumentParser(prog="python -m tests.hostile")
    options.add_argument("count", type=int)
    options.add_argument("--seed", type=int, default=secrets.randbelow(1_000_000))
    options.add_argument("--door", choices=DOORS, action="append")
    given = options.parse_args()
    _say(f"seed {given.seed}")
    with servers.open_folder() as folder, inhabited(folder) as running:
        workers = running.workers()
        wrong = []
        for name in given.door or DOORS:
            count = given.count if name in _MAIN or given.door else given.count // 20
            door, begin = running.door(name), time.monotonic()
            tally = drive(door, given.seed, count)
            seconds = time.monotonic() - begin
            _say(f"{name}: {tally}; {seconds:.0f} s, {tally.targets / seconds:,.0f} a second")
            wrong += [str(shrunk(door, failure)) for failure in tally.failures]
        wrong += running.losses()
        if running.workers() != workers:
            wrong.append(f"processes: {workers} at the beginning, {running.workers()} at the end")
        for text in wrong:
            _say(text)
    return 1 if wrong else 0


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
