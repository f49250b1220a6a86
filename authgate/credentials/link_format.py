"""Signed links as text: a JWS in compact form (RFC 7515 section 7.1) with a header and claims of authgate's own.

Rules of this module:
1. One link, one text: what two programs could read differently is refused (`compact`).
2. Claims are a closed list. One that is not known may be a limit that somebody meant, and a link without it would
   admit more than was signed for.
3. Whoever signs is held to what is read: `sign_link` makes no link that `open_link` would refuse.
"""

import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from authgate.credentials.compact import parse_token
from authgate.keys import LINK, Key
from authgate.keys.strict import encode_base64url
from authgate.networks import NetworkSet, parse_network
from authgate.scopes import RequestScope, is_method, parse_reach

# The parameter of a query that holds a link.
PARAMETER = "ag"
# So that it is never taken for a token, nor a token for it (RFC 8725 section 3.11).
TYPE = "ag-link"
ALGORITHM = "HS256"
MAX_LINK = 2048
MAX_USES = 1_000_000
MAX_LABEL = 100
# Seconds since the epoch: no link can end later. Every language has this number exactly.
LAST = 2**53

_REQUIRED = frozenset({"id", "host", "path", "exp"})
_CLAIMS = _REQUIRED | {"nbf", "methods", "networks", "uses", "label"}

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
# As `Site.host` is written, with the colons of IPv6.
_HOST = re.compile(r"[a-z0-9_:][a-z0-9._:-]{0,252}")
_GET = frozenset({"GET"})


@dataclass(frozen=True, slots=True)
class LinkTerms:
    """What a link says.

    Args:
        id: its name in logs, for uses and for revocation; links with the same id are one link.
        scope: one host, one path with or without what is below, methods, networks.
        begins: it counts from then on, in seconds since the epoch.
        ends: it does not count from then on.
        uses: None: as often as one likes.
        label: for people; may be empty.
    """

    id: str
    scope: RequestScope
    begins: float
    ends: float
    uses: int | None
    label: str


def parse_claims(claims: Mapping[str, object]) -> LinkTerms:
    """Return what the claims of a link mean.

    Raises:
        ValueError: they are not as they have to be.
    """
    if not _REQUIRED <= claims.keys() <= _CLAIMS:
        missing, unknown = sorted(_REQUIRED - claims.keys()), sorted(claims.keys() - _CLAIMS)
        raise ValueError(f"missing: {', '.join(missing)}" if missing else f"not known: {', '.join(unknown)}")
    name, uses, label = claims["id"], claims.get("uses"), claims.get("label", "")
    if not isinstance(name, str) or _ID.fullmatch(name) is None:
        raise ValueError("id is not 1 to 64 of A-Z, a-z, 0-9, - and _")
    if "uses" in claims and not (type(uses) is int and 1 <= uses <= MAX_USES):
        raise ValueError(f"uses is not a whole number from 1 to {MAX_USES:,}")
    if not isinstance(label, str) or ("label" in claims and not 0 < len(label) <= MAX_LABEL):
        raise ValueError(f"label is not a text of 1 to {MAX_LABEL} characters")
    begins = _moment(claims, "nbf") if "nbf" in claims else 0.0
    ends = _moment(claims, "exp")
    return LinkTerms(name, _scope(claims), begins, ends, uses if isinstance(uses, int) else None, label)


def open_link(value: str, keys: Mapping[str, Key]) -> LinkTerms | None:
    """Return what a link says; None for anything that is no link, or not one that these keys have signed.

    Args:
        keys: of a ring for links, by id.
    """
    if len(value) > MAX_LINK:
        return None
    parsed = parse_token(value, TYPE)
    key = keys.get(parsed.kid or "") if parsed else None
    if parsed is None or key is None or not parsed.algorithm == key.algorithm == ALGORITHM or key.purpose != LINK:
        return None
    # What nobody signed is not looked at any further.
    if not key.verifies(parsed.message, parsed.signature):
        return None
    try:
        return parse_claims(parsed.claims)
    except ValueError:
        return None


def sign_link(key: Key, claims: Mapping[str, object]) -> str:
    """Return a link.

    Args:
        key: the one of a ring for links that signs now.

    Raises:
        ConfigError: the key cannot sign.
        ValueError: the claims are not as they have to be, or too long.
    """
    if key.purpose != LINK or key.algorithm != ALGORITHM:
        raise ValueError(f'the key "{key.id}" is not for links')
    parse_claims(claims)
    message = f"{_part({'alg': ALGORITHM, 'kid': key.id, 'typ': TYPE})}.{_part(claims)}"
    link = f"{message}.{encode_base64url(key.sign(message.encode()))}"
    if len(link) > MAX_LINK:
        raise ValueError(f"the link has {len(link):,} characters, and {MAX_LINK:,} are the most")
    return link


def make_id() -> str:
    """Return an id that no other link has."""
    # Not token_urlsafe: one that begins with a hyphen would be an option to commands.
    return secrets.token_hex(8)


def _scope(claims: Mapping[str, object]) -> RequestScope:
    host, path = claims["host"], claims["path"]
    if not isinstance(host, str) or _HOST.fullmatch(host) is None:
        raise ValueError("host is not a host in lower case, without port")
    if not isinstance(path, str):
        raise ValueError("path is not a text")  # noqa: TRY004 - a text that is wrong, not an argument
    methods = frozenset(_texts(claims, "methods")) if "methods" in claims else _GET
    if not all(map(is_method, methods)):
        raise ValueError("methods has one that is none")
    networks = NetworkSet(map(parse_network, _texts(claims, "networks"))) if "networks" in claims else None
    return RequestScope((parse_reach(path),), methods, networks, frozenset({host}))


def _texts(claims: Mapping[str, object], name: str) -> list[str]:
    found = claims[name]
    # An empty list would mean nothing, or everything.
    if not isinstance(found, list) or not found or not all(isinstance(text, str) for text in found):
        raise ValueError(f"{name} is not a list of texts")
    return found


def _moment(claims: Mapping[str, object], name: str) -> float:
    found = claims[name]
    # A bool is an int to Python; NaN and infinities are within no bounds.
    if isinstance(found, bool) or not isinstance(found, int | float) or not 0 <= found <= LAST:
        raise ValueError(f"{name} is not a moment in seconds since 1970")
    return float(found)


def _part(members: Mapping[str, object]) -> str:
    return encode_base64url(json.dumps(members, ensure_ascii=False, separators=(",", ":")).encode())
