"""Verify a name and a password against the local users.

The work is bounded, in time and in number, and the same for a name that does not exist as for a wrong password.
"""

import asyncio
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from threading import BoundedSemaphore

import argon2
from argon2.profiles import RFC_9106_LOW_MEMORY

from authgate.credentials import hashes
from authgate.credentials.users import LocalUsers
from authgate.errors import Busy
from authgate.model import Subject

# How far the threads that hash stand back behind the one that answers requests, and behind nginx (nice(1)).
NICENESS = 5

RUNNING = 2  # hashes at a time in one worker: each takes a core and, for argon2id, 64 MiB
WAITING = 16

# A password is hashed whole: without a bound, one request of many MiB would cost as much as thousands of logins.
# NUL is the end of a string for crypt(3) and bcrypt, so that "secret\0anything" would pass for "secret".
MAX_PASSWORD = 1024

# What is verified when nobody exists yet: RFC 9106's low-memory profile, made from random bytes that were forgotten.
_NOBODY = "$argon2id$v=19$m=65536,t=3,p=4$+Luzp2IIuzczg8TPmvHi+w$AMDPf7Jo/0EZQdLsPJShDWEXkEt59MNyAZvEhFHjFig"


def hash_password(password: str, parameters: argon2.Parameters = RFC_9106_LOW_MEMORY) -> str:
    """Make a new htpasswd hash: argon2id with the "SECOND RECOMMENDED option" of RFC 9106 section 4.

    Args:
        password: one that `is_acceptable`.
        parameters: cheaper ones for tests.
    """
    return argon2.PasswordHasher.from_parameters(parameters).hash(password)


def is_acceptable(password: str) -> bool:
    """Tell whether a password may be hashed at all: UTF-8, at most 1 KiB, no NUL."""
    return _octets(password) is not None


class Passwords:
    """Verifies passwords in two threads of its own; who comes when 16 wait already is told so at once.

    Args:
        verify: tells whether a hash was made from a password.
    """

    def __init__(self, users: LocalUsers, verify: Callable[[str, bytes], bool] = hashes.verify) -> None:
        self._users = users
        self._verify = verify
        self._pool = ThreadPoolExecutor(RUNNING, thread_name_prefix="authgate-password", initializer=_stand_back)
        self._places = BoundedSemaphore(RUNNING + WAITING)

    async def verify(self, name: str, password: str) -> Subject | None:
        """Return the subject whose name and password these are; None, after the same work, for anything else.

        Raises:
            Busy: as many passwords as may wait are waiting.
        """
        octets = _octets(password)
        if octets is None:
            return None
        line = self._users.find(name)
        # The time an answer takes must not tell which names exist. A name that does not exist is verified against
        # the line of somebody who does, so that it costs what that kind of hash costs, and the result is dropped.
        stand_in = self._users.stand_in(name) or _NOBODY
        matches = await asyncio.wrap_future(self._submit(line or stand_in, octets))
        # The line may have been replaced or removed while it was hashed.
        if line is None or not matches or self._users.find(name) != line:
            return None
        return self._users.subject(name)

    def close(self) -> None:
        """Drop what waits; let the threads end."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _submit(self, line: str, password: bytes) -> Future[bool]:
        if not self._places.acquire(blocking=False):
            raise Busy(f"{RUNNING + WAITING} passwords are being verified")
        future = self._pool.submit(self._verify, line, password)
        # Not when the waiting request ends: a client that went away leaves its hash running in the thread.
        future.add_done_callback(lambda _: self._places.release())
        return future


def _stand_back() -> None:
    # Linux counts niceness by thread, though POSIX says by process (setpriority(2)); elsewhere it is refused.
    with suppress(OSError):
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + NICENESS)


def _octets(password: str) -> bytes | None:
    if len(password) > MAX_PASSWORD or "\0" in password:
        return None
    try:
        octets = password.encode()
    except UnicodeEncodeError:  # a lone surrogate
        return None
    return octets if len(octets) <= MAX_PASSWORD else None
