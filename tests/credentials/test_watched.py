import logging
import os
from pathlib import Path

import pytest

from authgate.credentials.watched import MAX_SIZE, Watched
from authgate.errors import ConfigError, Problem
from tests.clock import MovableClock
from tests.credentials.people import write


def parse(content: bytes, place: str) -> str:
    if b"broken" in content:
        raise ConfigError([Problem(f"{place}: line 1", "broken")])
    return content.decode()


class Scene:
    """A watched file and a clock."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "file"
        self.clock = MovableClock()
        write(self.path, "one")
        self.watched = Watched(self.path, parse, "nothing")
        self.watched.load()
        self.wait(1.5)

    def wait(self, seconds: float) -> int:
        """Poll each 250 ms for so long; how often a new content was taken over."""
        taken = 0
        for _ in range(int(seconds * 4)):
            self.clock.advance(0.25)
            taken += self.watched.poll(self.clock())
        return taken


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_unchanged_file_is_read_once_more_and_then_left_alone(tmp_path: Path) -> None:
    """The first read may have met a write that ends within the same tick of the file system's clock."""
    write(tmp_path / "file", "one")
    watched = Watched(tmp_path / "file", parse, "nothing")
    watched.load()

    taken = [watched.poll(100 + step / 4) for step in range(20)]

    assert watched.parsed == "one"
    assert sum(taken) == 1


def test_new_content_counts_after_a_second_without_change(scene: Scene) -> None:
    write(scene.path, "two")

    assert scene.wait(1.0) == 0
    assert scene.watched.parsed == "one"
    assert scene.wait(0.5) == 1
    assert scene.watched.parsed == "two"


def test_change_of_the_same_size_and_time_stamp_is_noticed(scene: Scene) -> None:
    status = scene.path.stat()
    scene.path.write_bytes(b"two")
    os.utime(scene.path, ns=(status.st_atime_ns, status.st_mtime_ns))

    assert scene.wait(1.5) == 1
    assert scene.watched.parsed == "two"


def test_file_that_goes_on_changing_waits_for_a_calm_second(scene: Scene) -> None:
    for number in range(8):
        scene.path.write_text("x" * (number + 1))
        assert scene.wait(0.5) == 0
    assert scene.watched.parsed == "one"

    assert scene.wait(1.0) == 1
    assert scene.watched.parsed == "x" * 8


def test_file_replaced_while_it_is_read_is_not_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "file"

    class Late(type(path)):  # type: ignore[misc] # a path whose file is replaced between two looks at it
        looks = 0

        def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
            Late.looks += 1
            if Late.looks == 6:
                write(path, "three")
            return path.stat(follow_symlinks=follow_symlinks)

    write(path, "two")
    late = Watched(Late(path), parse, "nothing")
    taken = [late.poll(step / 4) for step in range(6)]

    assert not any(taken)
    assert late.parsed == "nothing"
    assert [late.poll(step / 4) for step in range(6, 12)].count(True) == 1
    assert late.parsed == "three"


def test_broken_content_keeps_the_old_and_is_reported_once(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    write(scene.path, "broken")

    with caplog.at_level(logging.ERROR, "authgate"):
        assert scene.wait(10) == 0

    assert scene.watched.parsed == "one"
    assert [record.message for record in caplog.records] == [
        f"{scene.path}: line 1: broken",
        f"{scene.path}: refused; what was read before stays in force",
    ]


def test_broken_content_that_was_corrected_and_broken_again_is_reported_again(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    for content in ("broken", "good", "broken"):
        write(scene.path, content)
        scene.wait(2)

    assert scene.watched.parsed == "good"
    assert sum("line 1: broken" in record.message for record in caplog.records) == 2


def test_vanished_file_keeps_the_old_until_it_is_back(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    scene.path.unlink()

    assert scene.wait(10) == 0
    assert scene.watched.parsed == "one"
    assert sum("No such file" in record.message for record in caplog.records) == 1

    write(scene.path, "two")
    assert scene.wait(1.5) == 1
    assert scene.watched.parsed == "two"


def test_file_replaced_by_what_is_no_file_keeps_the_old(scene: Scene) -> None:
    for make in (os.mkfifo, os.mkdir):
        scene.path.unlink(missing_ok=True)
        make(scene.path)
        before = len(list(Path("/proc/self/fd").iterdir()))

        assert scene.wait(5) == 0
        assert scene.watched.parsed == "one"
        # Tried again at each poll, so nothing may stay open.
        assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_file_over_the_limit_is_refused(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    with scene.path.open("wb") as file:
        file.truncate(MAX_SIZE + 1)

    assert scene.wait(1.5) == 0
    assert "larger than" in caplog.text
    with pytest.raises(ConfigError, match="larger than"):
        Watched(scene.path, parse, "nothing").load()


def test_clock_set_back_only_delays(scene: Scene) -> None:
    write(scene.path, "two")
    scene.wait(0.5)
    scene.clock.advance(-3600)

    assert scene.wait(1.5) == 1


def test_missing_file_at_start_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        Watched(tmp_path / "missing", parse, "nothing").load()
