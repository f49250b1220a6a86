"""Terms and atoms, as text to value."""

import re
from collections.abc import Callable, Mapping
from datetime import time
from difflib import get_close_matches
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from authgate.model import CredentialKind
from authgate.networks import NetworkSet, parse_network
from authgate.policy.atoms import (
    Anyone,
    Atom,
    Authenticated,
    Claim,
    ClientAddress,
    Group,
    Handler,
    Link,
    LocalTime,
    SecondFactor,
    Text,
    User,
    Via,
)  # fmt: skip
from authgate.policy.terms import Part, Term, in_order

# What a term may hold: far above what people write, far below what takes long to read.
MAX_TEXT = 4096
MAX_ATOMS = 32

_ATOM = re.compile(r'\s*(?P<negated>!?)\s*(?P<kind>[^\s:&!"]+)(?::(?P<value>(?:"[^"]*"|[^"&])*))?\s*')
_CAPTURE = re.compile(r"\{([a-z][a-z0-9_]*)\}")
_CLAIM = re.compile(r"([A-Za-z0-9_.:/-]{1,128})=(.*)", re.DOTALL)
_HANDLER = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*::[A-Za-z_]\w*", re.ASCII)
_TIME = re.compile(r"(?:(?P<days>[A-Za-z,-]+)\s+)?(?P<begin>\d\d:\d\d)-(?P<end>\d\d:\d\d)\s+(?P<zone>\S+)", re.ASCII)
_LIST = re.compile(r"\||\s(?:or|and)\s|,", re.IGNORECASE)
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

# Takes what follows the colon (None when nothing does) and the named networks.
_Parse = Callable[[str | None, Mapping[str, NetworkSet]], Atom]


