"""Where the audit's lines end up, also when there is no room for them."""

import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from authgate.observe.sink import Sink
from tests import servers

LINE = f"{'x' * 99}\n"


@contextmanager
def open_sink(path: Path) -> Iterator[Sink]:
    sink = Sink(path)
    try:
        yield sink
    finally:
        sink.close()


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Let the disk be full: no file grows beyond `size`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_pipe_gets_no_more_at_once_than_it_takes_whole(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    with open_sink(tmp_path / "pipe") as sink:
        pieces = list(sink.pieces([LINE] * 100))
        assert [sink.write(piece) for piece in pieces] == [40, 40, 20]
        assert os.read(reader, 1 << 16).decode() == LINE * 100
    os.close(reader)
    # What a pipe takes at once or not at all (pipe(7)); room for the line break that ends a torn line.
    assert max(len(piece) for piece in pieces) < 4096


def test_file_gets_many_lines_at_once(tmp_path: Path) -> None:
    with open_sink(tmp_path / "file") as sink:
        (piece,) = sink.pieces([LINE] * 100)

    assert piece.decode() == LINE * 100


def test_line_that_a_full_disk_cuts_off_does_not_swallow_the_next(tmp_path: Path) -> None:
    file = tmp_path / "file"
    begin = b"\n" * (1 << 22)
    file.write_bytes(begin)
    with open_sink(file) as sink:
        with files_of_at_most(len(begin) + 150):
            assert sink.write(LINE.encode() * 2) == 1
            assert sink.failure == "file too large"
            assert sink.write(LINE.encode()) == 0
        assert sink.write(LINE.encode() * 2) == 2
        assert sink.write(LINE.encode()) == 1

    text = file.read_text().removeprefix(begin.decode())
    assert text == f"{LINE}{LINE[:50]}\n{LINE * 3}"


def test_deleted_file_is_made_anew(tmp_path: Path) -> None:
    file = tmp_path / "file"
    with open_sink(file) as sink:
        file.unlink()
        assert sink.write(LINE.encode()) == 1
        assert file.read_text() == LINE


def test_vanished_folder_loses_lines_until_it_is_back(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    with open_sink(folder / "file") as sink:
        shutil.rmtree(folder)
        assert sink.write(LINE.encode()) == 0
        assert sink.failure == "no such file or directory"
        folder.mkdir()
        assert sink.write(LINE.encode()) == 1
    assert (folder / "file").read_text() == LINE


def test_link_is_not_followed_though_it_appears_later(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("")
    with open_sink(tmp_path / "file") as sink:
        (tmp_path / "file").unlink()
        (tmp_path / "file").symlink_to(tmp_path / "elsewhere")
        assert sink.write(LINE.encode()) == 0
    assert (tmp_path / "elsewhere").read_text() == ""


def test_closed_stderr_is_no_other_file(tmp_path: Path) -> None:
    """Whatever is opened first gets its number."""
    code = (
        "import sys; from authgate.observe.sink import Sink; store = open(sys.argv[1], 'w'); sink = Sink(None); "
        "print(store.fileno(), sink.write(b'x\\n'), sink.failure)"
    )
    command = ["sh", "-c", 'exec "$@" 2>&-', "sh", sys.executable, "-c", code, str(tmp_path / "store")]

    said = subprocess.check_output(command, cwd=servers.PACKAGE_ROOT, text=True)

    assert said == "2 0 stderr is closed\n"
    assert (tmp_path / "store").read_text() == ""
