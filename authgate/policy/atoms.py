"""Atoms: the questions of which terms are made.

Each atom says what it asks about (`asks_identity`, `asks_handler`) and evaluates to true, false or unknown (None), to a
`Need` when a fact was not fetched yet, or, a handler only, to what the handler said.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, time
from typing import NamedTuple
from zoneinfo import ZoneInfo

from authgate.model import AccessRequest, CredentialKind, Decision, HandlerCall, Identity, Need, Reason, Use
from authgate.model import Link as SignedLink
from authgate.networks import NetworkSet

Truth = bool | None

_NOTHING_CAPTURED: frozenset[str] = frozenset()


class Question(NamedTuple):
    """What an atom may look at: the request, who asks, its link, what handlers said, and the rule it stands in."""

    request: AccessRequest
    identity: Identity
    captures: Mapping[str, str]
    rule: str
    options: Mapping[str, object]
    answers: Mapping[HandlerCall, Decision | None]
    link: SignedLink | None = None
    use: Use | None = None


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

    @property
    def names_source(self) -> bool:
        """True when a slash is written in it; one that a visitor's path brings stands between no source and name."""
        return any("/" in part for part in self.parts[::2])


class Atom(ABC):
    """What all atoms have in common."""

    __slots__ = ()

    asks_identity = False
    asks_handler = False
    asks_link = False

    @property
    def captures(self) -> frozenset[str]:
        """The captures that stand in the atom."""
        return _NOTHING_CAPTURED

    @abstractmethod
    def evaluate(self, asked: Question) -> Truth | Need | Decision:
        """Answer the question."""


@dataclass(frozen=True, slots=True)
class Anyone(Atom):
    """``anyone``: everybody, logged in or not."""

    def evaluate(self, asked: Question) -> Truth:
        """Return True."""
        del asked
        return True


@dataclass(frozen=True, slots=True)
class Authenticated(Atom):
    """``authenticated``: somebody who proved who they are, from any source."""

    asks_identity = True

    def evaluate(self, asked: Question) -> Truth:
        """Return whether the subject is somebody; None when that cannot be known."""
        subject = asked.identity.subject
        return None if subject is None else not subject.is_anonymous


@dataclass(frozen=True, slots=True)
class User(Atom):
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
        same = not subject.is_anonymous and subject.id == self.name.fill(asked.captures)
        return same and self.name.names_source == bool(subject.source)


@dataclass(frozen=True, slots=True)
class Group(Atom):
    """``group:NAME``: members of this group of the subject's own source.

    Args:
        fixed: source and name, when no capture has to be filled in first.
    """

    name: Text
    fixed: tuple[str, str] | None = field(init=False, compare=False)

    asks_identity = True

    def __post_init__(self) -> None:
        """Split the name once if that can be done before a request comes."""
        object.__setattr__(self, "fixed", None if self.name.captures else _split(self.name, {}))

    @property
    def captures(self) -> frozenset[str]:
        """The captures that stand in the name."""
        return self.name.captures

    def evaluate(self, asked: Question) -> Truth:
        """Return whether the subject is a member; None when its source cannot say."""
        subject = asked.identity.subject
        if subject is None:
            return None
        source, name = self.fixed or _split(self.name, asked.captures)
        if subject.is_anonymous or subject.source != source:
            return False
        return None if subject.groups is None else name in subject.groups


def _split(group: Text, captures: Mapping[str, str]) -> tuple[str, str]:
    """Return source and name of a group as rules write it: ``staff``, ``partner/staff``."""
    source, slash, name = group.fill(captures).partition("/")
    return (source, name) if group.names_source else ("", source + slash + name)


@dataclass(frozen=True, slots=True)
class Claim(Atom):
    """``claim:NAME=VALUE``: the subject's credential says so."""

    name: str
    value: Text

    asks_identity = True

    @property
    def captures(self) -> frozenset[str]:
        """The captures that stand in the value."""
        return self.value.captures

    def evaluate(self, asked: Question) -> Truth:
        """Return whether the subject has the claim; None when the subject cannot be known."""
        subject = asked.identity.subject
        return None if subject is None else (self.name, self.value.fill(asked.captures)) in subject.claims


@dataclass(frozen=True, slots=True)
class Via(Atom):
    """``via:KIND``: this kind of credential proved who asks."""

    kind: CredentialKind

    asks_identity = True

    def evaluate(self, asked: Question) -> Truth:
        """Return whether it did; None when the subject cannot be known."""
        subject = asked.identity.subject
        return None if subject is None else not subject.is_anonymous and asked.identity.credential is self.kind


@dataclass(frozen=True, slots=True)
class SecondFactor(Atom):
    """``mfa``: the credential says that a second factor was used."""

    asks_identity = True

    def evaluate(self, asked: Question) -> Truth:
        """Return whether it does; None when the subject cannot be known."""
        subject = asked.identity.subject
        return None if subject is None else not subject.is_anonymous and asked.identity.second_factor


@dataclass(frozen=True, slots=True)
class ClientAddress(Atom):
    """``ip:CIDR`` or ``ip:NETWORK``: the client's address is one of these."""

    networks: NetworkSet

    def evaluate(self, asked: Question) -> Truth:
        """Return whether the address is in the networks; None when it is unreadable."""
        address = asked.request.address
        return None if address is None else address in self.networks


@dataclass(frozen=True, slots=True)
class LocalTime(Atom):
    """``time:Mon-Fri 08:00-18:00 ZONE``: half-open, by the clock on the wall of that zone.

    Args:
        days: the weekdays on which it begins, Monday is 0.
        begin: first minute.
        end: first minute after it, on the next day when it is not later than `begin`; None: midnight.
    """

    days: frozenset[int]
    begin: time
    end: time | None
    zone: ZoneInfo

    def evaluate(self, asked: Question) -> Truth:
        """Return whether it is that time there."""
        local = datetime.fromtimestamp(asked.request.instant, self.zone)
        clock, weekday = local.time(), local.weekday()
        if self.end is None:
            return clock >= self.begin and weekday in self.days
        if self.begin < self.end:
            return self.begin <= clock < self.end and weekday in self.days
        if clock >= self.begin:
            return weekday in self.days
        # After midnight it is the evening before that counts.
        return clock < self.end and (weekday - 1) % 7 in self.days


@dataclass(frozen=True, slots=True)
class Handler(Atom):
    """``handler:package.module::function``: what the site's own function says."""

    reference: str

    asks_handler = True

    def evaluate(self, asked: Question) -> Truth | Need | Decision:
        """Return what the handler said: its decision, False for no opinion, or that it has to be asked.

        Unknown when the subject cannot be known: the handler would take it for anonymous.
        """
        if asked.identity.subject is None:
            return None
        call = HandlerCall(self.reference, asked.rule)
        if call not in asked.answers:
            return Need(call, asked.captures, asked.options)
        return asked.answers[call] or False


_HOLDS: Mapping[Use, Truth] = {Use.GRANTED: True, Use.USED_UP: False, Use.UNKNOWN: None}


@dataclass(frozen=True, slots=True)
class Link(Atom):
    """``link``: the request carries a signed link that covers it."""

    asks_link = True

    def evaluate(self, asked: Question) -> Truth | Need:
        """Return whether it does; for a counted one, that a use of it is needed, once nothing else is."""
        link = asked.link
        if link is None:
            return False
        if link.failure is not None:
            return None if link.failure is Reason.STORE_UNAVAILABLE else False
        if link.uses is None:
            return True
        return Need(use=True) if asked.use is None else _HOLDS[asked.use]
