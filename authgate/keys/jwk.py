"""One JSON Web Key (RFC 7517 section 4): vetted, then made by PyJWT.

PyJWT alone takes RSA keys of 1024 bits, secrets of one byte, keys for encryption, and base64url with anything in it.
"""

import re
from collections.abc import Mapping

from jwt.algorithms import HMACAlgorithm
from jwt.exceptions import InvalidKeyError

from authgate.keys.key import ALGORITHMS, Key, State, prepare
from authgate.keys.strict import decode_base64url, encode_base64url

# What only its owner may know of a key that has a public part (RFC 7518 sections 6.2.2 and 6.3.2, RFC 8037 section 2).
PRIVATE = ("d", "p", "q", "dp", "dq", "qi", "oth")

MIN_RSA, MAX_RSA = 2048, 8192  # bits; RFC 7518 section 3.3; beyond, one signature costs milliseconds
MIN_SECRET, MAX_SECRET = 32, 1024  # bytes; RFC 7518 section 3.2: at least the size of the hash

_MAX_ID = 256
_ID = re.compile(rf"[^\x00-\x1f\x7f\ud800-\udfff]{{1,{_MAX_ID}}}")

_TYPES: Mapping[str, str] = {"ES256": "EC", "HS256": "oct", "RS256": "RSA", "PS256": "RSA", "EdDSA": "OKP"}
_CURVES: Mapping[str, str] = {"ES256": "P-256", "EdDSA": "Ed25519"}
# A curve has one algorithm here; RSA and secrets have several.
_IMPLIED: Mapping[tuple[object, object], str] = {("EC", "P-256"): "ES256", ("OKP", "Ed25519"): "EdDSA"}


def parse_jwk(members: Mapping[str, object], algorithm: str = "") -> Key | str:
    """Return the key, or why it cannot be used.

    Args:
        algorithm: of a key that does not say its own, and the only one that counts; empty: the key's own.
    """
    name = members.get("kid", "")
    if name != "" and (not isinstance(name, str) or _ID.fullmatch(name) is None):
        return f"its kid is not a text of at most {_MAX_ID} characters"
    problem = _use_problem(members)
    if problem:
        return problem
    found, problem = _algorithm(members, algorithm)
    if problem:
        return problem
    parts = _parts(members, found)
    if isinstance(parts, str):
        return parts
    purpose = members.get("purpose", "")
    state = members.get("state", "current") if purpose else "current"
    if not isinstance(purpose, str) or state not in list(State):
        return f"its purpose and state are not those of a key of authgate's; the states are {', '.join(State)}"
    public = {name: value for name, value in parts.items() if name not in PRIVATE}
    material = prepare(found, public)
    if material is None:
        return "its numbers are no key"
    is_secret = parts != public or found == "HS256"
    return Key(str(name), found, purpose, State(str(state)), material, parts if is_secret else None)


def vet_secret(secret: bytes) -> str:
    """Return what is wrong with a secret for HS256; empty: nothing.

    A public key is known to everybody: as a secret it would let everybody sign (RFC 8725 section 2.1).
    """
    if not MIN_SECRET <= len(secret) <= MAX_SECRET:
        return f"a secret has {MIN_SECRET} to {MAX_SECRET:,} bytes"
    try:
        HMACAlgorithm(HMACAlgorithm.SHA256).prepare_key(secret)
    except InvalidKeyError:
        return "a public key, a certificate or a JSON Web Key is no secret"
    return ""


def vet_rsa(modulus: int, exponent: int) -> str:
    """Return what is wrong with the numbers of an RSA key; empty: nothing."""
    if not MIN_RSA <= modulus.bit_length() <= MAX_RSA or modulus % 2 == 0:
        return f"an RSA key has {MIN_RSA:,} to {MAX_RSA:,} bits"
    # FIPS 186-5 section A.1.1 has no smaller one; OpenSSL (OPENSSL_RSA_MAX_PUBEXP_BITS) no larger one for long keys.
    if exponent % 2 == 0 or not 2**16 < exponent < 2**64:
        return "the exponent of an RSA key is odd, and 65,537 or more"
    return ""


def _use_problem(members: Mapping[str, object]) -> str:
    if members.get("use", "sig") != "sig":
        return "its use is not sig"
    operations = members.get("key_ops", ["verify"])
    if not isinstance(operations, list) or not ({"verify", "sign"} & set(filter(_is_text, operations))):
        return "its key_ops have neither verify nor sign"
    return ""


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _algorithm(members: Mapping[str, object], wanted: str) -> tuple[str, str]:
    """Return the key's algorithm, and what is wrong with it."""
    kind, curve = members.get("kty"), members.get("crv")
    if not isinstance(kind, str) or kind not in _TYPES.values():
        return "", "its kty is none of EC, OKP, RSA and oct"
    if curve is not None and not isinstance(curve, str):
        return "", "its crv is not a text"
    found = members.get("alg", _IMPLIED.get((kind, curve), wanted))
    if found == "":
        return "", "it does not say its algorithm (alg), and none is configured"
    if not isinstance(found, str) or found not in ALGORITHMS:
        return "", f"its alg is none of {', '.join(ALGORITHMS)}"
    if wanted not in {"", found}:
        return "", f"it is for {found}, and {wanted} is configured"
    if kind != _TYPES[found] or curve != _CURVES.get(found):
        return "", f"its kty or crv does not fit {found}"
    return found, ""


def _parts(members: Mapping[str, object], algorithm: str) -> dict[str, str] | str:
    """Return the members that make the key, or what is wrong with them."""
    kind = _TYPES[algorithm]
    public: tuple[str, ...] = {"EC": ("x", "y"), "OKP": ("x",), "RSA": ("n", "e"), "oct": ("k",)}[kind]
    private: tuple[str, ...] = {"EC": ("d",), "OKP": ("d",), "RSA": PRIVATE[:-1]}.get(kind, ())
    if "oth" in members:
        return "it has more than two primes"
    given = (*public, *(private if any(name in members for name in private) else ()))
    decoded = {name: decode_base64url(members.get(name)) for name in given}
    for name, value in decoded.items():
        if value is None:
            return f'its "{name}" is missing or not base64url'
        # RFC 7518 section 6.2.1.2: "The length of this octet string MUST be the full size of a coordinate".
        if kind in {"EC", "OKP"} and len(value) != 32:
            return f'its "{name}" has not 32 bytes'
        # RFC 7518 section 2: "MUST utilize the minimum number of octets needed to represent the value".
        if kind == "RSA" and value[0] == 0:
            return f'its "{name}" begins with a zero'
    numbers = {name: value or b"" for name, value in decoded.items()}
    if kind == "RSA":
        problem = vet_rsa(int.from_bytes(numbers["n"]), int.from_bytes(numbers["e"]))
    else:
        problem = vet_secret(numbers["k"]) if kind == "oct" else ""
    if problem:
        return problem
    curve = {"crv": _CURVES[algorithm]} if algorithm in _CURVES else {}
    return {"kty": kind, **curve, **{name: encode_base64url(value) for name, value in numbers.items()}}
