import fcntl
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import jwt
import pytest
from click.testing import CliRunner, Result

from authgate.cli.files import replace
from authgate.cli.key import key
from authgate.credentials.keyring import make_key, read_ring
from authgate.keys import ALGORITHMS, COOKIE, LINK, State, parse_key_set
from authgate.keys.ring import Ring, make_id, render
from tests import servers
from tests.cli.test_serve import asked

LONG_AGO = 1_700_000_000.0
CONFIG = """\
node = "n1"
workers = 2
[[sites]]
origin = "http://localhost"
[[issuers]]
source = "shop"
issuer = "https://shop.example.com"
audience = "files"
keys = [{ jwks = "shop.jwks" }]
cookie = "shop"
groups = "groups"
[[rules]]
name = "all"
paths = ["/**"]
allow = ["group:shop/staff"]
"""
DOCUMENT = servers.PACKAGE_ROOT / "docs" / "keys.md"


@dataclass
class Keys:
    """A ring in a folder, and the command run on it."""

    file: Path

    def run(self, command: str, *arguments: str) -> Result:
        result = CliRunner().invoke(key, [command, str(self.file), *arguments])
        assert result.exception is None or isinstance(result.exception, SystemExit)
        return result

    def write(self, *states: State, algorithm: str = "ES256", now: float = LONG_AGO) -> list[str]:
        """Write a ring with keys in these states and return their ids."""
        entries = [make_key(algorithm, COOKIE, state, now + 60 * number) for number, state in enumerate(states)]
        self.file.write_bytes(render(Ring(tuple(entries))))
        self.file.chmod(0o600)
        return [entry.key.id for entry in entries]

    def states(self) -> dict[str, str]:
        return {entry.key.id: entry.key.state.value for entry in read_ring(self.file).entries}

    def members(self) -> list[dict[str, str]]:
        found: list[dict[str, str]] = json.loads(self.file.read_bytes())["keys"]
        return found


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path / "shop.jwks")


# What the commands do


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_new_ring_has_a_key_that_signs_and_the_next_one(keys: Keys, algorithm: str) -> None:
    old = os.umask(0)
    try:
        result = keys.run("new", "--algorithm", algorithm)
    finally:
        os.umask(old)

    first, second = keys.members()
    said = f"made {keys.file}: {first['kid']} signs, {second['kid']} is next\n"
    assert (result.exit_code, result.stdout, result.stderr) == (0, said, "")
    assert [(one["alg"], one["use"], one["purpose"], one["state"]) for one in (first, second)] == [
        (algorithm, "sig", "cookie", "current"),
        (algorithm, "sig", "cookie", "next"),
    ]
    assert keys.file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in keys.file.parent.iterdir()] == ["shop.jwks"]
    # Any library reads it.
    assert {one.key_id for one in jwt.PyJWKSet.from_json(keys.file.read_text()).keys} == {first["kid"], second["kid"]}
    assert all(re.fullmatch(r"20[0-9]{6}T[0-9]{6}-[0-9a-f]{8}", one["kid"]) for one in (first, second))


def test_usual_algorithm_and_purpose(keys: Keys) -> None:
    assert keys.run("new").exit_code == 0
    assert {(one["alg"], one["purpose"]) for one in keys.members()} == {("ES256", "cookie")}


def test_ring_for_links_is_of_the_one_algorithm_they_have(keys: Keys) -> None:
    assert keys.run("new", "--purpose", "link").exit_code == 0
    assert {(one["alg"], one["purpose"]) for one in keys.members()} == {("HS256", "link")}
    keys.file.unlink()
    assert keys.run("new", "--purpose", "link", "--algorithm", "HS256").exit_code == 0
    keys.file.unlink()

    result = keys.run("new", "--purpose", "link", "--algorithm", "ES256")

    said = "authgate: links are signed with HS256, not with ES256\nhint: leave --algorithm out\n"
    assert (result.exit_code, result.stderr) == (2, said)
    assert not keys.file.exists()


def test_ring_for_links_is_rotated_as_others_are(keys: Keys) -> None:
    first, second = (make_key("HS256", LINK, state, LONG_AGO) for state in (State.CURRENT, State.NEXT))
    keys.file.write_bytes(render(Ring((first, second))))
    keys.file.chmod(0o600)

    assert keys.run("rotate").exit_code == 0

    assert [(one["alg"], one["purpose"], one["state"]) for one in keys.members()] == [
        ("HS256", "link", "old"),
        ("HS256", "link", "current"),
        ("HS256", "link", "next"),
    ]


