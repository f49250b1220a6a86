"""The canonical-path rule. Nothing here decodes or rewrites: what is not canonical is refused, not repaired.

A web server decodes a target once, in its own way; a second opinion about the same bytes is how checks are bypassed
(``/public/../admin``, ``//admin``, ``/admin%2f..``). So doors deliver the path as their server will use it, and a
path that two programs could read differently is not looked at any further.
"""

import re
from urllib.parse import unquote_to_bytes

# C0 controls and DEL, and the form in which a door hands on bytes that are not UTF-8 (PEP 383).
_REFUSED_CHARACTERS = frozenset([*map(chr, range(0x20)), "\x7f", *map(chr, range(0xD800, 0xE000))])

# Separators that are none to some, and slashes that are none to others; what is still encoded after one decoding would
# become one of them in the next.
_AMBIGUOUS_RAW = ("//", "\\", ";", "%2f", "%5c")
_AMBIGUOUS_DECODED = (b"%2e", b"%2f", b"%5c")

# Most targets: names of letters, digits and what is nothing but itself, none with a dot first, and no query.
_HARMLESS = re.compile(r"(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+/?")


def from_wire(raw: bytes) -> str:
    """Return a path's bytes as text; bytes that are not UTF-8 become text that `is_canonical` refuses."""
    return raw.decode("utf-8", "surrogateescape")


def is_canonical(path: str) -> bool:
    """Tell whether `path` has exactly one reading.

    It starts with ``/``; no segment but the last is empty; no segment is ``.`` or ``..``; no byte is below 0x20 or
    0x7f; it is UTF-8.
    """
    return (
        path[:1] == "/"
        and "//" not in path
        # A dot segment needs "/." somewhere, which few paths have.
        and ("/." not in path or not _has_dot_segment(path))
        and _REFUSED_CHARACTERS.isdisjoint(path)
    )


def _has_dot_segment(path: str) -> bool:
    return any(segment in {".", ".."} for segment in path.split("/"))


def is_plain_target(target: str) -> bool:
    """Tell whether every program reads the path of a raw request target alike.

    An application behind the web server gets the target as the client wrote it, or written anew, and may decode it
    twice, take ``;`` for the start of parameters or ``\\`` for a slash. The query, from the first ``?`` on, is no path.
    """
    if _HARMLESS.fullmatch(target):
        return True
    path = target.partition("?")[0]
    lowered = path.lower()
    if path[:1] != "/" or "#" in target or any(mark in lowered for mark in _AMBIGUOUS_RAW):
        return False
    decoded = unquote_to_bytes(path).lower()
    return not any(mark in decoded for mark in _AMBIGUOUS_DECODED) and not _has_dot_segment(decoded.decode("latin-1"))
