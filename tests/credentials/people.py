"""Users with hashes that cost next to nothing."""

import hashlib
from base64 import b64encode
from pathlib import Path

from argon2 import Parameters, Type

from authgate.credentials.brakes import Brakes
from authgate.credentials.directory import Directory
from authgate.credentials.logins import Logins
from authgate.credentials.passwords import Passwords, hash_password
from authgate.credentials.users import LocalUsers
from authgate.model import Site
from authgate.networks import Address, parse_address
from authgate.stores import Counters
from authgate.stores.memory import MemoryStore
from tests.clock import MovableClock

CHEAP = Parameters(type=Type.ID, version=19, salt_len=16, hash_len=16, time_cost=1, memory_cost=8, parallelism=1)
SITE = Site("https", "files.example.com")


def address(text: str) -> Address:
    """Return an address that is one."""
    found = parse_address(text)
    assert found
    return found


HOME = address("192.0.2.7")


def logins(
    loaded: LocalUsers,
    passwords: Passwords,
    clock: MovableClock | None = None,
    directory: Directory | None = None,
    counters: Counters | None = None,
) -> Logins:
    """Make what a login goes through; brakes count in memory unless told where."""
    clock = clock or MovableClock()
    return Logins(loaded, passwords, directory or Directory(), Brakes(counters or MemoryStore(clock), clock))


def cheap(password: str) -> str:
    """Make an argon2id hash that is fast and therefore worthless."""
    return hash_password(password, CHEAP)


def sha(password: str) -> str:
    """Make the hash of htpasswd -s: without salt, the same each time."""
    return "{SHA}" + b64encode(hashlib.sha1(password.encode()).digest()).decode()


def write(path: Path, content: str | bytes) -> None:
    """Put a new file in place at once, as `authgate user` does."""
    temporary = path.with_name(path.name + ".new")
    temporary.write_bytes(content if isinstance(content, bytes) else content.encode())
    temporary.replace(path)


def users(folder: Path, htpasswd: str, groups: str | None = None) -> LocalUsers:
    """Load users from files in a folder; `groups` None: no group file is configured."""
    write(folder / "users.htpasswd", htpasswd)
    if groups is not None:
        write(folder / "groups", groups)
    loaded = LocalUsers(folder / "users.htpasswd", None if groups is None else folder / "groups")
    loaded.load()
    return loaded


def settle(watched: LocalUsers, clock: MovableClock, seconds: float = 1.5) -> None:
    """Poll four times a second, as a worker does, until so many seconds have passed."""
    for _ in range(int(seconds * 4)):
        watched.poll(clock())
        clock.advance(0.25)
    watched.poll(clock())
