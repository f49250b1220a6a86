"""Terms: what a rule's ``allow`` and ``deny`` say.

A term is atoms joined by ``&``, each optionally negated with ``!``. An atom is true, false or unknown (None): unknown
when what it asks about cannot be known now. ``!`` leaves unknown unknown; ``&`` is false if one part is false, else
unknown if one part is unknown (Kleene's strong logic). In ``allow`` an unknown term does not hold, in ``deny`` it
refuses.
"""

from dataclasses import dataclass

from authgate.model import Decision, Need
from authgate.policy.atoms import Atom, Claim, Group, Handler, Question, SecondFactor, Truth, User


@dataclass(frozen=True, slots=True)
class Part:
    """One atom of a term, and the text it was written as."""

    text: str
    negated: bool
    atom: Atom

    def evaluate(self, asked: Question) -> Truth | Need | Decision:
        """Return the atom's truth, turned round when negated; unknown stays unknown. Handlers are never negated."""
        truth = self.atom.evaluate(asked)
        if self.negated and isinstance(truth, Need):
            # Of a link only, and one that covers the request: nobody uses it up by not wanting it.
            return False
        return not truth if self.negated and (truth is True or truth is False) else truth


@dataclass(frozen=True, slots=True)
class Term:
    """A compiled term.

    Args:
        parts: those that need no fact come first, handlers last.
    """

    text: str
    parts: tuple[Part, ...]
    asks_identity: bool

    def holds(self, asked: Question) -> bool | Need | Decision:
        """Tell whether the term admits; a handler's refusal, or a fact that is needed first, comes back as it is."""
        use: Need | None = None
        for part in self.parts:
            truth = part.evaluate(asked)
            if truth is True:
                continue
            if truth is False or truth is None:
                return False
            if isinstance(truth, Need) and truth.use:
                # Taken when all else holds, and not before.
                use = truth
            elif isinstance(truth, Need) or not truth.allowed:
                return truth
        return use or True

    def refuses(self, asked: Question) -> bool | Need | Decision:
        """Tell whether the term refuses, which an unknown one does; see `holds`."""
        # That a link covers the request is enough here, used up or not.
        asked = asked if asked.use is None else asked._replace(use=None)
        for part in self.parts:
            truth = part.evaluate(asked)
            if truth is False:
                return False
            if truth is True or truth is None or (isinstance(truth, Need) and truth.use):
                continue
            # allow() of a handler is false in deny.
            return False if isinstance(truth, Decision) and truth.allowed else truth
        return True

    def holds_for_somebody(self, asked: Question) -> bool:
        """Tell whether the term would hold if only its identity atoms were different; asks no handler for that."""
        return all(_may_hold(part.evaluate(asked)) for part in self.parts if not part.atom.asks_identity)

    @property
    def captures(self) -> frozenset[str]:
        """Every capture that stands in the term."""
        return frozenset[str]().union(*(part.atom.captures for part in self.parts))

    @property
    def groups(self) -> list[str]:
        """The groups that the term names in full, without a capture."""
        names = [part.atom.name for part in self.parts if isinstance(part.atom, Group)]
        return [name.parts[0] for name in names if not name.captures]

    @property
    def sources(self) -> frozenset[str]:
        """The sources, beside the local one, whose people and groups the term names."""
        names = (part.atom.name.parts[0] for part in self.parts if isinstance(part.atom, User | Group))
        # Literal text only: parsing sees to it that no path chooses whose people count.
        return frozenset(name.partition("/")[0] for name in names if "/" in name)

    @property
    def claims(self) -> list[str]:
        """The names of the claims that the term looks at."""
        return [part.atom.name for part in self.parts if isinstance(part.atom, Claim)]

    @property
    def handlers(self) -> list[str]:
        """The handlers that the term asks."""
        return [part.atom.reference for part in self.parts if isinstance(part.atom, Handler)]

    @property
    def asks_link(self) -> bool:
        """True when the term looks at the request's signed link."""
        return any(part.atom.asks_link for part in self.parts)

    @property
    def asks_second_factor(self) -> bool:
        """True when the term looks at ``mfa``."""
        return any(isinstance(part.atom, SecondFactor) for part in self.parts)

    @property
    def admits_strangers(self) -> bool:
        """True when the term negates identity without asking for any: in ``allow`` it admits whoever says nothing."""
        identity = [part for part in self.parts if part.atom.asks_identity]
        return bool(identity) and all(part.negated for part in identity)


def _may_hold(truth: Truth | Need | Decision) -> bool:
    """A handler that was not asked counts as holding: asking it only for this would have its side effects."""
    return truth is True or isinstance(truth, Need) or (isinstance(truth, Decision) and truth.allowed)


def in_order(parts: list[Part]) -> tuple[Part, ...]:
    """Sort parts so that the cheap questions come first and a handler is asked only when all others hold."""
    return tuple(sorted(parts, key=_cost))


def _cost(part: Part) -> tuple[bool, bool]:
    return part.atom.asks_handler, part.atom.asks_identity
