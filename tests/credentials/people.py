"""Users with hashes that cost next to nothing."""

import hashlib
from base64 import b64encode
from pathlib import Path

from argon2 import Parameters, Type

from authgate.credentials.passwords import hash_password
from authgate.credentials.users import LocalUsers
from authgate.model import Site
from tests.clock import MovableClock

CHEAP = Parameters(type=Type.ID, version=19, salt_len=16, hash_len=16, time_cost=1, memory_cost=8, parallelism=1)
SITE = Site("https", "files.example.com")


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
