"""The workers of one configuration: how many are missing, and when to start them. Pure: time is an argument."""

from dataclasses import dataclass, field

from authgate.config import Settings
from authgate.observe.board import Row
from authgate.server.worker import DONE, READY

# A worker that lives shorter than this is one that cannot start; the wait before the next one doubles.
SHORT_LIFE = 1.0
FIRST_WAIT = 0.5
LONGEST_WAIT = 30.0


@dataclass(slots=True)
class Process:
    """One worker process, as its parent sees it.

    Args:
        started: by the monotonic clock.
        pipe: read end of the pipe on which it speaks; None when nothing more will come.
        ready: it can serve.
        told: it was told to.
        deciding: it may yet decide requests.
        reopen: it is yet to be told that its audit file was moved away.
        complaint: why it cannot serve, when it said so.
        kill_at: by the monotonic clock; when it will be killed if it is still there.
        row: where it counts; None when nothing is counted.
    """

    started: float
    pipe: int | None
    ready: bool = False
    told: bool = False
    deciding: bool = True
    reopen: bool = False
    complaint: str = ""
    kill_at: float = float("inf")
    row: Row | None = None

    def hear(self, said: str) -> None:
        """Note what it said, whole lines."""
        for line in said.splitlines():
            if line == READY:
                self.ready = True
            elif line == DONE:
                self.deciding = False
            else:
                self.complaint += f"\n{line}" if self.complaint else line


@dataclass(slots=True)
class Generation:
    """The workers of one configuration.

    Args:
        born: by the monotonic clock.
        note: what of the configuration is not in force before the next start.
        processes: by process id.
    """

    settings: Settings
    born: float
    note: str = ""
    processes: dict[int, Process] = field(default_factory=dict)
    wait: float = 0.0
    next_start: float = 0.0

    @property
    def missing(self) -> int:
        """How many workers there should be and are not."""
        return self.settings.workers - len(self.processes)

    @property
    def ready(self) -> int:
        """How many workers are ready to serve."""
        return sum(process.ready for process in self.processes.values())

    @property
    def is_ready(self) -> bool:
        """True when every worker is."""
        return self.ready == self.settings.workers == len(self.processes)

    def lose(self, started: float, now: float) -> None:
        """Note that a process ended, and from that when its replacement may start.

        Two that die together double the wait once.
        """
        if now - started >= SHORT_LIFE:
            self.wait = 0.0
        elif self.next_start <= now:
            self.wait = min(LONGEST_WAIT, max(FIRST_WAIT, 2 * self.wait))
        self.next_start = now + self.wait
