"""JSON Web Tokens (RFC 7519) as ``Authorization: Bearer`` and in cookies.

Rules of this module:
1. The token says whose it is; only that issuer's keys are tried, each for its own algorithm.
2. A verified token is remembered under a keyed hash until it ends, and no longer than its issuer's keys stay as they
   are. Whether it is revoked is asked each time. What fails is not remembered, and costs a few verifications at most.
3. What cannot be known now (keys that could not be fetched, revocations that could not be read) lets nobody in and
   logs nobody out.
"""

import asyncio
import hashlib
import secrets
from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

from authgate.credentials.claims import Claims, read_claims
from authgate.credentials.compact import MAX_TOKEN, Compact, parse_token
from authgate.credentials.issuers import Issuer
from authgate.credentials.revocations import Revocations
from authgate.keys import Key
from authgate.model import ANONYMOUS, NOBODY, CredentialKind, Identity, Reason
from authgate.stores import Clock

BAD = Identity(ANONYMOUS, CredentialKind.JWT, Reason.BAD_CREDENTIAL)
EXPIRED = Identity(ANONYMOUS, CredentialKind.JWT, Reason.EXPIRED)
REVOKED = Identity(ANONYMOUS, CredentialKind.JWT, Reason.REVOKED)
UNKNOWN = Identity(None, CredentialKind.JWT, Reason.STORE_UNAVAILABLE)

# Some 2 KiB each.
REMEMBERED = 10_000
# Seconds that one request waits for keys and revocations; a decision ends within 1.5 s.
PATIENCE = 1.0


class _Proof(NamedTuple):
    """A token whose signature was verified.

    Args:
        keys: the issuer's, at that time.
    """

    issuer: Issuer
    keys: tuple[Key, ...]
    claims: Claims
    identity: Identity


