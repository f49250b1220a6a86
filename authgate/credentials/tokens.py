"""Access tokens for programs: ``agt_<id>_<secret>``, as Bearer and as the password of Basic.

Rules of this module:
1. A token is never more than its owner is now: whoever is gone has none, and the groups are those of now.
2. That a secret was right is remembered under a keyed hash of the token; whether the token still exists is asked each
   time, of a record in memory that a revocation removes within 100 ms.
3. An id that nobody has and a secret that is wrong go the same way: brakes, one read of the store, one comparison.
   Who was right before is not braked, and wrong ones are never counted by id alone: nobody can lock an owner out.
"""

import asyncio
import hashlib
import hmac
import logging
import secrets
from collections import OrderedDict
from dataclasses import dataclass, field, replace

from authgate.credentials.brakes import Brakes
from authgate.credentials.people import People
from authgate.credentials.token_record import KIND, LENGTH, PREFIX, Token, decode, digest_of, generate, parse
from authgate.credentials.users import LocalUsers
from authgate.errors import Busy, SiteFunctionFailed, StoreUnavailable, TooManyAttempts
from authgate.model import ANONYMOUS, CredentialKind, Identity, Reason, Subject
from authgate.networks import Address
from authgate.stores import Clock, Record, Store
from authgate.stores.cache import CachedRecords

__all__ = ["BAD", "PREFIX", "Proof", "Tokens"]

BAD = Identity(ANONYMOUS, CredentialKind.TOKEN, Reason.BAD_CREDENTIAL)
EXPIRED = Identity(ANONYMOUS, CredentialKind.TOKEN, Reason.EXPIRED)
REVOKED = Identity(ANONYMOUS, CredentialKind.TOKEN, Reason.REVOKED)
UNKNOWN = Identity(None, CredentialKind.TOKEN, Reason.STORE_UNAVAILABLE)
BRAKED = Identity(None, CredentialKind.TOKEN, Reason.TOO_MANY_ATTEMPTS)
BUSY = Identity(None, CredentialKind.TOKEN, Reason.BUSY)
FAILED = Identity(None, CredentialKind.TOKEN, Reason.HANDLER_ERROR)

# Some 1 KiB each.
REMEMBERED = 10_000
# Seconds between two notes of a token's use in one worker.
NOTED_EVERY = 600.0
# After a note failed: how long, in seconds, none is tried. Else each request would try one while the store is away.
PAUSE = 5.0

_log = logging.getLogger("authgate")
_NO_SESSION = BAD.session


@dataclass(frozen=True, slots=True)
class Proof:
    """A token whose secret was right."""

    id: str
    digest: str = field(repr=False)


