"""Terms: what a rule's ``allow`` and ``deny`` say.

A term is atoms joined by ``&``, each optionally negated with ``!``. An atom is true, false or unknown (None): unknown
when what it asks about cannot be known now. ``!`` leaves unknown unknown; ``&`` is false if one part is false, else
unknown if one part is unknown (Kleene's strong logic). What an unknown term means is the engine's business: in
``allow`` it does not hold, in ``deny`` it refuses.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import NamedTuple

from authgate.model import AccessRequest, Identity
from authgate.networks import NetworkSet, parse_network

Truth = bool | None

_ATOM = re.compile(r'\s*(?P<negated>!?)\s*(?P<kind>[^\s:&!"]+)(?::(?P<value>"[^"]*"|[^"&]*))?\s*')
_CAPTURE = re.compile(r"\{([a-z][a-z0-9_]*)\}")


class TermError(ValueError):
    """The text is no term; `hint` says what to write instead."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class Question(NamedTuple):
    """What an atom may look at: the request, who asks, and what the rule's path captured."""

    request: AccessRequest
    identity: Identity
    captures: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Text:
    """A name in an atom, in which ``{capture}`` may stand for a segment of the path."""

    parts: tuple[str, ...]

    def fill(self, captures: Mapping[str, str]) -> str:
        """Return the text with each capture in its place."""
        if len(self.parts) == 1:
            return self.parts[0]
        # re.split with one group gives literal, name, literal, name, ...
        return "".join(captures[part] if index % 2 else part for index, part in enumerate(self.parts))

    @property
    def captures(self) -> frozenset[str]:
        """The names that must be captured by every path of the rule."""
        return frozenset(self.parts[1::2])


@dataclass(frozen=True, slots=True)
class Anyone:
    """``anyone``: everybody, logged in or not."""

    asks_identity = False
    captures = frozenset[str]()

    def evaluate(self, asked: Question) -> Truth:
        """Return True."""
        del asked
        return True


@dataclass(frozen=True, slots=True)
class Authenticated:
    """``authenticated``: somebody who proved who they are, from any source."""

    asks_identity = True
    captures = frozenset[str]()

    def evaluate(self, asked: Question) -> Truth:
        """Return whether the subject is somebody; None when that cannot be known."""
        return None if asked.identity.subject is None else not asked.identity.subject.is_anonymous


@dataclass(frozen=True, slots=True)
class User:
    """``user:NAME``: exactly this subject."""

    name: Text

    asks_identity = True

    @property
    def captures(self) -> frozenset[str]:
        """The captures that stand in the name."""
        return self.name.captures

    def evaluate(self, asked: Question) -> Truth:
        """Return whether the subject has this name; None when the subject cannot be known."""
        subject = asked.identity.subject
        if subject is None:
            return None
        return not subject.is_anonymous and subject.id == self.name.fill(asked.captures)


@dataclass(frozen=True, slots=True)
class Group:
    """``group:NAME``: members of this group of the subject's own source."""

    name: Text

    asks_identity = True

    @property
    def captures(self) -> frozenset[str]:
        """The captures that stand in the name."""
        return self.name.captures

    def evaluate(self, asked: Question) -> Truth:
        """Return whether the subject is a member; None when its source cannot say."""
        subject = asked.identity.subject
        if subject is None:
            return None
        source, slash, name = self.name.fill(asked.captures).partition("/")
        if not slash:
            source, name = "", source
        if subject.is_anonymous or subject.source != source:
            return False
        return None if subject.groups is None else name in subject.groups


@dataclass(frozen=True, slots=True)
class ClientAddress:
    """``ip:CIDR`` or ``ip:NETWORK``: the client's address is one of these."""

    networks: NetworkSet

    asks_identity = False
    captures = frozenset[str]()

    def evaluate(self, asked: Question) -> Truth:
        """Return whether the address is in the networks; None when it is unreadable."""
        address = asked.request.address
        return None if address is None else address in self.networks


Atom = Anyone | Authenticated | User | Group | ClientAddress
_Parse = Callable[[str | None, Mapping[str, NetworkSet]], Atom]


@dataclass(frozen=True, slots=True)
class Part:
    """One atom of a term."""

    negated: bool
    atom: Atom

    def evaluate(self, asked: Question) -> Truth:
        """Return the atom's truth, turned round when negated; unknown stays unknown."""
        truth = self.atom.evaluate(asked)
        return not truth if self.negated and truth is not None else truth


