"""Steady load by wrk, every answer counted by its status."""

import re
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.servers import require

# wrk asks as fast as it can; a pause before each request makes that a rate (a little less, by what an answer takes).
# It knows the latency of each answer without the pause.
_SCRIPT = """
local threads, asked = {}, 0
local methods = { METHODS }
function setup(thread) threads[#threads + 1] = thread end
function init() counts = {} end
function delay() return math.random(0, 2 * PAUSE) end
function request()
  asked = asked + 1
  return wrk.format(methods[asked % #methods + 1], wrk.path)
end
function response(status) counts[tostring(status)] = (counts[tostring(status)] or 0) + 1 end
function done(summary, latency)
  for _, thread in ipairs(threads) do
    for status, count in pairs(thread:get("counts")) do print("status " .. status .. " " .. count) end
  end
  local errors = summary.errors
  print("errors " .. errors.connect + errors.read + errors.write + errors.timeout)
  print("seconds " .. summary.duration / 1e6)
  print("p99 " .. latency:percentile(99) / 1e3)
  print("max " .. latency.max / 1e3)
end
"""


@dataclass(slots=True)
class Load:
    """What came of it; filled at the end of the block.

    Args:
        answers: how many, by status.
        errors: connections that failed, and requests that were not answered in time.
        rate: answers each second.
        p99: milliseconds.
        longest: milliseconds.
    """

    answers: dict[int, int] = field(default_factory=dict)
    errors: int = 0
    rate: float = 0.0
    p99: float = 0.0
    longest: float = 0.0


@contextmanager
def load(
    folder: Path,
    url: str,
    *,
    rate: int,
    connections: int = 32,
    methods: tuple[str, ...] = ("GET",),
    headers: Mapping[str, str] = {},
) -> Iterator[Load]:
    """Ask for `url` about `rate` times a second until the end of the block.

    Args:
        methods: taken in turn; no HEAD, of whose answer wrk would wait for a body.
    """
    script = folder / "load.lua"
    pause = round(1000 * connections / rate)
    named = ", ".join(f'"{method}"' for method in methods)
    script.write_text(_SCRIPT.replace("PAUSE", str(pause)).replace("METHODS", named))
    command = [require("wrk"), "-t1", f"-c{connections}", "-d600s", "--timeout", "10s", "-s", str(script)]
    for name, value in headers.items():
        command += ["-H", f"{name}: {value}"]
    process = subprocess.Popen([*command, url], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    measured = Load()
    try:
        yield measured
    finally:
        # It ends as after its time, with its figures.
        process.send_signal(signal.SIGINT)
        printed, _ = process.communicate(timeout=30)
    measured.answers = {int(status): int(count) for status, count in re.findall(r"status (\d+) (\d+)", printed)}
    measured.errors = int(_figure("errors", printed))
    measured.rate = sum(measured.answers.values()) / _figure("seconds", printed)
    measured.p99, measured.longest = _figure("p99", printed), _figure("max", printed)


def _figure(name: str, printed: str) -> float:
    found = re.search(rf"^{name} ([0-9.]+)", printed, re.MULTILINE)
    if found is None:
        raise RuntimeError(f"wrk:\n{printed}")
    return float(found[1])
