"""JSON and base64url with one reading only.

What two programs read differently is how one of them is fooled: a member that stands twice, white space or stray bits
in base64url, text in another encoding (RFC 8725 sections 3.7 and 3.11, RFC 4648 section 3.5).
"""

import base64
import json
import re
from collections.abc import Sequence
from typing import NoReturn

_BASE64URL = re.compile(r"[A-Za-z0-9_-]+")


def parse_json(content: bytes) -> object:
    """Return what the text says.

    Raises:
        ValueError: it is not JSON in UTF-8 (RFC 8259 section 8.1), or has a member twice.
    """
    try:
        return json.loads(content.decode(), object_pairs_hook=_members, parse_constant=_no_constant)
    except RecursionError:
        # Not kept as the cause: the trace of it is as deep as the text.
        raise ValueError("nested too deeply") from None


def decode_base64url(text: object) -> bytes | None:
    """Return what stands in a text; None for anything that is not the one way to write it, without padding."""
    if not isinstance(text, str) or _BASE64URL.fullmatch(text) is None or len(text) % 4 == 1:
        return None
    decoded = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    return decoded if encode_base64url(decoded) == text else None


def encode_base64url(content: bytes) -> str:
    """Write bytes as RFC 7515 section 2 does: without padding."""
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _members(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a member stands twice in an object")
    return found


def _no_constant(name: str) -> NoReturn:
    # json reads NaN and Infinity, which RFC 8259 section 6 does not know.
    raise ValueError(f"{name} is no number in JSON")
