"""Where a browser goes after login: a path of the same site, or nowhere.

The address came through the client, so an attacker may have written it (open redirect, CWE-601). Rather than
parse it as a URL, which every reader does a little differently, this module lets through only what all readers
take for a path. Refusing too much costs a click: the login then ends at ``/``.

A signed link never goes along: whoever logs in needs none, and addresses of pages are kept, shown and logged. What
holds one is left out of the return address, or there is none.
"""

import re
from urllib.parse import quote, unquote, unquote_to_bytes

from authgate.model import Site
from authgate.paths import from_wire, is_canonical

# Above what people's addresses need, below what a Location header may hold in nginx's 4 KiB proxy buffer once encoded.
MAX_BYTES = 1024

LOGIN_PATH = "/authgate/login"

# Above what nginx takes for a request line; a link alone may have 2 KiB.
_MAX_TARGET = 8192

# Of a link in the query, and in front of the path (deploy/nginx, deploy/apache).
_PARAMETER, _FOLDER = "ag", "authgate-link"

# A link, or another signed token, is three parts with a dot between them (RFC 7515 section 7.1). HMAC-SHA256, in
# base64url, has 43 characters.
_TOKEN = re.compile(r"(?<![A-Za-z0-9_-])[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{43,}")
_IN_FOLDER = re.compile(rf"(/{_FOLDER}/)[^/?#]+", re.IGNORECASE)
_MASK = "***"
# How often an address may be encoded within another one.
_LAYERS = 3

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
    text = without_link(text)
    if text is None or len(text) > MAX_BYTES or not _PLAIN.fullmatch(text) or "//" in text:
        return None
    path = text.partition("?")[0]
    return text if _ESCAPED.fullmatch(path) and _is_plain_once_decoded(unquote_to_bytes(path)) else None


def without_link(target: str | None) -> str | None:
    """Return a request target without its signed link, as it is where it holds none; None when it cannot be taken out.

    Args:
        target: percent-encoded, with its query.
    """
    if target is None or len(target) > _MAX_TARGET:
        return None
    path, mark, query = target.partition("?")
    if "=" in query:
        kept = [pair for pair in query.split("&") if not _is_link_parameter(pair)]
        target = path + mark + "&".join(kept) if kept else path
    while _is_link_folder(path):
        target = target[len(path) :]
        # Folder, link, and what it leads to.
        _, _, path = path[1:].partition("/")[2].partition("/")
        path = f"/{path}"
        target = path + target
    return None if _may_hold_link(target) else target


def hide_link(text: str) -> str:
    """Return an address, a path or any other text without the signed links in it, to be shown."""
    return _TOKEN.sub(_MASK, _IN_FOLDER.sub(rf"\1{_MASK}", text))


def hide_link_in_query(query: str) -> str:
    """Return a query without the values of links in it, to be shown."""
    pairs = query.split("&")
    return "&".join(
        f"{pair.partition('=')[0]}={_MASK}" if _is_link_parameter(pair) else hide_link(pair) for pair in pairs
    )


def _is_link_parameter(pair: str) -> bool:
    # In every spelling, not only in that which counts.
    return _decoded(pair.partition("=")[0]) == _PARAMETER


def _is_link_folder(path: str) -> bool:
    return _decoded(path[1:].partition("/")[0]) == _FOLDER


def _decoded(name: str) -> str:
    return unquote(name, "latin-1").casefold()


def _may_hold_link(target: str) -> bool:
    """Tell whether there is a signed token anywhere in it, in an address within the address for instance."""
    for _ in range(_LAYERS):
        if f"/{_FOLDER}/" in target.lower() or _TOKEN.search(target):
            return True
        if "%" not in target:
            return False
        target = unquote(target, "latin-1")
    return False


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