@pytest.mark.parametrize("there", ["ring", "link", "folder"])
def test_new_overwrites_nothing(keys: Keys, there: str) -> None:
    if there == "ring":
        keys.write(State.CURRENT)
    elif there == "link":
        keys.file.symlink_to(keys.file.parent / "elsewhere")
    else:
        keys.file.mkdir()
    before = keys.file.read_bytes() if there == "ring" else b""

    result = keys.run("new")

    assert result.exit_code == 1
    hint = f"hint: for a new key in it: authgate key rotate {keys.file}\n"
    assert result.stderr == f"authgate: {keys.file} is there already\n{hint}"
    assert not (keys.file.parent / "elsewhere").exists()
    assert there != "ring" or keys.file.read_bytes() == before


def test_rotation_moves_each_key_one_state_on(keys: Keys) -> None:
    old, current, following = keys.write(State.OLD, State.CURRENT, State.NEXT)

    result = keys.run("rotate")

    assert result.exit_code == 0
    states = keys.states()
    (fresh,) = states.keys() - {old, current, following}
    assert states == {old: "old", current: "old", following: "current", fresh: "next"}
    assert result.stdout == f"{following} signs, {fresh} is next, {current} is old\n"
    # The ids sort by when the keys were made.
    assert sorted(states) == [old, current, following, fresh]


def test_rotation_keeps_what_else_stands_in_a_key(keys: Keys) -> None:
    keys.write(State.CURRENT, State.NEXT)
    members = [{**one, "x5t": "x", "note": "ours"} for one in keys.members()]
    keys.file.write_text(json.dumps({"keys": members}))

    assert keys.run("rotate").exit_code == 0

    first, second, third = keys.members()
    assert [first, second] == [{**members[0], "state": "old"}, {**members[1], "state": "current"}]
    assert third["alg"] == members[0]["alg"]


def test_next_key_that_was_just_made_does_not_sign_yet(keys: Keys) -> None:
    """A service may not have read it: what it signs would be refused."""
    keys.run("new")
    before = keys.file.read_bytes()

    result = keys.run("rotate")

    assert result.exit_code == 1
    assert "is not known everywhere yet" in result.stderr
    assert "\nhint: rotate again in 10 seconds\n" in result.stderr
    assert keys.file.read_bytes() == before


def test_without_a_next_key_rotation_makes_one_and_the_current_one_goes_on(keys: Keys) -> None:
    (current,) = keys.write(State.CURRENT)

    result = keys.run("rotate")

    (fresh,) = keys.states().keys() - {current}
    assert keys.states() == {current: "current", fresh: "next"}
    assert result.stdout == f"made {fresh}, which is next; {current} still signs\n"


def test_full_ring_is_not_rotated(keys: Keys) -> None:
    keys.write(State.CURRENT, State.NEXT, *[State.OLD] * 98, algorithm="HS256")

    result = keys.run("rotate")

    assert result.exit_code == 1
    assert result.stderr == "authgate: there are 100 keys in it\nhint: authgate key retire FILE ID\n"


def test_retired_key_is_gone(keys: Keys) -> None:
    old, current, following = keys.write(State.OLD, State.CURRENT, State.NEXT)

    assert keys.run("retire", old).stdout == f"retired {old}\n"
    assert keys.run("retire", following).exit_code == 0
    assert keys.states() == {current: "current"}


def test_key_that_signs_is_not_retired(keys: Keys) -> None:
    current, _ = keys.write(State.CURRENT, State.NEXT)
    before = keys.file.read_bytes()

    result = keys.run("retire", current)

    assert result.exit_code == 1
    hint = f"hint: let the next one sign first: authgate key rotate {keys.file}\n"
    assert result.stderr == f'authgate: "{current}" is the key that signs\n{hint}'
    assert keys.file.read_bytes() == before


def test_key_that_is_not_there_is_an_error(keys: Keys) -> None:
    current, _ = keys.write(State.CURRENT, State.NEXT)

    for name in ("", "x", current[:-1], "\x1b[2J", "\udcff"):
        result = keys.run("retire", "--", name)
        assert result.exit_code == 1
        assert result.stderr.startswith("authgate: there is no key ")
        assert "\x1b" not in result.stderr


def test_list(keys: Keys) -> None:
    current, following = keys.write(State.CURRENT, State.NEXT)

    result = keys.run("list")

    header, *rows = [line.split() for line in result.stdout.splitlines()]
    assert header == ["ID", "ALGORITHM", "PURPOSE", "STATE", "CREATED"]
    assert rows == [
        [current, "ES256", "cookie", "current", "2023-11-14T22:13:20Z"],
        [following, "ES256", "cookie", "next", "2023-11-14T22:14:20Z"],
    ]
    assert json.loads(keys.run("list", "--json").stdout) == [
        {
            "id": one,
            "algorithm": "ES256",
            "purpose": "cookie",
            "state": state,
            "created": f"2023-11-14T22:1{minute}:20Z",
        }
        for one, state, minute in ((current, "current", 3), (following, "next", 4))
    ]


