import fcntl
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from authgate.cli.user import user
from authgate.credentials import hashes
from authgate.credentials.users import LocalUsers
from tests.credentials.people import sha

A, B = sha("a"), sha("b")


@dataclass
class Site:
    """A folder with a configuration, and the command run in it."""

    folder: Path

    @property
    def htpasswd(self) -> Path:
        return self.folder / "users.htpasswd"

    @property
    def groups(self) -> Path:
        return self.folder / "groups"

    @property
    def config(self) -> Path:
        return self.folder / "authgate.toml"

    def configure(self, users: str) -> None:
        self.config.write_text(f'[[sites]]\norigin = "https://files.example.com"\n[users]\n{users}\n')

    def run(self, *arguments: str, stdin: str = "") -> Result:
        result = CliRunner().invoke(user, [*arguments, "--config", str(self.config)], input=stdin)
        assert result.exception is None or isinstance(result.exception, SystemExit)
        return result

    def add(self, *arguments: str, password: str = "geheim") -> Result:
        return self.run("add", *arguments, "--password-stdin", stdin=password + "\n")

    def loaded(self) -> LocalUsers:
        found = LocalUsers(self.htpasswd, self.groups)
        found.load()
        return found


@pytest.fixture
def site(tmp_path: Path) -> Site:
    made = Site(tmp_path)
    made.configure('htpasswd = "users.htpasswd"\ngroups = "groups"')
    made.htpasswd.write_text(f"# our people\n\nalice:{A}\nbob:{B}:a comment\n")
    made.groups.write_text("# our groups\nstaff: alice bob\nfinance: 'bob'\n")
    return made


def test_added_user_can_log_in_and_has_the_groups(site: Site) -> None:
    result = site.add("käthe", "--group", "staff", "--group", "new ones")

    assert (result.exit_code, result.stdout) == (0, "added käthe (new ones, staff)\n")
    loaded = site.loaded()
    line = loaded.find("käthe")
    assert line is not None
    assert line.startswith("$argon2id$")
    assert hashes.verify(line, b"geheim")
    subject = loaded.subject("käthe")
    assert subject is not None
    assert subject.groups == frozenset({"staff", "new ones"})
    # Everything else stands where it stood.
    assert site.htpasswd.read_text().startswith(f"# our people\n\nalice:{A}\nbob:{B}:a comment\nkäthe:$argon2id$")
    assert site.groups.read_text() == "# our groups\nstaff: alice bob käthe\nfinance: 'bob'\nnew ones: käthe\n"


def test_first_user_makes_files_that_only_the_owner_reads(site: Site) -> None:
    site.htpasswd.unlink()
    site.groups.unlink()

    old = os.umask(0)
    try:
        assert site.add("john smith", "--group", "staff").exit_code == 0
    finally:
        os.umask(old)

    assert site.htpasswd.stat().st_mode & 0o777 == 0o600
    assert site.groups.read_text() == 'staff: "john smith"\n'
    assert site.loaded().subject("john smith") is not None


def test_mode_owner_and_link_of_a_file_are_kept(site: Site, tmp_path: Path) -> None:
    real = tmp_path / "elsewhere"
    real.mkdir()
    site.htpasswd.rename(real / "people")
    site.htpasswd.symlink_to(real / "people")
    (real / "people").chmod(0o640)
    if os.geteuid() == 0:
        os.chown(real / "people", 12345, 23456)
    before = (real / "people").stat()

    assert site.add("carol").exit_code == 0

    after = (real / "people").stat()
    assert site.htpasswd.is_symlink()
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    assert after.st_ino != before.st_ino
    assert sorted(path.name for path in real.iterdir()) == ["people"]


def test_password_is_asked_for_twice(site: Site) -> None:
    result = site.run("add", "carol", stdin="geheim\ngeheim\n")

    assert result.exit_code == 0
    assert "geheim" not in result.output
    line = site.loaded().find("carol")
    assert line is not None
    assert hashes.verify(line, b"geheim")


def test_password_typed_differently_is_asked_for_again(site: Site) -> None:
    result = site.run("add", "carol", stdin="geheim\ngehiem\nother\nother\n")

    assert result.exit_code == 0
    line = site.loaded().find("carol")
    assert line is not None
    assert hashes.verify(line, b"other")


