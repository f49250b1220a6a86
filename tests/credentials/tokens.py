"""Keys, tokens and issuers for tests."""

import asyncio
import hmac
import json
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key

from authgate.config.sources import IssuerSettings, KeySource
from authgate.credentials.issuers import Issuer
from authgate.credentials.jwt import JwtVerifier
from authgate.credentials.revocations import Revocations
from authgate.stores import Store
from authgate.stores.memory import MemoryStore
from tests.clock import MovableClock

ISSUER = "https://partner.example.com"
AUDIENCE = "files"
SECRET = b"0123456789abcdef0123456789abcdef"


@dataclass(frozen=True)
class Signer:
    """A private key and its id."""

    id: str
    key: EllipticCurvePrivateKey

    @property
    def jwk(self) -> dict[str, object]:
        """The public part."""
        made = jwt.algorithms.ECAlgorithm.to_jwk(self.key.public_key(), as_dict=True)
        return {**made, "kid": self.id, "alg": "ES256", "use": "sig"}

    def sign(self, claims: Mapping[str, object], headers: Mapping[str, object] | None = None) -> str:
        """Return a token."""
        return jwt.encode(
            dict(claims), self.key, "ES256", headers={"kid": self.id} if headers is None else dict(headers)
        )


def signer(name: str) -> Signer:
    """Make a key."""
    return Signer(name, generate_private_key(SECP256R1()))


ONE, OTHER = signer("one"), signer("other")


def key_set(*signers: Signer) -> bytes:
    """Return a JSON Web Key Set."""
    return json.dumps({"keys": [one.jwk for one in signers]}).encode()


def claims(now: float, **more: object) -> dict[str, object]:
    """Return claims that are as they should be; None leaves one out."""
    usual = {"iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "iat": int(now), "exp": int(now) + 600, **more}
    return {name: value for name, value in usual.items() if value is not None}


def part(content: bytes) -> str:
    """Write a part of a token."""
    return urlsafe_b64encode(content).rstrip(b"=").decode()


def by_hand(header: bytes, payload: bytes, secret: bytes = SECRET) -> str:
    """Return a token with any header and payload, signed with a secret."""
    message = f"{part(header)}.{part(payload)}"
    return f"{message}.{part(hmac.digest(secret, message.encode(), 'sha256'))}"


def settings(*keys: KeySource, **more: object) -> IssuerSettings:
    """Return the settings of the usual issuer."""
    usual: dict[str, object] = {
        "place": "authgate.toml: issuers[0]",
        "source": "partner",
        "issuer": ISSUER,
        "audience": AUDIENCE,
        "keys": keys,
        "cookie": "partner_token",
        "bearer": True,
        "leeway": 30.0,
        "max_age": None,
        "user": ("sub",),
        "groups": ("groups",),
        "name": ("name",),
        "email": ("email",),
    }
    return IssuerSettings(**{**usual, **more})  # type: ignore[arg-type] # a test that errs here fails


def source(*, file: Path | None = None, jwks: Path | None = None, url: str = "", algorithm: str = "") -> KeySource:
    """Return where keys are."""
    return KeySource("authgate.toml: issuers[0].keys[0]", file, jwks, url, algorithm, "")


def issuer(folder: Path, clock: MovableClock, content: bytes | None = None, **more: object) -> Issuer:
    """Return an issuer with a key set in a file, its keys read."""
    path = folder / f"{more.get('source', 'partner')}.jwks.json"
    path.touch(mode=0o600)
    path.write_bytes(key_set(ONE) if content is None else content)
    made = Issuer(settings(source(jwks=path), **more), clock)
    made.load()
    return made


@asynccontextmanager
async def verifying(
    issuers: Sequence[Issuer], clock: MovableClock, store: Store | None = None
) -> AsyncIterator[JwtVerifier]:
    """Give a verifier whose revocations have been read and are followed."""
    revocations = Revocations(store or MemoryStore(clock), clock)
    async with followed(revocations):
        yield JwtVerifier(issuers, revocations, clock)


@asynccontextmanager
async def followed(revocations: Revocations) -> AsyncIterator[None]:
    """Follow revocations, from when they have been read."""
    task = asyncio.create_task(revocations.run())
    try:
        async with asyncio.timeout(10):
            await revocations.wait()
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