class JwtVerifier:
    """Who a token proves.

    Args:
        capacity: how many tokens are remembered, the least used forgotten first.
    """

    def __init__(
        self, issuers: Sequence[Issuer], revocations: Revocations, clock: Clock, capacity: int = REMEMBERED
    ) -> None:
        self._issuers = {issuer.settings.issuer: issuer for issuer in issuers}
        self._revocations = revocations
        self._clock = clock
        self._capacity = capacity
        self._key = secrets.token_bytes(32)
        self._proofs: OrderedDict[bytes, _Proof] = OrderedDict()

    # Not `__len__`: an object that is false while it is empty passes for one that is not there.
    @property
    def remembered(self) -> int:
        """How many tokens are remembered."""
        return len(self._proofs)

    def peek(self, token: str) -> Identity | None:
        """Answer for a Bearer token at once; None when only `verify` can tell (keys have to be fetched)."""
        return self._look(token, None)

    async def verify(self, token: str) -> Identity:
        """Answer for a Bearer token."""
        return await self._wait(token, None)

    def peek_cookie(self, token: str, issuer: Issuer) -> Identity | None:
        """Answer for what should be one issuer's token at once; None when only `verify_cookie` can tell."""
        return self._look(token, issuer)

    async def verify_cookie(self, token: str, issuer: Issuer) -> Identity:
        """Answer for what should be one issuer's token."""
        return await self._wait(token, issuer)

    def _look(self, token: str, wanted: Issuer | None, *, waited: bool = False) -> Identity | None:
        """Answer from memory, or by verifying with the keys that are there.

        Args:
            wanted: whose it has to be; None: anybody's whose tokens may come as Bearer.
            waited: what had to be waited for was waited for: what is not known now is unknown.
        """
        if len(token) > MAX_TOKEN:
            return BAD
        octets = token.encode(errors="surrogatepass")
        digest = hashlib.blake2b(octets, key=self._key, digest_size=32).digest()
        proof = self._proofs.get(digest)
        if proof is not None and proof.keys is proof.issuer.keys:
            self._proofs.move_to_end(digest)
        else:
            found = self._prove(token, wanted, waited=waited)
            if not isinstance(found, _Proof):
                return found
            proof = found
            self._remember(digest, proof)
        return self._now(proof, waited=waited) if _is_wanted(proof.issuer, wanted) else BAD

    def _now(self, proof: _Proof, *, waited: bool) -> Identity | None:
        claims = proof.claims
        failure = claims.failure(self._clock())
        if failure is not None:
            return EXPIRED if failure is Reason.EXPIRED else BAD
        if not self._revocations.known:
            return UNKNOWN if waited else None
        subject = claims.subject
        revoked = self._revocations.hits(subject.source, subject.name, claims.jti, claims.issued)
        return REVOKED if revoked else proof.identity

    def _prove(self, token: str, wanted: Issuer | None, *, waited: bool) -> _Proof | Identity | None:
        parsed = parse_token(token)
        if parsed is None:
            return BAD
        named = parsed.claims.get("iss")
        issuer = self._issuers.get(named) if isinstance(named, str) else None
        if issuer is None or not _is_wanted(issuer, wanted):
            return BAD
        claims = read_claims(parsed.claims, issuer.settings)
        if claims is None:
            return BAD
        failure = claims.failure(self._clock())
        if failure is Reason.BAD_CREDENTIAL:
            return BAD
        if _is_signed(parsed, issuer):
            identity = Identity(claims.subject, CredentialKind.JWT, second_factor=claims.second_factor)
            return EXPIRED if failure else _Proof(issuer, issuer.keys, claims, identity)
        # Nobody fetches keys for what would be refused with any.
        if failure is None and not waited and issuer.may_learn and _is_of_unknown_key(parsed, issuer):
            return None
        return UNKNOWN if failure is None and issuer.lacks_keys else BAD

    def _remember(self, digest: bytes, proof: _Proof) -> None:
        self._proofs[digest] = proof
        self._proofs.move_to_end(digest)
        if len(self._proofs) > self._capacity:
            self._proofs.popitem(last=False)

    async def _wait(self, token: str, wanted: Issuer | None) -> Identity:
        found = self._look(token, wanted)
        if found is not None:
            return found
        parsed = parse_token(token)
        issuer = self._issuers.get(str(parsed.claims.get("iss"))) if parsed else None
        try:
            async with asyncio.timeout(PATIENCE):
                if issuer and parsed and not _is_signed(parsed, issuer):
                    await issuer.learn()
                await self._revocations.wait()
        except TimeoutError:
            pass
        return self._look(token, wanted, waited=True) or UNKNOWN


class JwtCookie:
    """One issuer's token in a cookie: what proves nothing is absent, only a revoked one is bad."""

    def __init__(self, verifier: JwtVerifier, issuer: Issuer) -> None:
        self._verifier = verifier
        self._issuer = issuer

    @property
    def name(self) -> str:
        """The cookie's name."""
        return self._issuer.settings.cookie

    def peek(self, value: str) -> Identity | None:
        """Answer at once; None when only `verify` can tell."""
        found = self._verifier.peek_cookie(value, self._issuer)
        return None if found is None else _of_a_cookie(found)

    async def verify(self, value: str) -> Identity:
        """Answer."""
        return _of_a_cookie(await self._verifier.verify_cookie(value, self._issuer))


def _of_a_cookie(identity: Identity) -> Identity:
    # Browsers send it long after it means anything.
    return NOBODY if identity.failure in {Reason.BAD_CREDENTIAL, Reason.EXPIRED} else identity


def _is_wanted(issuer: Issuer, wanted: Issuer | None) -> bool:
    return issuer.settings.bearer if wanted is None else issuer is wanted


def _is_signed(token: Compact, issuer: Issuer) -> bool:
    return any(key.verifies(token.message, token.signature) for key in issuer.candidates(token.algorithm, token.kid))


def _is_of_unknown_key(token: Compact, issuer: Issuer) -> bool:
    # Without an id no key is unknown, unless there is none; else each wrong signature caused a fetch.
    return issuer.lacks_keys or not issuer.candidates(token.algorithm, token.kid)