def test_password_on_standard_input_loses_only_its_line_end(site: Site) -> None:
    for name, given, password in (
        ("u1", " a b ", b" a b "),
        ("u2", "crlf\r", b"crlf"),
        ("u3", "grün", "grün".encode()),
    ):
        assert site.add(name, password=given).exit_code == 0
        line = site.loaded().find(name)
        assert line is not None
        assert hashes.verify(line, password)


@pytest.mark.parametrize("password", ["", "tab\there", "x" * 1025, "nul\0"])
def test_password_that_could_never_be_used_is_refused(site: Site, password: str) -> None:
    before = site.htpasswd.read_text()

    result = site.add("carol", password=password)

    assert result.exit_code == 1
    assert result.stderr.startswith("authgate: ")
    assert site.htpasswd.read_text() == before


def test_existing_user_is_not_added_again(site: Site) -> None:
    before = site.htpasswd.read_text()

    result = site.add("bob", "--group", "root")

    assert result.exit_code == 1
    assert result.stderr == (
        'authgate: there is a user "bob" already\nhint: change the password with: authgate user passwd bob\n'
    )
    assert site.htpasswd.read_text() == before
    assert "root" not in site.groups.read_text()


@pytest.mark.parametrize(
    "name",
    ["", "a/b", "partner/alice", "a:b", "#a", " a", "a ", "a\nb", "a\x1b[2J", 'a"b', "o'brien", "a\\b", "\u202ea"],
)
def test_bad_name_is_refused(site: Site, name: str) -> None:
    before = site.htpasswd.read_text()

    result = site.run("add", "--password-stdin", "--", name, stdin="x\n")
    assert result.exit_code == 2 or name == ""

    result = CliRunner().invoke(
        user, ["add", "--password-stdin", "--config", str(site.config), "--", name], input="geheim\n"
    )
    assert result.exit_code == 2
    assert result.stderr.startswith("authgate: this user cannot be added: ")
    assert "\nhint: " in result.stderr
    assert "\x1b" not in result.output
    assert site.htpasswd.read_text() == before


@pytest.mark.parametrize("group", ["", "a/b", "a:b", "#a", " a", "a\nroot: mallory"])
def test_bad_group_is_refused(site: Site, group: str) -> None:
    before = site.groups.read_text()

    assert site.add("carol", "--group", group).exit_code == 2
    assert site.groups.read_text() == before
    assert "carol" not in site.htpasswd.read_text()


def test_groups_left_from_an_earlier_user_of_the_name_are_said(site: Site) -> None:
    site.groups.write_text("staff: alice carol\n")

    assert site.add("carol").stdout == "added carol (staff)\n"


def test_new_password_replaces_the_old_line_in_its_place(site: Site) -> None:
    result = site.run("passwd", "alice", "--password-stdin", stdin="neu\n")

    assert (result.exit_code, result.stdout) == (0, "changed the password of alice\n")
    lines = site.htpasswd.read_text().splitlines()
    assert lines[:2] == ["# our people", ""]
    assert lines[2].startswith("alice:$argon2id$")
    assert lines[3:] == [f"bob:{B}:a comment"]
    assert hashes.verify(lines[2].removeprefix("alice:"), b"neu")


def test_new_password_corrects_plain_text_and_doubled_lines(site: Site) -> None:
    site.htpasswd.write_text(f"alice:{A}\nbob:plain text\nbob:{B}\n")

    assert site.run("passwd", "bob", "--password-stdin", stdin="neu\n").exit_code == 0
    assert site.loaded().find("bob") is not None


def test_removed_user_leaves_both_files(site: Site) -> None:
    result = site.run("remove", "bob")

    assert (result.exit_code, result.stdout) == (0, "removed bob\n")
    assert site.htpasswd.read_text() == f"# our people\n\nalice:{A}\n"
    assert site.groups.read_text() == "# our groups\nstaff: alice\nfinance:\n"
    assert site.loaded().subject("bob") is None


def test_name_is_compared_whole(site: Site) -> None:
    site.htpasswd.write_text(f"al:{A}\nalice:{A}\nxal:{A}\n#al:{A}\n")
    site.groups.write_text("staff: al alice xal\n#old: al\n")

    assert site.run("remove", "al").exit_code == 0
    assert site.htpasswd.read_text() == f"alice:{A}\nxal:{A}\n#al:{A}\n"
    assert site.groups.read_text() == "staff: alice xal\n#old: al\n"


