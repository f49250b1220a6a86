"""Where a browser goes after login: a path of the same site, or nowhere.

The address came through the client, so an attacker may have written it (open redirect, CWE-601). Rather than
parse it as a URL, which every reader does a little differently, this module lets through only what all readers
take for a path. Refusing too much costs a click: the login then ends at ``/``.
"""

import re
from urllib.parse import quote, unquote_to_bytes

from authgate.model import Site
from authgate.paths import from_wire, is_canonical

# Above what people's addresses need, below what a Location header may hold in nginx's 4 KiB proxy buffer once encoded.
MAX_BYTES = 1024

LOGIN_PATH = "/authgate/login"

# Printable ASCII without space, backslash and `#`. Browsers read a backslash as a slash and drop tabs and newlines
# (WHATWG URL, basic parser); a fragment never reaches a server. An honest return address has none of these.
_PLAIN = re.compile(r"/[!-\"$-\[\]-~]*")

# Each percent sign starts an escape; nginx answers 400 to a path where it does not.
_ESCAPED = re.compile(r"(?:[^%]|%[0-9A-Fa-f]{2})*")

# A browser takes these for paths, but whatever strips a leading slash on the way makes an address of them.
# `/wiki/Talk:Main` and `/notes:today` stay possible.
_SCHEME = re.compile(r"/(?:https?|javascript|data|vbscript):.*", re.IGNORECASE | re.DOTALL)


def return_path(text: str | None) -> str | None:
    """Return `text` when it is a path of the same site that a browser may be sent to, else None.

    Args:
        text: as a request target writes it: percent-encoded, with its query.
    """
    if text is None or len(text) > MAX_BYTES or not _PLAIN.fullmatch(text) or "//" in text:
        return None
    path = text.partition("?")[0]
    return text if _ESCAPED.fullmatch(path) and _is_plain_once_decoded(unquote_to_bytes(path)) else None


def _is_plain_once_decoded(raw: bytes) -> bool:
    """Judge the path as the web server will use it: ``/%2fevil`` is ``//evil`` to a careless reader."""
    path = from_wire(raw)
    # What no rule could ever allow is not worth going back to; dot segments would also lead back to the login.
    if not is_canonical(path) or "\\" in path or _SCHEME.fullmatch(path):
        return False
    # Encoded twice: a plain name with a percent sign (`100%25.txt`) is fine, a slash for the next reader is not.
    lowered = path.lower()
    # The login itself would lead in a circle.
    return "%2f" not in lowered and "%5c" not in lowered and path.split("/")[1] != "authgate"


def login_location(site: Site, raw_target: str | None) -> str:
    """Build the absolute address of the login page that leads back to `raw_target`.

    Args:
        raw_target: the client's request target, undecoded; left out when `return_path` refuses it.
    """
    path = return_path(raw_target)
    login = site.origin + LOGIN_PATH
    return login if path is None else f"{login}?next={quote(path, safe='/')}"
