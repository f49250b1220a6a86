"""Session cookies of Flask and of Starlette's SessionMiddleware, which itsdangerous signs.

Flask: ``URLSafeTimedSerializer`` over tagged JSON, perhaps compressed (``SecureCookieSessionInterface``).
Starlette: ``TimestampSigner``, as it is, over base64 of JSON.

itsdangerous reads base64 leniently, so that one signature can be written in many ways; here only the way in which it
writes itself counts.
"""

import base64
import hashlib
from collections.abc import Callable, Sequence
from functools import partial

from itsdangerous import BadData, TimestampSigner

from authgate.credentials.flask_tags import untag
from authgate.credentials.session_data import SessionData, freeze, inflate
from authgate.credentials.signed_cookie import Opened, Opener
from authgate.keys.strict import decode_base64url, parse_json


def flask_opener(secrets: Sequence[bytes], salt: str, digest: str) -> Opener:
    """Make what opens cookies of Flask."""
    # The last of the list is the one in use.
    signer = TimestampSigner(list(reversed(secrets)), salt, key_derivation="hmac", digest_method=_digest(digest))

    def read(payload: bytes) -> SessionData:
        return freeze(untag(parse_json(_unpacked(payload.decode()))))

    return lambda value: _open(signer, value, read)


def starlette_opener(secrets: Sequence[bytes], _salt: str, digest: str) -> Opener:
    """Make what opens cookies of Starlette; it has no salt of its own."""
    signer = TimestampSigner(list(reversed(secrets)), digest_method=_digest(digest))

    def read(payload: bytes) -> SessionData:
        return freeze(parse_json(base64.b64decode(payload, validate=True)))

    return lambda value: _open(signer, value, read)


def _open(signer: TimestampSigner, value: str, read: Callable[[bytes], SessionData]) -> Opened | None:
    # A lenient reading would take several signatures for one; the rest of the value is signed as it stands.
    if decode_base64url(value.rpartition(".")[2]) is None:
        return None
    try:
        payload, signed = signer.unsign(value, return_timestamp=True)
        return Opened(read(payload), signed.timestamp())
    except (BadData, ValueError, OverflowError, OSError):
        # The last three also for a moment that no calendar has.
        return None


def _unpacked(payload: str) -> bytes:
    packed = decode_base64url(payload.removeprefix("."))
    if packed is None:
        raise ValueError("not base64url")
    return inflate(packed) if payload.startswith(".") else packed


def _digest(name: str) -> Callable[..., object]:
    return partial(hashlib.new, name)
