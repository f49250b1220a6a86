"""Attempts through a door: what came back is judged, counted, and made small where it is wrong."""

import re
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace

from tests.hostile.doors import Door
from tests.hostile.targets import Attempt, attempt, plain
from tests.hostile.tree import ALLOWED, FILES, OPEN_TO_POST, PEOPLE, File, numbers_in, wrong
from tests.hostile.wire import Answer, Line, Question

# Nine of a kind go out at once: eight that try something, and between them one that does not.
_TOGETHER = 8
_AFTER = 5
_THREADS = 8
# A busy machine may make one request late; what is asked again alone and fails again is a defect.
_AGAIN = 3
_FAILED = frozenset({500, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Asked:
    """A request and what it has to lead to.

    Args:
        number: in turn, the way of proving who asks.
        file: what somebody who tries nothing asks for; None for an attempt.
    """

    attempt: Attempt
    number: int = 0
    file: File | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """A request that came out wrong."""

    door: str
    asked: Asked
    what: str

    def __str__(self) -> str:
        return f"{self.door}: {self.what}\n{self.asked.attempt.as_toml(self.what)}"


@dataclass(slots=True)
class Tally:
    """What came of many attempts."""

    targets: int = 0
    plain: int = 0
    again: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    failures: list[Failure] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, asked: Sequence[Asked], answers: Sequence[Answer], failures: Sequence[Failure], again: int) -> None:
        """Count one round."""
        with self._lock:
            for one, answer in zip(asked, answers, strict=True):
                if one.file is None:
                    self.targets += 1
                    self.statuses[answer.status] += 1
                else:
                    self.plain += 1
            self.again += again
            self.failures += failures

    def __str__(self) -> str:
        def those(*statuses: int) -> int:
            return sum(self.statuses[status] for status in statuses)

        allowed, refused, missing = those(200, 206, 304, 412, 416), those(401, 302, 403), those(404)
        return (
            f"{self.targets:,} targets and {self.plain:,} plain requests, {len(self.failures)} wrong; "
            f"{allowed:,} allowed, {refused:,} refused by authgate, {missing:,} not there, "
            f"{self.targets - allowed - refused - missing:,} refused by the server; "
            + ", ".join(f"{status or 'none'}: {count:,}" for status, count in sorted(self.statuses.items()))
            + (f"; {self.again} asked again" if self.again else "")
        )


def everything_plain(door: Door) -> Iterator[Asked]:
    """Yield the plain request for every file, of every person, in every way of proving who that is."""
    for file in FILES:
        if door.leads_to(file):
            for who in PEOPLE:
                for number in range(len(door.credentials[who])):
                    yield Asked(plain(file.path, who), number, file)


def question(door: Door, asked: Asked) -> Question:
    """Return what is sent."""
    ways = door.credentials[asked.attempt.who]
    sent = asked.attempt.lines(door.host, ways[asked.number % len(ways)], door.root)
    return Question(sent, asked.attempt.method == b"HEAD", asked.attempt.alone)


def judged(door: Door, asked: Asked, answer: Answer) -> str:
    """Return what is wrong with an answer; empty when nothing is."""
    allowed = ALLOWED[asked.attempt.who]
    if door.name == "caddy" and asked.attempt.method in {b"POST", b"PUT"}:
        # Its file server answers every method, so that the rule about the method decides.
        allowed |= OPEN_TO_POST
    shown = wrong(answer.whole, allowed)
    if shown:
        return f"{asked.attempt.who} is shown {', '.join(repr(file.place)[2:-1] for file in shown)}"
    if answer.status in _FAILED and not _is_its_own(door, asked, answer.status):
        return f"status {answer.status}"
    if not answer.whole and not asked.attempt.alone:
        return "no answer"
    if asked.file is None:
        return ""
    if asked.file.number in allowed:
        served = answer.status == 200 and asked.file.marker in answer.whole
        return "" if served else f"{asked.file.path!r} is not served to {asked.attempt.who}: {answer.status}"
    return f"{asked.file.path!r} is served to {asked.attempt.who}" if answer.status == 200 else ""


def _is_its_own(door: Door, asked: Asked, status: int) -> bool:
    """Tell whether a failure is this door's own way."""
    target = asked.attempt.target
    match door.name, status:
        case "rewritemap", 503:
            # An answer takes longer than 50 ms (authgate-rewritemap.conf).
            return asked.file is None
        case "caddy", 503:
            # Caddy hands a target like `x:y` on to authgate as `y`, and shows the page for an authgate that is away.
            return target[:1] != b"/"
        case "caddy", 500:
            # No file system has such a name, and Caddy's file server knows no other words for that.
            return max(map(len, target.split(b"/"))) > 255
        case _:
            return False


def tried(door: Door, asked: Asked, times: int = 1) -> tuple[str, Answer]:
    """Ask once on a connection of its own, and again as long as something is wrong."""
    what, answer = "", Answer(0, b"")
    for _ in range(times):
        with closing(Line(door.port)) as line:
            [answer] = line.ask([question(door, asked)])
        what = judged(door, asked, answer)
        if not what:
            break
    return what, answer


def drive(door: Door, seed: int, count: int, *, threads: int = _THREADS, enough: int = 5) -> Tally:
    """Make so many attempts, and every plain request between them.

    Args:
        enough: so many failures end it.
    """
    tally = Tally()
    sweep = list(everything_plain(door))
    rounds = iter(range(0, max(count, 1), _TOGETHER))
    lock = threading.Lock()

    def work() -> None:
        with closing(Line(door.port)) as line:
            while len(tally.failures) < enough:
                with lock:
                    first = next(rounds, None)
                if first is None:
                    break
                batch = [Asked(attempt(seed, number), number) for number in range(first, min(first + _TOGETHER, count))]
                batch.insert(_AFTER, sweep[first // _TOGETHER % len(sweep)])
                tally.note(batch, *_round(door, line, batch))

    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(work) for _ in range(threads)]:
            done.result()
    return tally


def _round(door: Door, line: Line, batch: Sequence[Asked]) -> tuple[list[Answer], list[Failure], int]:
    answers = line.ask([question(door, asked) for asked in batch])
    failures, again = [], 0
    for asked, answer in zip(batch, answers, strict=True):
        what = judged(door, asked, answer)
        if not what:
            continue
        if answer.status != 200 and not numbers_in(answer.whole):
            again += 1
            if not tried(door, asked, _AGAIN)[0]:
                continue
        failures.append(Failure(door.name, asked, what))
    return answers, failures, again


def shrunk(door: Door, failure: Failure) -> Failure:
    """Return the smallest request that still comes out wrong; the one that was if it does not when asked alone."""
    if failure.asked.file is not None:
        return failure

    def fails(candidate: Attempt) -> str:
        # What may be several requests would be another failure.
        if candidate.alone and not failure.asked.attempt.alone:
            return ""
        return tried(door, replace(failure.asked, attempt=candidate))[0]

    best = failure.asked.attempt
    what = fails(best)
    if not what:
        return replace(failure, what=f"{failure.what} (not when it is asked alone)")
    smaller: Attempt | None = best
    while smaller is not None:
        best, what = smaller, fails(smaller) or what
        smaller = next((candidate for candidate in _smaller(best) if fails(candidate)), None)
    return Failure(failure.door, replace(failure.asked, attempt=best), what)


def _smaller(whole: Attempt) -> Iterator[Attempt]:
    """Yield what is left when something is left out, much first."""
    for index in range(len(whole.headers)):
        yield replace(whole, headers=whole.headers[:index] + whole.headers[index + 1 :])
    # What is no longer encoded says more; once it is, nothing here makes it longer again.
    bare = re.sub(rb"%([46][1-9A-Fa-f]|[57][0-9Aa])", lambda found: bytes.fromhex(found[1].decode()), whole.target)
    if bare != whole.target:
        yield replace(whole, target=bare)
    usual = Attempt(whole.target)
    for name in ("method", "version", "host", "who"):
        if getattr(whole, name) != getattr(usual, name):
            yield replace(whole, **{name: getattr(usual, name)})
    size = len(whole.target)
    while size := size // 2:
        for start in range(0, len(whole.target), size):
            yield replace(whole, target=whole.target[:start] + whole.target[start + size :])
