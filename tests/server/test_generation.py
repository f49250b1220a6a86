"""How many workers are missing and when they start, by a clock that is only a number."""

from pathlib import Path

from authgate.config import parse
from authgate.server.generation import FIRST_WAIT, LONGEST_WAIT, SHORT_LIFE, Generation, Process


def generation(workers: int = 2) -> Generation:
    document = {"workers": workers, "sites": [{"origin": "https://files.example.com"}]}
    return Generation(parse(document, Path("/srv/authgate.toml")), 0.0)


def test_all_workers_are_missing_at_first() -> None:
    assert generation(3).missing == 3


def test_is_ready_when_every_worker_is() -> None:
    young = generation(2)
    young.processes = {1: Process(0.0, None, ready=True)}
    assert not young.is_ready

    young.processes[2] = Process(0.0, 7)
    assert not young.is_ready

    young.processes[2].ready = True
    assert young.is_ready


def test_worker_that_lived_is_replaced_at_once() -> None:
    old = generation()

    old.lose(started=0.0, now=SHORT_LIFE)

    assert old.next_start == SHORT_LIFE


def test_wait_doubles_with_each_worker_that_dies_young() -> None:
    failing = generation()
    now, waits = 0.0, []
    for _ in range(10):
        failing.lose(started=now, now=now)
        waits.append(failing.next_start - now)
        now = failing.next_start

    assert waits[:3] == [FIRST_WAIT, 2 * FIRST_WAIT, 4 * FIRST_WAIT]
    assert waits[-1] == LONGEST_WAIT


def test_two_that_die_together_double_the_wait_once() -> None:
    failing = generation()

    failing.lose(started=0.0, now=0.1)
    failing.lose(started=0.0, now=0.1)

    assert failing.wait == FIRST_WAIT


def test_one_that_lived_ends_the_waiting() -> None:
    recovered = generation()
    recovered.lose(started=0.0, now=0.1)

    recovered.lose(started=1.0, now=100.0)

    assert recovered.next_start == 100.0


def test_what_a_worker_says_is_heard_line_by_line() -> None:
    process = Process(0.0, 7)

    process.hear("ready\n")
    assert (process.ready, process.deciding, process.complaint) == (True, True, "")

    process.hear("store: away\nusers: wrong\ndone\n")
    assert (process.deciding, process.complaint) == (False, "store: away\nusers: wrong")
