"""What tells a web server which file to send, and a client what to do with it."""

import re
from urllib.parse import quote

from authgate.policy.delivery import Delivery

Header = tuple[bytes, bytes]

# Apache takes the name as it stands. Control bytes would end the field, and the white space at its end is cut off: for
# "plan " Apache would open the file "plan".
_PLAIN_NAME = re.compile(rb"[^\x00-\x1f\x7f]*[^\x00-\x20\x7f]")

# What stands in a quoted `filename` is read in three ways beyond letters, digits and these (RFC 6266 appendix D).
_ODD_IN_QUOTES = re.compile(r"[^A-Za-z0-9 !#$&'()+,.;=@\[\]^_`{}~-]")

# attr-char of RFC 8187 section 3.2.1, beside letters, digits and _.-~ which `quote` keeps anyhow.
_ATTRIBUTE_CHARACTERS = "!#$&+^`|"


def sending(delivery: Delivery, inside: bytes) -> list[Header] | None:
    """Return what makes the web server send the file; None when its name cannot be said in a header.

    Args:
        inside: the file's real path below the root, ``/`` first.
    """
    if delivery.internal:
        # nginx decodes it once.
        place = quote(delivery.internal.encode() + inside[1:]).encode()
        headers = [(b"x-accel-redirect", place)]
        return [*headers, (b"x-accel-limit-rate", b"%d" % delivery.limit_rate)] if delivery.limit_rate else headers
    name = delivery.root.encode() + inside
    return [(b"x-sendfile", name)] if _PLAIN_NAME.fullmatch(name) else None


def content_disposition(disposition: str, name: str) -> bytes:
    """Return the value of ``Content-Disposition`` (RFC 6266).

    Args:
        name: the last part of a canonical path.
    """
    plain = _ODD_IN_QUOTES.sub("_", name)
    value = f'{disposition}; filename="{plain}"'
    if plain != name:
        # "When both are present, recipients SHOULD pick filename* and ignore filename" (section 4.3).
        value += f"; filename*=UTF-8''{quote(name, safe=_ATTRIBUTE_CHARACTERS)}"
    return value.encode()
