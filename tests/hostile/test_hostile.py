"""Thousands of hostile requests to real servers: nobody sees a refused file, and plain requests all work."""

import tomllib
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any

import pytest

from authgate.config import load
from tests import servers
from tests.hostile.doors import Door, Running, inhabited
from tests.hostile.site import DOORS, HOLES
from tests.hostile.targets import Attempt, attempt, from_toml
from tests.hostile.tree import FILES, OPEN_TO_POST, decided, numbers_in
from tests.hostile.trying import Asked, drive, everything_plain, judged, question, shrunk, tried
from tests.hostile.wire import Line

SEED = 1
# 5,000 in all; `make fuzz-paths N=100000` for more.
COUNTS: Mapping[str, int] = {
    "nginx": 1800, "fastcgi": 1600, "rewritemap": 300, "x-accel": 500, "x-sendfile": 500, "caddy": 300,
}  # fmt: skip

CASES = tomllib.loads((servers.PACKAGE_ROOT / "tests" / "vectors" / "hostile.toml").read_text())["cases"]


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with servers.open_folder() as folder, inhabited(folder) as made:
        yield made


@pytest.fixture(scope="module")
def doors(running: Running) -> Mapping[str, Door]:
    return {name: running.door(name) for name in DOORS}


@pytest.mark.parametrize("door", DOORS)
def test_what_is_written_by_hand_is_what_the_policy_says(running: Running, door: str) -> None:
    policy, host = load(running.site.config).policy, DOORS[door]

    # What has no address of its own nobody may have.
    assert all(file.people == () for file in FILES if not file.path)
    assert [file for file in FILES if file.path and decided(policy, host, file) != file.people] == []
    assert {file.number for file in FILES if file.path and decided(policy, host, file, "POST") != file.people} == set(
        OPEN_TO_POST
    )


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("case", CASES, ids=[case["about"] for case in CASES])
def test_kept_case(doors: Mapping[str, Door], case: Mapping[str, Any], door: str) -> None:
    what, answer = tried(doors[door], Asked(from_toml(case)), 3)
    served = [FILES[number].place.decode("latin-1") for number in sorted(set(numbers_in(answer.whole)))]

    assert not what
    expected = case.get("but", {}).get(door, case["serves"])
    assert served == ([expected] if expected else [])


@pytest.mark.parametrize("name", DOORS)
def test_every_plain_request_gets_what_the_policy_says(doors: Mapping[str, Door], name: str) -> None:
    door = doors[name]
    everything = list(everything_plain(door))
    with closing(Line(door.port)) as line:
        answers = line.ask([question(door, asked) for asked in everything])

    assert [judged(door, *pair) for pair in zip(everything, answers, strict=True) if judged(door, *pair)] == []


@pytest.mark.parametrize("name", DOORS)
def test_no_hostile_target_shows_a_refused_file(running: Running, doors: Mapping[str, Door], name: str) -> None:
    door, workers = doors[name], running.workers()
    tally = drive(door, SEED, COUNTS[name])

    assert not tally.failures, "\n".join(str(shrunk(door, failure)) for failure in tally.failures)
    # A generator that makes nothing but nonsense would find nothing.
    assert tally.statuses[200] > tally.targets / 60
    assert tally.plain >= tally.targets // 8
    assert running.losses() == []
    assert running.workers() == workers


@pytest.mark.parametrize("hole", HOLES)
def test_a_hole_in_the_configuration_is_found_and_made_small(running: Running, hole: str) -> None:
    door = running.door(hole.partition("/")[0], hole)
    tally = drive(door, SEED, 3000, enough=1)

    assert any("is shown" in failure.what for failure in tally.failures), tally
    small = shrunk(door, next(failure for failure in tally.failures if "is shown" in failure.what))
    assert len(small.asked.attempt.target) < 40
    assert not small.asked.attempt.headers
    # What is printed is the case that is kept.
    [case] = tomllib.loads(small.asked.attempt.as_toml(small.what))["cases"]
    assert from_toml(case) == small.asked.attempt
    assert "is shown" in tried(door, Asked(from_toml(case)))[0]


def test_attempts_are_the_same_each_time() -> None:
    assert [attempt(7, number) for number in range(50)] == [attempt(7, number) for number in range(50)]
    assert len({attempt(7, number) for number in range(200)}) > 190


def test_a_case_keeps_every_byte() -> None:
    whole = Attempt(bytes(range(256)), b"HE\tAD", b"", (b'A: "\\\x7f\x80',), "alice", b"h\xff")

    assert [from_toml(case) for case in tomllib.loads(whole.as_toml("bytes"))["cases"]] == [whole]
