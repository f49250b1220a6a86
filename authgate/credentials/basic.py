"""``Authorization: Basic`` (RFC 7617), with the result of a verification remembered.

A program sends its password with each request; at 0.2 s a hash, each request would cost that. What is remembered is an
HMAC under a key of this process over name, password and stored hash: nothing in memory gives a password away, and a
changed htpasswd line is another entry, so that no old one has to be found. What the site's ``verify`` said is good for
five minutes.

A password that begins as an access token does is one, whatever the name beside it: programs that know only Basic send
tokens so, and no part of a token may ever get to a hash or to the site's ``verify``.
"""

import asyncio
import binascii
import hashlib
import hmac
import re
import secrets
from base64 import b64encode
from collections import OrderedDict
from typing import NamedTuple

from authgate.credentials.logins import Logins
from authgate.credentials.tokens import BAD as BAD_TOKEN
from authgate.credentials.tokens import PREFIX, Proof, Tokens
from authgate.credentials.users import LocalUsers
from authgate.errors import Busy, SiteFunctionFailed, StoreUnavailable, TooManyAttempts
from authgate.model import ANONYMOUS, CredentialKind, Identity, Reason, Subject
from authgate.networks import Address
from authgate.stores import Clock

REMEMBERED = 10_000
# Seconds for which an answer of the site's `verify` counts.
FRESH = 300.0
# A name and a password of 1 KiB each; nginx takes no header line over 8 KiB by default.
MAX_HEADER = 4096

BAD = Identity(ANONYMOUS, CredentialKind.BASIC, Reason.BAD_CREDENTIAL)
BUSY = Identity(None, CredentialKind.BASIC, Reason.BUSY)
BRAKED = Identity(None, CredentialKind.BASIC, Reason.TOO_MANY_ATTEMPTS)
FAILED = Identity(None, CredentialKind.BASIC, Reason.HANDLER_ERROR)
UNKNOWN = Identity(None, CredentialKind.BASIC, Reason.STORE_UNAVAILABLE)

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


class _Proof(NamedTuple):
    """A verification that is remembered.

    Args:
        identity: as it was verified.
        at: when, if by the site's ``verify``; None if by the htpasswd line, which is good as long as the line is.
    """

    identity: Identity
    at: float | None


class _Read(NamedTuple):
    """A header whose name and password were right.

    Args:
        line: the name's htpasswd line then; empty when it had none.
        digest: under which the proof is remembered.
    """

    name: str
    line: str
    digest: bytes


