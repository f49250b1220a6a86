"""What is found below a root, and what is not."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from authgate.delivery import files
from authgate.delivery.files import Found, look
from tests.servers import make_file, open_folder

NAMES = ["plain.txt", "q?.txt", "h#.txt", "p%41.txt", "ä€😀.txt", "sp ace.txt", " ", "...", "a\\b", "a;b", "\x80"]


@pytest.fixture
def root() -> Iterator[Path]:
    # A unix socket's name has to be short.
    with open_folder() as folder:
        (folder / "outside.txt").write_text("outside")
        (folder / "root").mkdir()
        yield folder / "root"


def found(root: Path, path: str) -> Found | None:
    return look(os.fsencode(root), path)


@pytest.mark.parametrize("name", NAMES)
def test_a_file_is_found_under_its_name(root: Path, name: str) -> None:
    make_file(os.fsencode(root) + b"/sub/" + name.encode(), b"x")

    assert found(root, f"/sub/{name}") == Found(b"/sub/" + name.encode(), is_folder=False)


@pytest.mark.parametrize(("path", "inside"), [("/", b"/"), ("/sub", b"/sub"), ("/sub/", b"/sub")])
def test_a_folder_is_found_with_and_without_its_slash(root: Path, path: str, inside: bytes) -> None:
    (root / "sub").mkdir()

    assert found(root, path) == Found(inside, is_folder=True)


@pytest.mark.parametrize(
    "path", ["/nothing", "/file/", "/file/below", "/nothing/below", "/" + "x" * 256, "/" + "x/" * 3000]
)
def test_what_is_not_there_is_not_found(root: Path, path: str) -> None:
    (root / "file").write_text("x")

    assert found(root, path) is None


def test_a_link_that_stays_inside_is_the_file_it_leads_to(root: Path) -> None:
    (root / "real").mkdir()
    (root / "real" / "file").write_text("x")
    (root / "folder").symlink_to("real")
    (root / "link").symlink_to(root / "folder" / "file")
    (root / "there-and-back").symlink_to("../root/real/file")

    for path in ("/folder/file", "/link", "/there-and-back"):
        assert found(root, path) == Found(b"/real/file", is_folder=False)
    assert found(root, "/folder/") == Found(b"/real", is_folder=True)


def test_no_link_leads_outside(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    beside = root.with_name("root-beside")
    beside.mkdir()
    (beside / "file").write_text("x")
    (root / "file").symlink_to("../outside.txt")
    (root / "absolute").symlink_to("/etc/passwd")
    (root / "folder").symlink_to("..")
    # Its name begins as the root's does.
    (root / "beside").symlink_to(beside)
    (root / "chain").symlink_to("file")
    (root / "machine").symlink_to("/")

    for path in (
        *("/file", "/absolute", "/folder", "/folder/", "/folder/outside.txt", "/beside/file", "/beside/", "/chain"),
        *("/machine", "/machine/etc/passwd"),
    ):
        caplog.clear()
        assert found(root, path) is None, path
        assert "not below" in caplog.text


def test_a_loop_and_a_broken_link_are_nothing(root: Path) -> None:
    (root / "loop").symlink_to("loop")
    (root / "broken").symlink_to("nothing")

    assert found(root, "/loop") is None
    assert found(root, "/broken") is None


def test_what_is_no_regular_file_is_not_there_and_is_not_opened(root: Path) -> None:
    # Opened, the pipe would block until somebody writes into it.
    os.mkfifo(root / "pipe")
    (root / "null").symlink_to("/dev/null")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(root / "socket"))

        for path in ("/pipe", "/null", "/socket"):
            assert found(root, path) is None


def test_the_root_itself_may_be_a_link(root: Path) -> None:
    (root / "file").write_text("x")
    link = root.with_name("link")
    link.symlink_to("root")

    assert found(link, "/file") == Found(b"/file", is_folder=False)
    assert found(link, "/") == Found(b"/", is_folder=True)


def test_a_root_that_leads_to_all_of_the_machine_opens_nothing(root: Path) -> None:
    link = root.with_name("link")
    link.symlink_to("/")

    assert found(link, "/etc/passwd") is None


@pytest.mark.parametrize("path", ["//etc/passwd", "/../outside.txt", "/../../../../../../etc/passwd"])
def test_a_path_that_no_rule_could_admit_to_stays_below_as_well(root: Path, path: str) -> None:
    assert found(root, path) is None


def test_a_root_that_is_not_there_is_an_error_and_no_missing_file(root: Path) -> None:
    with pytest.raises(FileNotFoundError):
        found(root / "nothing", "/x")
    with pytest.raises(NotADirectoryError):
        found(root.with_name("outside.txt"), "/x")


def test_a_file_that_was_removed_meanwhile_is_not_the_one_with_the_kernels_name_for_it(root: Path) -> None:
    (root / "file").write_text("x")
    with (root / "file").open() as held:
        (root / "file").unlink()
        (root / "file (deleted)").write_text("another")
        status = os.fstat(held.fileno())

        assert Path(f"/proc/self/fd/{held.fileno()}").readlink() == root / "file (deleted)"
        assert not files._names(os.fsencode(root / "file (deleted)"), status)
        assert not files._names(os.fsencode(root / "gone (deleted)"), status)
    # A file that was given this name is one like any other.
    assert found(root, "/file (deleted)") == Found(b"/file (deleted)", is_folder=False)


def test_no_descriptor_is_left_open(root: Path) -> None:
    (root / "file").write_text("x")
    (root / "out").symlink_to("..")
    before = len(list(Path("/proc/self/fd").iterdir()))

    for path in ("/file", "/out", "/nothing", "/"):
        found(root, path)

    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_file_that_is_removed_after_it_was_found_is_not_there(root: Path) -> None:
    (root / "file").write_text("x")
    top, removed = os.open(root, os.O_PATH), os.open(root / "file", os.O_PATH)
    try:
        (root / "file").unlink()
        (root / "file (deleted)").write_text("another")

        assert files._examine(top, removed, "/file") is None
    finally:
        os.close(top)
        os.close(removed)
