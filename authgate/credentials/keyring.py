"""Keys in files: those of issuers, and authgate's own rings. Secret ones only where nobody but their owner may read."""

import logging
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import OKPAlgorithm, RSAAlgorithm

from authgate.config.secrets import require_private
from authgate.config.sources import KeySource
from authgate.errors import ConfigError, Problem
from authgate.keys import COOKIE, Key, State, parse_key_file, read_key_set
from authgate.keys.jwk import parse_jwk
from authgate.keys.ring import Entry, Ring, make_id, parse_ring
from authgate.keys.sets import MAX_BYTES
from authgate.keys.strict import encode_base64url

_log = logging.getLogger("authgate")

_WHAT = "a secret or private key"

# NIST SP 800-57 part 1: 128 bits of strength, as the other algorithms have.
_RSA_BITS = 3072


def parse_source(source: KeySource, content: bytes, name: str) -> tuple[Key, ...]:
    """Return the keys in a file of an issuer.

    Args:
        content: of `source.file` or `source.jwks`.
        name: the file's.

    Raises:
        ConfigError: they cannot be used; or one is a secret, and the file is open to others.
    """
    if source.file is not None:
        keys: tuple[Key, ...] = (parse_key_file(content, name, source.algorithm, source.id),)
    else:
        found = read_key_set(content, name, source.algorithm, COOKIE, secret=True)
        if not found.keys:
            raise ConfigError(found.left_out or [Problem(name, "there is no key in it")])
        for problem in found.left_out:
            _log.warning("%s", problem)
        keys = found.keys
    if any(key.is_secret for key in keys):
        require_private(Path(name), _WHAT)
    return keys


def read_source(source: KeySource) -> tuple[Key, ...]:
    """Return the keys in a file of an issuer; none for one whose keys are fetched.

    Raises:
        ConfigError: it cannot be read, or what `parse_source` says.
    """
    path = source.file or source.jwks
    return () if path is None else parse_source(source, _read(path), str(path))


def read_ring(path: Path) -> Ring:
    """Return one of authgate's own rings.

    Raises:
        ConfigError: it cannot be read, is open to others, or is none.
    """
    ring = parse_own(_read(path), str(path))
    for entry in ring.entries:
        entry.key.signer()
    return ring


def parse_own(content: bytes, name: str) -> Ring:
    """Return one of authgate's own rings.

    Args:
        content: of the file.
        name: the file's.

    Raises:
        ConfigError: the file is open to others, or it is none.
    """
    require_private(Path(name), _WHAT)
    return parse_ring(content, name)


def make_key(algorithm: str, purpose: str, state: State, now: float) -> Entry:
    """Return a new key.

    Raises:
        ConfigError: the machine made none that can be used.
    """
    members = {
        "kid": make_id(now, secrets.token_hex(4)),
        "alg": algorithm,
        "use": "sig",
        "purpose": purpose,
        "state": state.value,
        **_generate(algorithm),
    }
    key = parse_jwk(members)
    if isinstance(key, str):
        raise ConfigError([Problem("", f"a new key for {algorithm} cannot be used: {key}")])
    return Entry(key, members)


def _generate(algorithm: str) -> Mapping[str, object]:
    if algorithm == "HS256":
        return {"kty": "oct", "k": encode_base64url(secrets.token_bytes(32))}
    if algorithm == "EdDSA":
        return OKPAlgorithm.to_jwk(ed25519.Ed25519PrivateKey.generate(), as_dict=True)
    if algorithm == "ES256":
        numbers = ec.generate_private_key(ec.SECP256R1()).private_numbers()
        coordinates = {"x": numbers.public_numbers.x, "y": numbers.public_numbers.y, "d": numbers.private_value}
        # Not PyJWT's to_jwk: versions of it leave out a zero at the beginning, which RFC 7518 section 6.2.1.2 forbids.
        return {"kty": "EC", "crv": "P-256"} | {
            name: encode_base64url(value.to_bytes(32)) for name, value in coordinates.items()
        }
    made = RSAAlgorithm.to_jwk(rsa.generate_private_key(65537, _RSA_BITS), as_dict=True)
    # "sign" would be wrong for the public part, and "use" says it already.
    return {name: value for name, value in made.items() if name != "key_ops"}


def _read(path: Path) -> bytes:
    try:
        # Not blocking: a FIFO in the file's place must not stop a command.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError([Problem(str(path), f"cannot be read: {error.strerror}")]) from error
