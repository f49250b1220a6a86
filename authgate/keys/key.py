"""One key and what it does."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt.algorithms import Algorithm, get_default_algorithms
from jwt.exceptions import InvalidKeyError

from authgate.errors import ConfigError, Problem

# RFC 7518 section 3.1; EdDSA: RFC 8037 section 3.1.
ALGORITHMS = ("ES256", "HS256", "RS256", "PS256", "EdDSA")

# Purpose of the keys that sign what applications put into cookies, or send as Bearer.
COOKIE = "cookie"

# Purpose of the keys that sign links. A key has one purpose, so that none of these is ever taken for the other.
LINK = "link"

# Bytes of a signature; those of RSA depend on the key (RFC 7518 sections 3.2 and 3.4, RFC 8032 section 5.1.6).
_SIZES: Mapping[str, int] = {"HS256": 32, "ES256": 64, "EdDSA": 64}
_WORKING: Mapping[str, Algorithm] = {
    name: algorithm for name, algorithm in get_default_algorithms().items() if name in ALGORITHMS
}


class State(StrEnum):
    """What a key is used for now: `next` verifies already, `current` signs, `old` still verifies."""

    NEXT = "next"
    CURRENT = "current"
    OLD = "old"


@dataclass(frozen=True, slots=True)
class Key:
    """One key: one algorithm, one purpose.

    Args:
        id: ``kid`` (RFC 7515 section 4.1.4); empty when it has none.
        algorithm: one of `ALGORITHMS`.
        purpose: what it may be used for, ``cookie`` for instance; empty: another's key, for tokens of an issuer.
        material: what verifies, as `jwt.algorithms` prepares it.
        private: the members of the whole key as a JSON Web Key, when it can sign; None: it is a public key.
    """

    id: str
    algorithm: str
    purpose: str
    state: State
    material: object = field(repr=False)
    private: Mapping[str, str] | None = field(repr=False, compare=False, default=None)

    @property
    def is_secret(self) -> bool:
        """True when whoever reads it can sign: it belongs into no file that others may read."""
        return self.private is not None

    def verifies(self, message: bytes, signature: bytes) -> bool:
        """Tell whether the signature is this key's; never raises."""
        material = self.material
        size = (material.key_size + 7) // 8 if isinstance(material, RSAPublicKey) else _SIZES[self.algorithm]
        return len(signature) == size and _WORKING[self.algorithm].verify(message, material, signature)

    def sign(self, message: bytes) -> bytes:
        """Return the signature.

        Raises:
            ConfigError: as `signer` does.
        """
        return _WORKING[self.algorithm].sign(message, self.signer())

    def signer(self) -> object:
        """Return what signs, as `jwt.encode` takes it.

        Not made before it is asked for: OpenSSL looks for a tenth of a second whether the primes of RSA are some, and
        those who verify need none.

        Raises:
            ConfigError: the key is a public one, or its private part is another key's.
        """
        made = None if self.private is None else prepare(self.algorithm, self.private)
        if made is None:
            raise ConfigError([Problem("", f'the key "{self.id}" cannot sign: it has no private part, or another one')])
        return made


def prepare(algorithm: str, members: Mapping[str, str]) -> object:
    """Return a key as PyJWT's algorithm takes it; None when its numbers are none.

    Args:
        members: of a JSON Web Key, vetted.
    """
    try:
        return _WORKING[algorithm].from_jwk(dict(members))
    except (InvalidKeyError, UnsupportedAlgorithm, ValueError):
        # Among them: a point that is not on its curve, a private part that is another key's.
        return None