@pytest.mark.parametrize(
    "arguments", [("remove", "mallory"), ("passwd", "mallory", "--password-stdin"), ("remove", "#")]
)
def test_unknown_user_is_an_error(site: Site, arguments: Sequence[str]) -> None:
    before = site.htpasswd.read_text(), site.groups.read_text()

    result = site.run(*arguments, stdin="x\n")

    assert result.exit_code == 1
    assert result.stderr.startswith(f'authgate: there is no user "{arguments[1]}"\nhint: ')
    assert (site.htpasswd.read_text(), site.groups.read_text()) == before


def test_list_shows_names_kinds_and_groups_and_no_hash(site: Site) -> None:
    result = site.run("list")

    assert result.exit_code == 0
    assert [line.split() for line in result.stdout.splitlines()] == [
        ["alice", "sha1", "staff"],
        ["bob", "sha1", "finance", "staff"],
    ]
    assert A not in result.output


def test_list_as_json(site: Site) -> None:
    assert json.loads(site.run("list", "--json").stdout) == [
        {"name": "alice", "groups": ["staff"], "hash": "sha1"},
        {"name": "bob", "groups": ["finance", "staff"], "hash": "sha1"},
    ]
    site.configure('htpasswd = "users.htpasswd"')
    assert json.loads(site.run("list", "--json").stdout)[0] == {"name": "alice", "groups": None, "hash": "sha1"}


def test_list_of_nobody_is_empty(site: Site) -> None:
    site.htpasswd.unlink()
    site.groups.unlink()

    assert (site.run("list").exit_code, site.run("list").output) == (0, "")
    assert json.loads(site.run("list", "--json").stdout) == []


def test_list_of_a_broken_file_says_what_is_wrong(site: Site) -> None:
    site.htpasswd.write_text("alice:geheim\nbob\n")

    result = site.run("list")

    assert result.exit_code == 2
    assert f'authgate: {site.htpasswd}: line 1, user "alice": ' in result.stderr
    assert f"authgate: {site.htpasswd}: line 2: no colon\nhint: write name:hash\n" in result.stderr
    assert "geheim" not in result.output


def test_missing_settings_are_configuration_errors(site: Site) -> None:
    site.configure("")
    assert site.run("list").exit_code == 2
    site.configure('htpasswd = "users.htpasswd"')
    result = site.add("carol", "--group", "staff")
    assert result.exit_code == 2
    assert result.stderr.startswith("authgate: no group file is configured\nhint: ")
    assert "carol" not in site.htpasswd.read_text()


def test_folder_that_is_not_there_is_an_error_and_no_traceback(site: Site) -> None:
    site.configure('htpasswd = "nowhere/users.htpasswd"')

    result = site.add("carol")

    assert result.exit_code == 1
    assert "No such file or directory" in result.stderr


def test_two_writers_at_once_lose_nothing(site: Site) -> None:
    """Real processes, because a lock of one process does not hold that process up."""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-m", "authgate", "user", "add", "--password-stdin", "--config", str(site.config)]
    writers = [
        subprocess.Popen([*command, f"user{n}", "--group", "staff"], stdin=subprocess.PIPE, env=environment)
        for n in range(4)
    ]
    for writer in writers:
        writer.communicate(b"geheim\n", timeout=60)

    assert [writer.returncode for writer in writers] == [0] * 4
    loaded = site.loaded()
    for number in range(4):
        subject = loaded.subject(f"user{number}")
        assert subject is not None
        assert subject.groups == frozenset({"staff"})


def test_writer_waits_for_the_lock_of_another(site: Site) -> None:
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    folder = os.open(site.folder, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    command = [sys.executable, "-m", "authgate", "user", "remove", "bob", "--config", str(site.config)]
    with subprocess.Popen(command, env=environment) as writer:
        deadline = time.monotonic() + 30
        # proc(5): the kernel writes "->" before a lock that is waited for.
        while not re.search(rf"-> FLOCK .* {writer.pid} ", Path("/proc/locks").read_text()):
            assert writer.poll() is None, "it did not wait"
            assert time.monotonic() < deadline
        assert "bob" in site.htpasswd.read_text()
        os.close(folder)
        assert writer.wait(timeout=30) == 0
    assert "bob" not in site.htpasswd.read_text()