class Tokens:
    """Who a token proves, and how far it reaches (`Identity.scope`, a `TokenScope`).

    Args:
        capacity: how many tokens are remembered, the least used forgotten first. Wrong ones are not.
    """

    def __init__(
        self,
        store: Store,
        users: LocalUsers,
        people: People,
        brakes: Brakes,
        clock: Clock,
        capacity: int = REMEMBERED,
    ) -> None:
        self._store = store
        self._users = users
        self._people = people
        self._brakes = brakes
        self._clock = clock
        self._capacity = capacity
        self._records: CachedRecords[Token] = CachedRecords(store, KIND, decode, capacity)
        # Keyed once and then copied, which takes half as long.
        self._hash = hashlib.blake2b(key=secrets.token_bytes(32), digest_size=32)
        self._proofs: OrderedDict[bytes, Proof] = OrderedDict()
        self._proving: dict[tuple[bytes, Address | None], asyncio.Task[Proof | None]] = {}
        self._notes: dict[str, asyncio.Task[None]] = {}
        self._note_after = 0.0
        self._stand_in = _stand_in()

    @property
    def remembered(self) -> int:
        """How many tokens are remembered."""
        return len(self._proofs)

    def peek(self, token: str, address: Address | None) -> Identity | None:
        """Answer from memory; None when the store has to be asked. Needs a running event loop.

        Args:
            address: the client's.
        """
        # Before anything is computed: a client chooses what it sends, and how much.
        if len(token) != LENGTH or not token.isascii():
            return BAD
        proof = self.recall(token)
        if proof is not None:
            return self.now(proof)
        parsed = parse(token)
        if parsed is None:
            return BAD
        return BRAKED if self._brakes.remaining(address, _braked_as(parsed[0])) else None

    async def verify(self, token: str, address: Address | None) -> Identity:
        """Answer from memory or the store; never raises."""
        found = self.peek(token, address)
        if found is not None:
            return found
        try:
            proof = self.recall(token) or await self._prove(token, address)
            return BAD if proof is None else await self._look(proof)
        except TooManyAttempts:
            return BRAKED
        except Busy:
            return BUSY
        except StoreUnavailable:
            return UNKNOWN
        except SiteFunctionFailed:
            return FAILED

    def recall(self, token: str) -> Proof | None:
        """Return the proof that is remembered of a token, which has to be one that `peek` does not find malformed."""
        digest = self._digest(token)
        proof = self._proofs.get(digest)
        if proof is not None:
            self._proofs.move_to_end(digest)
        return proof

    def now(self, proof: Proof) -> Identity | None:
        """Answer for a token that was proved before; None when only `verify` can tell."""
        token = self._records.peek(proof.id)
        return self._identify(token) if token is not None and token.digest == proof.digest else None

    async def run(self) -> None:
        """Follow the store until cancelled."""
        await self._records.run()

    def _identify(self, token: Token) -> Identity | None:
        """Say whose token it is; None when the site has to be asked."""
        now = self._clock()
        if not now < token.expires:
            return EXPIRED
        if token.source:
            return REVOKED
        account = self._users.account(token.name)
        if token.local:
            return self._is_used(token, account.subject, now) if account is not None else REVOKED
        # A line of that name in the htpasswd file is somebody else.
        if account is not None or not self._people.looked_up:
            return REVOKED
        try:
            standing = self._people.peek(token.name)
        except SiteFunctionFailed:
            return FAILED
        return None if standing is None else self._of_the_site(token, standing.subject, now)

    def _of_the_site(self, token: Token, subject: Subject | None, now: float) -> Identity:
        if subject is None or self._users.find(subject.name) is not None:
            return REVOKED
        return self._is_used(token, self._users.with_groups(subject), now)

    def _is_used(self, token: Token, subject: Subject, now: float) -> Identity:
        # The distance, not the age: the clock may have been set back.
        if token.used is None or abs(now - token.used) >= NOTED_EVERY:
            self._note_use(token, now)
        # Not by name: that takes twice as long, and this is on everybody's way.
        return Identity(subject, CredentialKind.TOKEN, None, False, _NO_SESSION, token.scope)

    async def _look(self, proof: Proof) -> Identity:
        """Answer for a token that was proved, after asking whomever it takes."""
        token = await self._records.get(proof.id)
        # It was right once, so that it is no guess.
        if token is None or token.digest != proof.digest:
            return REVOKED
        identity = self._identify(token)
        if identity is not None:
            return identity
        standing = await self._people.verify(token.name)
        # It may have been revoked while the site was asked.
        if await self._records.get(proof.id) is None:
            return REVOKED
        return self._of_the_site(token, standing.subject, self._clock())

    async def _prove(self, token: str, address: Address | None) -> Proof | None:
        """Return the proof of a token, None for a wrong one; equal ones of one client at the same time share it."""
        key = self._digest(token), address
        task = self._proving.get(key)
        if task is None:
            task = self._proving[key] = asyncio.get_running_loop().create_task(self._attempt(token, address))
            task.add_done_callback(lambda ended: self._over(key, ended))
        # One client that goes away must not take the answer from the others.
        return await asyncio.shield(task)

    def _over(self, key: tuple[bytes, Address | None], task: asyncio.Task[Proof | None]) -> None:
        del self._proving[key]
        # Everyone who waited may be gone; asyncio would then report the error as one that nobody looked at.
        if not task.cancelled():
            task.exception()

    async def _attempt(self, token: str, address: Address | None) -> Proof | None:
        parsed = parse(token)
        if parsed is None:
            return None
        name, secret = parsed
        proof = await self._brakes.attempt(address, _braked_as(name), lambda: self._compare(name, secret))
        if proof is not None:
            self._proofs[self._digest(token)] = proof
            if len(self._proofs) > self._capacity:
                self._proofs.popitem(last=False)
        return proof

    async def _compare(self, name: str, secret: str) -> Proof | None:
        # Not from memory, which would answer sooner for an id that exists.
        token = await self._records.read_again(name)
        stored = token or decode(self._stand_in)
        digest = digest_of(secret)
        right = stored is not None and hmac.compare_digest(stored.digest, digest)
        return Proof(name, digest) if right and token is not None else None

    def _digest(self, token: str) -> bytes:
        keyed = self._hash.copy()
        keyed.update(token.encode())
        return keyed.digest()

    def _note_use(self, token: Token, now: float) -> None:
        if token.id in self._notes or 0 < self._note_after - now <= PAUSE:
            return
        # Kept here: the loop itself holds tasks by weak references only.
        note = self._note(replace(token, used=float(now)))
        self._notes[token.id] = task = asyncio.get_running_loop().create_task(note)
        task.add_done_callback(lambda _: self._notes.pop(token.id, None))

    async def _note(self, token: Token) -> None:
        try:
            if await self._store.touch(KIND, token.record()):
                self._records.replace(token.id, token)
            else:
                self._records.drop(token.id)
        except StoreUnavailable as error:
            self._note_after = self._clock() + PAUSE
            _log.warning("the use of tokens cannot be noted: %s", error)


def _braked_as(name: str) -> str:
    # Nobody's user name: a name of the htpasswd file may look like an id.
    return f"{PREFIX}{name}"


def _stand_in() -> Record:
    """Return a token that nobody has, for ids that do not exist."""
    _, name, digest = generate()
    return Token(name, "", "nobody", True, "", ("/**",), (), (), (), True, (), 0.0, 0.0, None, digest).record()
