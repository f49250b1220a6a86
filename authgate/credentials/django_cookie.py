"""Session cookies of Django's backend ``signed_cookies``: what ``django.core.signing`` signs, read without Django.

``[.]base64url(JSON):base62(moment):base64url(HMAC)``; a dot: the JSON is compressed. The HMAC's key is the digest of
salt, ``signer`` and secret key (``salted_hmac``): with SHA-256 since Django 3.1, with SHA-1 before.

What Django's PickleSerializer wrote, which went with Django 5.0, is never read: to read it is to run it.
"""

import hashlib
import hmac
import re
from collections.abc import Sequence

from authgate.credentials.session_data import freeze, inflate
from authgate.credentials.signed_cookie import Opened, Opener
from authgate.keys.strict import decode_base64url, encode_base64url, parse_json

_COOKIE = re.compile(r"(\.?)([A-Za-z0-9_-]+):([0-9A-Za-z]{1,8}):([A-Za-z0-9_-]+)")
_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def django_opener(secrets: Sequence[bytes], salt: str, digest: str) -> Opener:
    """Make what opens cookies of Django."""
    keys = [hashlib.new(digest, f"{salt}signer".encode() + secret).digest() for secret in secrets]

    def open_(value: str) -> Opened | None:
        found = _COOKIE.fullmatch(value)
        if found is None:
            return None
        dot, payload, moment, signature = found.groups()
        message = value[: found.end(3)].encode()
        if not any(hmac.compare_digest(encode_base64url(hmac.digest(key, message, digest)), signature) for key in keys):
            return None
        content = decode_base64url(payload)
        if content is None:
            return None
        try:
            return Opened(freeze(parse_json(inflate(content) if dot else content)), _seconds(moment))
        except ValueError:
            return None

    return open_


def _seconds(moment: str) -> float:
    seconds = 0
    for digit in moment:
        seconds = seconds * 62 + _BASE62.index(digit)
    return float(seconds)
