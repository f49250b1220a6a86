"""The compact form of a signed token (RFC 7515 section 7.1), read strictly; text to value, nothing is verified here.

Rules of this module:
1. One text, one meaning. What two readers could read differently is refused: members that stand twice, UTF-16, stray
   bits at the end of base64url, numbers that are none.
2. Every size is bounded before work is done on it.
3. A header chooses among our own keys, by `kid`, and nothing else: a key, or the address of one, that a token brings
   (``jwk``, ``jku``, ``x5u``, ``x5c``) is never looked at (RFC 8725 section 3.10).
"""

import math
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from authgate.keys.strict import decode_base64url, parse_json

# nginx takes no header line over 8 KiB by default.
MAX_TOKEN = 8192
MAX_KID = 256
MAX_DEPTH = 32

_COMPACT = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")
# RFC 7519 section 5.1, RFC 9068 section 2.1; "application/" may be left out (RFC 7515 section 4.1.9).
_TYPES = frozenset({"jwt", "at+jwt", "application/jwt", "application/at+jwt"})
# crit: RFC 7515 section 4.1.11; no extension is understood. b64: RFC 7797 changes what is signed. zip: of JWE only.
_REFUSED = ("crit", "b64", "zip")
# The whole header of what authgate itself signs.
_OWN = frozenset({"alg", "kid", "typ"})


class Compact(NamedTuple):
    """A token that has the right form.

    Args:
        algorithm: as the header says; it counts only as far as a key has the same.
        kid: None: the header has none.
        message: what is signed.
    """

    algorithm: str
    kid: str | None
    claims: Mapping[str, object]
    message: bytes
    signature: bytes


class _Header(NamedTuple):
    algorithm: str
    kid: str | None


def parse_token(token: str, own: str = "") -> Compact | None:
    """Return the parts of a token; None for anything that is not exactly one.

    Args:
        own: the ``typ`` of what authgate itself signs, whose header has nothing but that, ``alg`` and ``kid``; empty:
            a JWT. Neither is ever taken for the other (RFC 8725 section 3.11).
    """
    if len(token) > MAX_TOKEN:
        return None
    found = _COMPACT.fullmatch(token)
    if found is None:
        return None
    signature = decode_base64url(found[3])
    if signature is None:
        return None
    try:
        header = _parse_header(found[1], own)
        claims = _parse_object(found[2])
    except ValueError:
        return None
    return Compact(header.algorithm, header.kid, claims, token[: found.end(2)].encode(), signature)


# An issuer's tokens have few headers. What fails is not kept.
@lru_cache(maxsize=256)
def _parse_header(encoded: str, own: str) -> _Header:
    members = _parse_object(encoded)
    algorithm, kid, kind = members.get("alg"), members.get("kid"), members.get("typ", "JWT")
    if any(name in members for name in _REFUSED):
        raise ValueError("a parameter that changes the meaning")
    wanted = members.keys() == _OWN and kind == own if own else isinstance(kind, str) and kind.lower() in _TYPES
    if not isinstance(algorithm, str) or not wanted:
        raise ValueError("a header of something else")
    if "kid" in members and not (isinstance(kid, str) and 0 < len(kid) <= MAX_KID):
        raise ValueError("no key id")
    return _Header(algorithm, kid if isinstance(kid, str) else None)


def _parse_object(encoded: str) -> dict[str, object]:
    """Return a JSON object, read as I-JSON (RFC 7493 section 2) says.

    Raises:
        ValueError: it is none.
    """
    octets = decode_base64url(encoded)
    if octets is None:
        raise ValueError("not base64url")
    value = parse_json(octets)
    if not isinstance(value, dict):
        raise ValueError("not an object")  # noqa: TRY004 - a text that is wrong, not an argument
    _vet(value, MAX_DEPTH)
    return value


def _vet(value: object, depth: int) -> None:
    if isinstance(value, str):
        # Half of a surrogate pair is no character: UnicodeEncodeError, a ValueError.
        value.encode()
    elif isinstance(value, float):
        # 1e400 is an infinity to Python.
        if not math.isfinite(value):
            raise ValueError("no finite number")
    elif isinstance(value, dict | list):
        if not depth:
            raise ValueError("nested too deeply")
        for name in value if isinstance(value, dict) else ():
            name.encode()
        for part in value.values() if isinstance(value, dict) else value:
            _vet(part, depth - 1)
