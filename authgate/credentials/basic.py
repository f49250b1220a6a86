"""``Authorization: Basic`` (RFC 7617), with the result of a verification remembered.

A program sends its password with each request; at 0.2 s a hash, each request would cost that. What is remembered is an
HMAC under a key of this process over name, password and stored hash: nothing in memory gives a password away, and a
changed htpasswd line is another entry, so that no old one has to be found.
"""

import asyncio
import binascii
import hmac
import re
import secrets
from base64 import b64encode
from collections import OrderedDict

from authgate.credentials.passwords import Passwords
from authgate.credentials.users import LocalUsers
from authgate.errors import Busy
from authgate.model import ANONYMOUS, CredentialKind, Identity, Reason

REMEMBERED = 10_000
# A name and a password of 1 KiB each; nginx takes no header line over 8 KiB by default.
MAX_HEADER = 4096

BAD = Identity(ANONYMOUS, CredentialKind.BASIC, Reason.BAD_CREDENTIAL)
BUSY = Identity(None, CredentialKind.BASIC, Reason.BUSY)

# RFC 7617 section 2: "The user-id and password MUST NOT contain any control characters".
_NO_CONTROLS = re.compile(r"[^\x00-\x1f\x7f]*")


def parse(header: str) -> tuple[str, str] | None:
    """Return name and password; None for anything that is not exactly RFC 7617's form with UTF-8 in it."""
    if len(header) > MAX_HEADER or header[:6].lower() != "basic ":
        return None
    encoded = header[6:].strip(" ")
    try:
        octets = binascii.a2b_base64(encoded)
        text = octets.decode()
    except ValueError:  # not base64, not ASCII, not UTF-8
        return None
    # The decoder skips what is not base64; one text has one encoding (RFC 4648 section 3.5).
    if b64encode(octets).decode() != encoded or _NO_CONTROLS.fullmatch(text) is None:
        return None
    # RFC 7617 section 2: "a user-id containing a colon character is invalid", so the first colon ends the name.
    name, colon, password = text.partition(":")
    return (name, password) if name and colon else None


class BasicVerifier:
    """Who a Basic header proves, by the local users.

    Args:
        capacity: how many successes are remembered, the least used forgotten first. Failures are not, else a stream
            of guesses would push out those who are right.
    """

    def __init__(self, users: LocalUsers, passwords: Passwords, capacity: int = REMEMBERED) -> None:
        self._users = users
        self._passwords = passwords
        self._capacity = capacity
        self._key = secrets.token_bytes(32)
        self._verified: OrderedDict[bytes, Identity] = OrderedDict()
        self._running: dict[bytes, asyncio.Task[Identity]] = {}

    def peek(self, header: str) -> Identity | None:
        """Answer without a hash, when the header is malformed or was verified before; None: ask `verify`."""
        parsed = parse(header)
        if parsed is None:
            return BAD
        return self._remembered(parsed[0], self._digest(*parsed))

    async def verify(self, header: str) -> Identity:
        """Answer after at most one hash, which equal headers at the same time share."""
        parsed = parse(header)
        if parsed is None:
            return BAD
        digest = self._digest(*parsed)
        remembered = self._remembered(parsed[0], digest)
        if remembered is not None:
            return remembered
        task = self._running.get(digest)
        if task is None:
            task = asyncio.create_task(self._hash(*parsed, digest))
            self._running[digest] = task
            task.add_done_callback(lambda _: self._running.pop(digest, None))
        # One client that goes away must not take the answer from the others.
        return await asyncio.shield(task)

    async def _hash(self, name: str, password: str, digest: bytes) -> Identity:
        try:
            subject = await self._passwords.verify(name, password)
        except Busy:
            return BUSY
        if subject is None:
            return BAD
        identity = Identity(subject, CredentialKind.BASIC)
        self._verified[digest] = identity
        if len(self._verified) > self._capacity:
            self._verified.popitem(last=False)
        return identity

    def _remembered(self, name: str, digest: bytes) -> Identity | None:
        identity = self._verified.get(digest)
        if identity is None:
            return None
        subject = self._users.subject(name)
        if subject is None:
            return None
        self._verified.move_to_end(digest)
        # The proof is remembered, the groups are those of now.
        return identity if identity.subject is subject else Identity(subject, CredentialKind.BASIC)

    def _digest(self, name: str, password: str) -> bytes:
        # Each part with its length: without, "ab" + "c" and "a" + "bc" were one entry where both have one {SHA} line.
        parts = (name, password, self._users.find(name) or "")
        octets = [part.encode() for part in parts]
        message = b"".join(len(part).to_bytes(4, "big") + part for part in octets)
        return hmac.digest(self._key, message, "sha256")
