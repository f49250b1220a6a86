"""One key in a file: a secret in a line, or a public key in PEM (RFC 7468)."""

import re
from collections.abc import Mapping

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from authgate.errors import ConfigError, Problem
from authgate.keys.jwk import vet_rsa, vet_secret
from authgate.keys.key import Key, State
from authgate.keys.strict import encode_base64url

_LABEL = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----")
# RFC 7468 section 13. Text around it is allowed there; a second key would be one that nobody sees.
_PUBLIC = re.compile(rb"-----BEGIN PUBLIC KEY-----\r?\n[A-Za-z0-9+/=\r\n]{1,4096}-----END PUBLIC KEY-----\s*")
# One line, as every language reads it from a file in the same way.
_SECRET = re.compile(rb"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")

_OTHER_LABELS: Mapping[bytes, tuple[str, str]] = {
    b"CERTIFICATE": ("a certificate is no key", "take its key: openssl x509 -in FILE -noout -pubkey"),
    b"RSA PUBLIC KEY": ("a public key in an old form", "openssl rsa -RSAPublicKey_in -in FILE -pubout"),
}
_PRIVATE_LABEL = ("a private key, of which only the public part is needed", "openssl pkey -in FILE -pubout")


def parse_key_file(content: bytes, place: str, algorithm: str, kid: str) -> Key:
    """Return the key in a file: a secret for HS256, else a public key in PEM.

    A private key is refused: to verify, nobody needs it, and where it is not, nobody can take it.

    Raises:
        ConfigError: it is none, or too weak.
    """
    if algorithm == "HS256":
        secret = _secret(content, place)
        members = {"kty": "oct", "k": encode_base64url(secret)}
        return Key(kid, algorithm, "", State.CURRENT, secret, members)
    return Key(kid, algorithm, "", State.CURRENT, _public_key(content, place, algorithm))


def _secret(content: bytes, place: str) -> bytes:
    hint = f"make one: openssl rand -hex 32 > {place}"
    if _LABEL.search(content):
        raise ConfigError([Problem(place, "a PEM file is no secret for HS256", hint)])
    secret = content.removesuffix(b"\n")
    if _SECRET.fullmatch(secret) is None:
        what = "a secret is one line of printable ASCII characters, without spaces around it"
        raise ConfigError([Problem(place, what, 'write any other bytes as a JSON Web Key, "kty": "oct"')])
    problem = vet_secret(secret)
    if problem:
        raise ConfigError([Problem(place, problem, hint)])
    return secret


def _public_key(content: bytes, place: str, algorithm: str) -> object:
    labels = _LABEL.findall(content)
    if labels and labels[0] != b"PUBLIC KEY":
        what, hint = _PRIVATE_LABEL if labels[0].endswith(b"PRIVATE KEY") else _OTHER_LABELS.get(labels[0], ("", ""))
        raise ConfigError([Problem(place, what or "not a public key", hint)])
    if len(labels) > 1:
        raise ConfigError([Problem(place, "more than one key", "write each into a file of its own")])
    block = content[content.find(b"-----BEGIN") :]
    if not labels or _PUBLIC.fullmatch(block) is None:
        raise ConfigError([Problem(place, "no public key in PEM", "it begins with -----BEGIN PUBLIC KEY-----")])
    try:
        key = load_pem_public_key(block)
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigError([Problem(place, "a public key that cannot be read")]) from None
    if isinstance(key, RSAPublicKey) and algorithm in {"RS256", "PS256"}:
        numbers = key.public_numbers()
        problem = vet_rsa(numbers.n, numbers.e)
        if problem:
            raise ConfigError([Problem(place, problem)])
        return key
    if algorithm == "ES256" and isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1):
        return key
    if algorithm == "EdDSA" and isinstance(key, Ed25519PublicKey):
        return key
    raise ConfigError([Problem(place, f"not a key for {algorithm}")])