class BasicVerifier:
    """Who a Basic header proves, by the htpasswd file or the site's ``verify``, or by an access token in it.

    Args:
        capacity: how many successes are remembered, the least used forgotten first. Failures are not, else a stream
            of guesses would push out those who are right.
        tokens: None: an access token proves nothing here.
    """

    def __init__(
        self,
        users: LocalUsers,
        logins: Logins,
        clock: Clock,
        capacity: int = REMEMBERED,
        tokens: Tokens | None = None,
    ) -> None:
        self._users = users
        self._logins = logins
        self._clock = clock
        self._capacity = capacity
        self._tokens = tokens
        self._key = secrets.token_bytes(32)
        # Keyed once and then copied, which takes half as long.
        self._hash = hashlib.blake2b(key=self._key, digest_size=32)
        self._verified: OrderedDict[bytes, _Proof] = OrderedDict()
        self._read: dict[bytes, _Read] = {}
        self._proofs: dict[bytes, Proof] = {}
        self._running: dict[tuple[bytes, Address | None], asyncio.Task[Identity]] = {}

    def peek(self, header: str, address: Address | None) -> Identity | None:
        """Answer without a verification: the header is malformed, was verified before, or its client has to wait.

        Returns:
            None: ask `verify`.
        """
        if len(header) > MAX_HEADER:
            return BAD
        # Reading a header and hashing its parts costs as much as a decision; a program sends the same one each time.
        keyed = self._hash.copy()
        keyed.update(header.encode(errors="surrogatepass"))
        short = keyed.digest()
        read = self._read.get(short)
        if read is None and self._tokens is not None:
            proof = self._proofs.get(short)
            if proof is not None:
                return self._tokens.now(proof)
        if read is None or read.line != (self._users.find(read.name) or ""):
            parsed = parse(header)
            if parsed is None:
                return BAD
            if parsed[1].startswith(PREFIX):
                return self._peek_token(parsed[1], address, short)
            read = _Read(parsed[0], self._users.find(parsed[0]) or "", self._digest(*parsed))
        remembered = self._remembered(read.name, read.digest)
        if remembered is None:
            return BRAKED if self._logins.wait(read.name, address) else None
        self._read[short] = read
        if len(self._read) > self._capacity:
            del self._read[next(iter(self._read))]
        return remembered

    async def verify(self, header: str, address: Address | None) -> Identity:
        """Answer after at most one verification, which equal headers of one client at the same time share."""
        parsed = parse(header)
        if parsed is None:
            return BAD
        if parsed[1].startswith(PREFIX):
            return await self._tokens.verify(parsed[1], address) if self._tokens else BAD_TOKEN
        digest = self._digest(*parsed)
        remembered = self._remembered(parsed[0], digest)
        if remembered is not None:
            return remembered
        # By client: one that has to wait must not take the answer from one that need not.
        task = self._running.get((digest, address))
        if task is None:
            task = asyncio.create_task(self._verify(*parsed, address, digest))
            self._running[digest, address] = task
            task.add_done_callback(lambda _: self._running.pop((digest, address), None))
        # One client that goes away must not take the answer from the others; and a decision ends before a slow
        # verification does, whose outcome the next request then finds.
        return await asyncio.shield(task)

    def _peek_token(self, token: str, address: Address | None, short: bytes) -> Identity | None:
        if self._tokens is None:
            return BAD_TOKEN
        identity = self._tokens.peek(token, address)
        proof = None if identity is BAD_TOKEN else self._tokens.recall(token)
        if proof is not None:
            self._proofs[short] = proof
            if len(self._proofs) > self._capacity:
                del self._proofs[next(iter(self._proofs))]
        return identity

    async def _verify(self, name: str, password: str, address: Address | None, digest: bytes) -> Identity:
        begun = self._clock()
        try:
            subject = await self._logins.verify(name, password, address)
        except Busy:
            return BUSY
        except TooManyAttempts:
            return BRAKED
        except SiteFunctionFailed:
            return FAILED
        except StoreUnavailable:
            return UNKNOWN
        if subject is None:
            return BAD
        identity = Identity(subject, CredentialKind.BASIC)
        # `verify` looked at the files last, so the name has a line exactly if it was proved by one.
        self._verified[digest] = _Proof(identity, None if self._users.find(name) is not None else begun)
        if len(self._verified) > self._capacity:
            self._verified.popitem(last=False)
        return identity._replace(subject=self._users.with_groups(subject))

    def _remembered(self, name: str, digest: bytes) -> Identity | None:
        proof = self._verified.get(digest)
        if proof is None:
            return None
        subject = self._users.subject(name) if proof.at is None else self._of_the_site(proof.identity.subject, proof.at)
        if subject is None:
            return None
        self._verified.move_to_end(digest)
        # The proof is remembered, the groups are those of now.
        return proof.identity if proof.identity.subject is subject else Identity(subject, CredentialKind.BASIC)

    def _of_the_site(self, subject: Subject | None, at: float) -> Subject | None:
        if subject is None or not 0 <= self._clock() - at < FRESH or self._users.find(subject.name) is not None:
            return None
        return self._users.with_groups(subject)

    def _digest(self, name: str, password: str) -> bytes:
        # Each part with its length: without, "ab" + "c" and "a" + "bc" were one entry where both have one {SHA} line.
        parts = (name, password, self._users.find(name) or "")
        octets = [part.encode() for part in parts]
        message = b"".join(len(part).to_bytes(4, "big") + part for part in octets)
        return hmac.digest(self._key, message, "sha256")