@pytest.mark.parametrize("algorithm", ["ES256", "EdDSA", "RS256"])
def test_public_list_has_no_private_part_and_verifies(keys: Keys, algorithm: str) -> None:
    keys.write(State.CURRENT, State.NEXT, State.OLD, algorithm=algorithm)

    public = keys.run("list", "--public").stdout

    assert not {"d", "p", "q", "dp", "dq", "qi"} & {name for one in json.loads(public)["keys"] for name in one}
    found = parse_key_set(public.encode(), "public", "", COOKIE)
    entries = read_ring(keys.file).entries
    assert [one.id for one in found] == [entry.key.id for entry in entries]
    for one, entry in zip(found, entries, strict=True):
        assert one.verifies(b"message", entry.key.sign(b"message"))


def test_secret_has_no_public_list(keys: Keys) -> None:
    keys.write(State.CURRENT, algorithm="HS256")

    result = keys.run("list", "--public")

    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("authgate: a secret for HS256 has no public part\nhint: ")
    assert keys.members()[0]["k"] not in result.output


def test_mode_owner_and_link_of_a_ring_are_kept(keys: Keys) -> None:
    keys.write(State.CURRENT, State.NEXT)
    real = keys.file.rename(keys.file.with_name("real"))
    keys.file.symlink_to(real)
    real.chmod(0o400)
    if os.geteuid() == 0:
        os.chown(real, 12345, 23456)
    before = real.stat()

    assert keys.run("rotate").exit_code == 0

    after = real.stat()
    assert keys.file.is_symlink()
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    assert after.st_ino != before.st_ino


# What they refuse


def changed(**members: object) -> Callable[[list[dict[str, str]]], list[Mapping[str, object]]]:
    def change(ring: list[dict[str, str]]) -> list[Mapping[str, object]]:
        merged = {**ring[0], **members}
        return [{name: value for name, value in merged.items() if value is not None}, *ring[1:]]

    return change


@pytest.mark.parametrize(
    "change",
    [
        changed(state="next"),
        changed(state=None, purpose=None),
        changed(purpose="link"),
        changed(kid=None),
        changed(d=None),
        changed(d="A" * 43),
        changed(alg="ES512"),
        changed(use="enc"),
        lambda ring: ring[1:],
        lambda ring: [],
        lambda ring: [*ring, ring[0]],
        lambda ring: [*ring, {**ring[1], "kid": "x"}],
        lambda ring: [*ring, {**ring[1], "state": "old"}],
        lambda ring: [*ring, 7],
    ],
)
@pytest.mark.parametrize("command", ["list", "rotate", "retire"])
def test_what_is_no_ring_is_refused_and_left_alone(
    keys: Keys, change: Callable[[object], object], command: str
) -> None:
    keys.write(State.CURRENT, State.NEXT)
    members = keys.members()
    keys.file.write_text(json.dumps({"keys": change(members)}))
    before = keys.file.read_bytes()

    result = keys.run(command, *(["x"] if command == "retire" else []))

    assert result.exit_code == 2
    assert result.stderr.startswith("authgate: ")
    assert members[0]["d"] not in result.output
    assert keys.file.read_bytes() == before


@pytest.mark.parametrize("command", ["list", "rotate", "retire"])
def test_file_that_is_not_there_or_open_to_others_is_refused(keys: Keys, command: str) -> None:
    arguments = ["x"] if command == "retire" else []
    assert keys.run(command, *arguments).exit_code == 2

    keys.write(State.CURRENT)
    for mode in (0o640, 0o604, 0o620, 0o610):
        keys.file.chmod(mode)
        result = keys.run(command, *arguments)
        assert result.exit_code == 2
        said = "a secret or private key, open to others than its owner"
        assert result.stderr == f"authgate: {keys.file}: {said}\nhint: chmod 600 {keys.file}\n"

    keys.file.unlink()
    os.mkfifo(keys.file, 0o600)
    assert keys.run(command, *arguments).exit_code == 2


def test_folder_that_is_not_there_is_an_error_and_no_traceback(tmp_path: Path) -> None:
    result = Keys(tmp_path / "nowhere" / "shop.jwks").run("new")

    assert result.exit_code == 1
    assert "No such file or directory" in result.stderr