@dataclass(frozen=True, slots=True)
class Term:
    """A compiled term; `parts` that need no fact come first."""

    text: str
    parts: tuple[Part, ...]
    asks_identity: bool

    def evaluate(self, asked: Question) -> Truth:
        """Return the conjunction of all parts: false wins over unknown, unknown over true."""
        result: Truth = True
        for part in self.parts:
            truth = part.evaluate(asked)
            if truth is False:
                return False
            if truth is None:
                result = None
        return result

    def holds_for_somebody(self, asked: Question) -> bool:
        """Tell whether the term would hold if only its identity atoms were different."""
        return self.asks_identity and all(
            part.evaluate(asked) is True for part in self.parts if not part.atom.asks_identity
        )

    @property
    def captures(self) -> frozenset[str]:
        """Every capture that stands in the term."""
        return frozenset[str]().union(*(part.atom.captures for part in self.parts))


def parse_term(text: str, networks: Mapping[str, NetworkSet]) -> Term:
    """Compile a term.

    Raises:
        TermError: with the atom that is wrong, and a hint where there is one.
    """
    parts: list[Part] = []
    position = 0
    while True:
        found = _ATOM.match(text, position)
        if found is None or (found.end() < len(text) and text[found.end()] != "&"):
            raise TermError(f'"{text}" is no term', "write atoms joined by &, names with spaces or & in double quotes")
        parts.append(Part(bool(found["negated"]), _parse_atom(found["kind"], found["value"], networks)))
        position = found.end() + 1
        if position > len(text):
            break
    for part in parts:
        if part.negated and isinstance(part.atom, Anyone):
            raise TermError('"!anyone" never holds', "leave the term out")
    parts.sort(key=lambda part: part.atom.asks_identity)
    return Term(text, tuple(parts), any(part.atom.asks_identity for part in parts))


def named_groups(term: Term) -> list[str]:
    """Return the groups that the term names in full, without a capture."""
    groups = [part.atom.name for part in term.parts if isinstance(part.atom, Group)]
    return [name.parts[0] for name in groups if not name.captures]


def admits_strangers(term: Term) -> bool:
    """Tell whether an ``allow`` term negates identity without asking for any: it would admit whoever says nothing."""
    identity = [part for part in term.parts if part.atom.asks_identity]
    return bool(identity) and all(part.negated for part in identity)


def _parse_atom(kind: str, value: str | None, networks: Mapping[str, NetworkSet]) -> Atom:
    parse = _KINDS.get(kind)
    if parse is None:
        written = kind if value is None else f"{kind}:{value.rstrip()}"
        close = get_close_matches(kind, _KINDS, n=1, cutoff=0.5)
        meant = "" if not close else close[0] if value is None else f"{close[0]}:{value.rstrip()}"
        raise TermError(f'unknown atom "{written}"', f'did you mean "{meant}"?' if meant else _KNOWN)
    return parse(None if value is None else value.strip(), networks)


def _bare(kind: str, atom: Atom) -> _Parse:
    def parse(value: str | None, _: Mapping[str, NetworkSet]) -> Atom:
        if value is not None:
            raise TermError(f'"{kind}" takes no value', f'write "{kind}"')
        return atom

    return parse


def _named(kind: str, make: Callable[[Text], Atom]) -> _Parse:
    def parse(value: str | None, _: Mapping[str, NetworkSet]) -> Atom:
        if not value:
            raise TermError(f'"{kind}" needs a name', f'write "{kind}:NAME"')
        quoted = value.startswith('"')
        name = value.strip('"')
        if not name:
            raise TermError(f'"{kind}" needs a name', f'write "{kind}:NAME"')
        if not quoted and re.search(r"\s", name):
            raise TermError(f'"{kind}:{name}" holds a space', f'write {kind}:"{name}", in double quotes')
        parts = tuple(_CAPTURE.split(name))
        if any("{" in part or "}" in part for part in parts):
            raise TermError(
                f'"{kind}:{name}" holds a brace', "a capture is {name}, of lower-case letters, digits and _"
            )
        return make(Text(parts))

    return parse


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


_KINDS: Mapping[str, _Parse] = {
    "anyone": _bare("anyone", Anyone()),
    "authenticated": _bare("authenticated", Authenticated()),
    "user": _named("user", User),
    "group": _named("group", Group),
    "ip": _parse_ip,
}
_KNOWN = f"the atoms are {', '.join(_KINDS)}"
ATOM_KINDS = frozenset(_KINDS)