class TermError(ValueError):
    """The text is no term; `hint` says what to write instead."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


def parse_term(text: str, networks: Mapping[str, NetworkSet]) -> Term:
    """Compile a term.

    Raises:
        TermError: with the atom that is wrong, and a hint where there is one.
    """
    if len(text) > MAX_TEXT:
        raise TermError(f'"{text[:40]}..." is over {MAX_TEXT} characters', "write several rules, or a group")
    parts: list[Part] = []
    position = 0
    while True:
        found = _ATOM.match(text, position)
        if found is None or (found.end() < len(text) and text[found.end()] != "&"):
            raise TermError(f'"{text}" is no term', "write atoms joined by &, names with spaces or & in double quotes")
        value = found["value"].strip() if found["value"] is not None else None
        atom = _parse_atom(found["kind"], value, networks)
        parts.append(Part(found[0].strip(), bool(found["negated"]), atom))
        position = found.end() + 1
        if position > len(text):
            break
    if len(parts) > MAX_ATOMS:
        raise TermError(f'"{text[:40]}..." has over {MAX_ATOMS} atoms', "use a group or a named network")
    for part in parts:
        if part.negated:
            _check_negated(part)
    return Term(text, in_order(parts), any(part.atom.asks_identity for part in parts))


def _check_negated(part: Part) -> None:
    if isinstance(part.atom, Anyone):
        raise TermError('"!anyone" never holds', "leave the term out")
    if isinstance(part.atom, Handler):
        # None is "no opinion": turned round it would admit whoever the handler does not know.
        raise TermError(f'"{part.text}": a handler cannot be negated', "let the handler return deny()")


def _parse_atom(kind: str, value: str | None, networks: Mapping[str, NetworkSet]) -> Atom:
    parse = _KINDS.get(kind)
    if parse is None:
        written = kind if value is None else f"{kind}:{value}"
        close = [_ELSEWHERE[kind]] if kind in _ELSEWHERE else get_close_matches(kind, _KINDS, n=1, cutoff=0.5)
        meant = "" if not close else close[0] if value is None else f"{close[0]}:{value}"
        raise TermError(f'unknown atom "{written}"', f'did you mean "{meant}"?' if meant else _KNOWN)
    return parse(value, networks)


def _bare(kind: str, atom: Atom) -> _Parse:
    def parse(value: str | None, _: Mapping[str, NetworkSet]) -> Atom:
        if value is not None:
            raise TermError(f'"{kind}" takes no value', f'write "{kind}"')
        return atom

    return parse


def _named(kind: str, make: Callable[[Text], Atom]) -> _Parse:
    def parse(value: str | None, _: Mapping[str, NetworkSet]) -> Atom:
        name = _unquote(kind, value or "")
        if not name:
            raise TermError(f'"{kind}" needs a name', f'write "{kind}:NAME"')
        text = _text(kind, name)
        if "/" not in text.parts[0] and any("/" in part for part in text.parts[2::2]):
            hint = f"write {kind}:SOURCE/{{{text.parts[1]}}}, with the name of the source in it"
            raise TermError(f'"{kind}:{name}": the path would choose the source', hint)
        return make(text)

    return parse


def _unquote(kind: str, value: str) -> str:
    if value.startswith('"'):
        if not (len(value) > 1 and value.endswith('"') and '"' not in value[1:-1]):
            raise TermError(f"{kind}:{value} is quoted only in part", f'write {kind}:"...", the whole name in quotes')
        return value[1:-1]
    if '"' in value:
        raise TermError(f"{kind}:{value} is quoted only in part", f'write {kind}:"...", the whole name in quotes')
    if re.search(r"\s", value):
        hint = f'write {kind}:"{value}", in double quotes'
        if _LIST.search(value):
            hint = (
                "write one term for each where one is enough, or join atoms by &; a name with spaces in double quotes"
            )
        raise TermError(f'"{kind}:{value}" holds a space', hint)
    return value


def _text(kind: str, name: str) -> Text:
    parts = tuple(_CAPTURE.split(name))
    if any("{" in part or "}" in part for part in parts):
        raise TermError(f'"{kind}:{name}" holds a brace', "a capture is {name}, of lower-case letters, digits and _")
    return Text(parts)


def _parse_claim(value: str | None, _: Mapping[str, NetworkSet]) -> Atom:
    found = _CLAIM.fullmatch(value or "")
    if found is None:
        raise TermError(f'"claim:{value or ""}" names no claim and value', 'write "claim:department=sales"')
    return Claim(found[1], _text(f"claim:{found[1]}=", _unquote(f"claim:{found[1]}=", found[2])))


def _parse_via(value: str | None, _: Mapping[str, NetworkSet]) -> Atom:
    kinds = [kind.value for kind in CredentialKind if kind is not CredentialKind.NONE]
    if value not in kinds:
        raise TermError(f'"via:{value or ""}" is no kind of credential', f"the kinds are {', '.join(kinds)}")
    return Via(CredentialKind(value))


def _parse_ip(value: str | None, networks: Mapping[str, NetworkSet]) -> Atom:
    if not value:
        raise TermError('"ip" needs a network', 'write "ip:10.0.0.0/8" or "ip:NAME" with NAME from [networks]')
    if value in networks:
        return ClientAddress(networks[value])
    try:
        return ClientAddress(NetworkSet([parse_network(value)]))
    except ValueError:
        close = get_close_matches(value, networks, n=1)
        hint = f'did you mean "ip:{close[0]}"?' if close else "name it in [networks], or write 10.0.0.0/8"
        raise TermError(f'"ip:{value}" is neither a network nor a name in [networks]', hint) from None


def _parse_time(value: str | None, _: Mapping[str, NetworkSet]) -> Atom:
    found = _TIME.fullmatch(value or "")
    if found is None:
        raise TermError(f'"time:{value or ""}" is no time', 'write "time:Mon-Fri 08:00-18:00 Europe/Berlin"')
    begin, end = _clock(found["begin"]), _clock(found["end"])
    if begin is None or begin == end:
        raise TermError(f'"time:{value}" has no length', "write 00:00-24:00 for the whole day")
    try:
        zone = ZoneInfo(found["zone"])
    except (ZoneInfoNotFoundError, ValueError, OSError):
        hint = "write a name of the IANA time zone database, such as Europe/Berlin, or UTC"
        raise TermError(f'"{found["zone"]}" is no time zone', hint) from None
    return LocalTime(_days(found["days"]), begin, end, zone)


def _clock(text: str) -> time | None:
    """Return a time of day; None for 24:00, the midnight at the end."""
    if text == "24:00":
        return None
    try:
        return time.fromisoformat(text)
    except ValueError:
        raise TermError(f'"{text}" is no time of day', "write 00:00 to 24:00") from None


def _days(text: str | None) -> frozenset[int]:
    if text is None:
        return frozenset(range(7))
    days: set[int] = set()
    for part in text.lower().split(","):
        first, dash, last = part.partition("-")
        if first not in _DAYS or (dash and last not in _DAYS):
            raise TermError(f'"{text}" are no days', "write Mon-Fri, or Sat,Sun")
        begin = _DAYS.index(first)
        length = (_DAYS.index(last or first) - begin) % 7
        days |= {(begin + step) % 7 for step in range(length + 1)}
    return frozenset(days)


def _parse_handler(value: str | None, _: Mapping[str, NetworkSet]) -> Atom:
    if value is None or _HANDLER.fullmatch(value) is None:
        raise TermError(f'"handler:{value or ""}" names no function', 'write "handler:package.module::function"')
    return Handler(value)


_KINDS: Mapping[str, _Parse] = {
    "anyone": _bare("anyone", Anyone()),
    "authenticated": _bare("authenticated", Authenticated()),
    "user": _named("user", User),
    "group": _named("group", Group),
    "claim": _parse_claim,
    "via": _parse_via,
    "mfa": _bare("mfa", SecondFactor()),
    "ip": _parse_ip,
    "time": _parse_time,
    "link": _bare("link", Link()),
    "handler": _parse_handler,
}
# What Apache, nginx and Authelia call them.
_ELSEWHERE: Mapping[str, str] = {
    "valid-user": "authenticated", "all": "anyone", "any": "anyone", "everyone": "anyone", "public": "anyone",
    "subject": "user", "network": "ip", "two_factor": "mfa",
}  # fmt: skip
_KNOWN = f"the atoms are {', '.join(_KINDS)}"
ATOM_KINDS = frozenset(_KINDS)