def test_writer_waits_for_the_lock_of_another(keys: Keys) -> None:
    """A real process, because a lock of one process does not hold that process up."""
    old, _ = keys.write(State.OLD, State.CURRENT)
    folder = os.open(keys.file.parent, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    command = [sys.executable, "-m", "authgate", "key", "retire", str(keys.file), old]
    with subprocess.Popen(command, cwd=servers.PACKAGE_ROOT) as writer:
        # proc(5): the kernel writes "->" before a lock that is waited for.
        servers.eventually(
            lambda: re.search(rf"-> FLOCK .* {writer.pid} ", Path("/proc/locks").read_text()), "it waits"
        )
        assert old in keys.states()
        os.close(folder)
        assert writer.wait(timeout=30) == 0
    assert old not in keys.states()


# On a running service


class Application:
    """A program that signs with the current key of the file all the time, and asks with what it has signed."""

    def __init__(self, folder: Path) -> None:
        self.answers: list[tuple[str, str]] = []
        self._folder = folder
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Application":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.is_set():
            ring = json.loads((self._folder / "shop.jwks").read_bytes())["keys"]
            current = next(one for one in ring if one["state"] == "current")
            self.answers.append((current["kid"], visit(self._folder, token(current, f"n{len(self.answers)}"))))


def token(members: Mapping[str, str], subject: str = "alice") -> str:
    claims = {"iss": "https://shop.example.com", "aud": "files", "exp": 4_000_000_000, "groups": ["staff"]}
    made = jwt.PyJWK(dict(members))
    return jwt.encode({**claims, "sub": subject}, made.key, algorithm=members["alg"], headers={"kid": members["kid"]})


def visit(folder: Path, value: str) -> str:
    """Return why a request with this cookie was decided as it was."""
    return asked(folder / "run" / "check.sock", f"Cookie: shop={value}")["x-authgate-reason"]


def test_rotation_on_a_running_service_refuses_nobody() -> None:
    with servers.open_folder() as folder:
        keys = Keys(folder / "shop.jwks")
        first, second = keys.write(State.CURRENT, State.NEXT)
        (folder / "authgate.toml").write_text(CONFIG)
        with servers.authgate(folder / "authgate.toml") as server, Application(folder) as application:
            by_first = token(keys.members()[0])
            servers.eventually(lambda: application.answers, "it asks", server)
            assert keys.run("rotate").exit_code == 0
            servers.eventually(lambda: application.answers[-1][0] == second, "it signs with the next key", server)
            # As if the next key had been made long ago; the service has not seen this one before.
            fresh = keys.members()[2]["kid"]
            third = make_id(LONG_AGO, "third")
            replace(keys.file, keys.file.read_bytes().replace(fresh.encode(), third.encode()))
            by_third = keys.members()[2]
            servers.eventually(
                lambda: all(visit(folder, token(by_third, f"a{n}")) == "allowed" for n in range(20)), "it is known"
            )
            assert keys.run("rotate").exit_code == 0
            servers.eventually(lambda: application.answers[-1][0] == third, "it signs with the third key", server)
            assert visit(folder, by_first) == "allowed"
            assert keys.run("retire", first).exit_code == 0
            servers.eventually(lambda: visit(folder, by_first) != "allowed", "what the first signed is refused", server)
            assert keys.run("retire", second).exit_code == 0
            count = len(application.answers)
            servers.eventually(lambda: len(application.answers) > count + 50, "it goes on", server)
            text = server.text()

    assert {reason for _, reason in application.answers} == {"allowed"}
    assert "Traceback" not in text
    assert by_first not in text


# The programs of the document


def example(language: str) -> str:
    found = re.findall(rf"^```{language}\n(.*?)^```$", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
    (text,) = (text for text in found if "shop.jwks" in text)
    return str(text)


PROGRAMS = [
    *(("python", sys.executable, algorithm) for algorithm in ALGORITHMS),
    ("js", "node", "ES256"),
    ("php", "php", "EdDSA"),
    ("php", "php", "HS256"),
]


def test_programs_of_the_document_sign() -> None:
    with servers.open_folder() as folder:
        rings = ", ".join(f'{{ jwks = "{algorithm}/shop.jwks" }}' for algorithm in ALGORITHMS)
        (folder / "authgate.toml").write_text(CONFIG.replace('{ jwks = "shop.jwks" }', rings))
        for algorithm in ALGORITHMS:
            (folder / algorithm).mkdir()
            ring = Keys(folder / algorithm / "shop.jwks")
            ring.write(State.OLD, State.CURRENT, State.NEXT, algorithm=algorithm)
        with servers.authgate(folder / "authgate.toml"):
            for language, program, algorithm in PROGRAMS:
                file = folder / f"sign.{language}"
                file.write_text(example(language))
                command = [servers.require(program), str(file)]
                done = subprocess.run(
                    command, cwd=folder / algorithm, capture_output=True, text=True, check=False, timeout=60
                )
                assert (done.returncode, done.stderr) == (0, ""), (language, algorithm, done.stderr)
                answer = asked(folder / "run" / "check.sock", f"Cookie: shop={done.stdout.strip()}")
                assert answer["x-authgate-reason"] == "allowed", (language, algorithm)
                assert (answer["remote-user"], answer["remote-groups"]) == ("shop/alice", "shop/staff")


def test_program_for_python_is_five_lines() -> None:
    lines = [line for line in example("python").splitlines() if line and not line.startswith(("#", "import"))]

    assert len(lines) == 5
