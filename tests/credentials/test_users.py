from pathlib import Path

import pytest

from authgate.credentials.users import LocalUsers
from authgate.errors import ConfigError
from authgate.model import Subject, user
from tests.clock import MovableClock
from tests.credentials.people import cheap, settle, sha, users, write

A, B = sha("a"), sha("b")


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock()


def test_user_has_the_groups_of_the_group_file(tmp_path: Path) -> None:
    loaded = users(tmp_path, f"alice:{A}\nbob:{B}\n", "staff: alice nobody\nfinance: alice\n")

    assert loaded.subject("alice") == Subject("", "alice", frozenset({"staff", "finance"}))
    assert loaded.subject("bob") == Subject("", "bob", frozenset())
    # Being named in a group makes nobody a user.
    assert loaded.subject("nobody") is None
    assert loaded.find("nobody") is None
    assert loaded.fingerprint("nobody") is None
    assert loaded.account("nobody") is None


def test_membership_is_unknown_without_a_group_file(tmp_path: Path) -> None:
    loaded = users(tmp_path, f"alice:{A}\n")

    subject = loaded.subject("alice")

    assert subject is not None
    assert subject.groups is None


def test_nobody_exists_without_an_htpasswd_file(tmp_path: Path) -> None:
    loaded = LocalUsers(None, None)
    loaded.load()
    loaded.poll(1.0)

    assert loaded.subject("alice") is None
    assert loaded.stand_in("alice") is None


def test_fingerprint_is_of_name_and_hash(tmp_path: Path) -> None:
    first = users(tmp_path, f"alice:{A}\nbob:{A}\n")
    prints = {first.fingerprint("alice"), first.fingerprint("bob")}
    again = users(tmp_path, f"# moved\nbob:{A}:comment\nalice:{B}\n")

    assert len(prints) == 2
    assert again.fingerprint("bob") == first.fingerprint("bob")
    assert again.fingerprint("alice") not in prints
    assert A not in str(prints)


def test_problems_of_both_files_come_in_one_report(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        users(tmp_path, "alice:plain\nbob\n", "staff alice\n")

    assert len(caught.value.problems) == 3


def test_broken_file_at_start_leaves_nobody(tmp_path: Path) -> None:
    write(tmp_path / "users.htpasswd", f"alice:{A}\n")
    loaded = LocalUsers(tmp_path / "users.htpasswd", tmp_path / "missing")

    with pytest.raises(ConfigError):
        loaded.load()

    assert loaded.subject("alice") is None


def test_changed_line_removed_user_and_new_group_take_effect(tmp_path: Path, clock: MovableClock) -> None:
    loaded = users(tmp_path, f"alice:{A}\nbob:{B}\n", "staff: alice\n")
    before = loaded.fingerprint("alice")
    settle(loaded, clock)

    write(tmp_path / "users.htpasswd", f"alice:{B}\n")
    write(tmp_path / "groups", "finance: alice\n")
    settle(loaded, clock)

    assert loaded.find("alice") == B
    assert loaded.fingerprint("alice") != before
    assert loaded.subject("alice") == Subject("", "alice", frozenset({"finance"}))
    assert loaded.subject("bob") is None


def test_stand_in_is_somebody_s_hash_and_always_the_same_one(tmp_path: Path) -> None:
    """Two workers, or one before and after a restart, must not give a missing name two timings."""
    lines = [cheap(str(number)) for number in range(8)]
    content = "".join(f"user{number}:{line}\n" for number, line in enumerate(lines))
    names = [f"nobody{number}" for number in range(64)] + ["", "a/b", "\ud800", "user0"]

    one, two, other = (users(tmp_path, text) for text in (content, content, content + f"x:{A}\n"))
    first, second = [one.stand_in(name) for name in names], [two.stand_in(name) for name in names]

    assert first == second
    assert set(first) <= set(lines)
    # The mix of kinds is that of the file.
    assert len(set(first)) > 4
    # Another file is another key: the choice cannot be computed by somebody who does not know the hashes.
    assert [other.stand_in(name) for name in names] != first


def test_group_file_has_groups_for_people_without_a_line_in_the_htpasswd_file(tmp_path: Path) -> None:
    loaded = users(tmp_path, f"alice:{sha('a')}\n", "staff: alice carla\n")

    assert loaded.groups("alice") == loaded.groups("carla") == frozenset({"staff"})
    assert loaded.groups("dora") == frozenset()
    assert loaded.with_groups(user("carla")) == user("carla", ["staff"])
    assert loaded.with_groups(user("carla", ["directory"])) == user("carla", ["directory"])
    assert loaded.with_groups(user("carla", [])) == user("carla", [])
    write(tmp_path / "groups", "finance: carla\n")
    settle(loaded, MovableClock())
    assert loaded.groups("carla") == frozenset({"finance"})


def test_without_a_group_file_groups_are_unknown(tmp_path: Path) -> None:
    loaded = users(tmp_path, f"alice:{sha('a')}\n")

    assert loaded.groups("alice") is None
    assert loaded.with_groups(user("carla")) == user("carla")
