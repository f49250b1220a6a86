"""Authgate's own rings: a JSON Web Key Set with two members more in each key, `purpose` and `state`.

Other programs ignore what they do not know (RFC 7517 section 4: "any members not understood [...] MUST be ignored"),
and so an application reads a ring with the library it has. One key signs. The next one is in the ring before it does,
so that whoever verifies knows it by then, and the old ones stay until what they signed has expired.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from authgate.errors import ConfigError, Problem
from authgate.keys.jwk import PRIVATE, parse_jwk
from authgate.keys.key import Key, State
from authgate.keys.sets import MAX_KEYS, parse_members

_CREATED = "%Y%m%dT%H%M%S"
_ID = re.compile(r"([0-9]{8}T[0-9]{6})-[a-z0-9]+")


@dataclass(frozen=True, slots=True)
class Entry:
    """One key of a ring, and how it is written."""

    key: Key
    members: Mapping[str, object] = field(repr=False)

    def become(self, state: State) -> "Entry":
        """Return the same key in another state."""
        return Entry(replace(self.key, state=state), {**self.members, "state": state.value})


@dataclass(frozen=True, slots=True)
class Ring:
    """The keys for one purpose, one of which signs. In the order of the file."""

    entries: tuple[Entry, ...]

    def find(self, state: State) -> Entry | None:
        """Return the first key in this state."""
        return next((entry for entry in self.entries if entry.key.state is state), None)


def parse_ring(content: bytes, place: str) -> Ring:
    """Return a ring. It is all good or refused: nobody else writes it.

    Raises:
        ConfigError: it is none.
    """
    entries: list[Entry] = []
    problems: list[Problem] = []
    for number, members in enumerate(parse_members(content, place)):
        key = parse_jwk(members)
        if isinstance(key, str):
            problems.append(Problem(f"{place}: keys[{number}]", key))
        elif not (key.id and key.purpose and key.is_secret):
            problems.append(Problem(f"{place}: keys[{number}]", "not a private key of authgate's own"))
        else:
            entries.append(Entry(key, members))
    keys = [entry.key for entry in entries]
    states = [key.state for key in keys]
    if not problems and (
        states.count(State.CURRENT) != 1
        or states.count(State.NEXT) > 1
        or len({key.purpose for key in keys}) != 1
        or len({key.id for key in keys}) != len(keys)
    ):
        what = "a ring has one purpose, one current key, at most one next key, and each id once"
        problems.append(Problem(place, what))
    if problems:
        raise ConfigError(problems)
    return Ring(tuple(entries))


def rotate(ring: Ring, fresh: Entry) -> Ring:
    """Let the next key sign, and `fresh` be the next one. Where there is no next key, the current one goes on.

    Raises:
        ConfigError: the ring is full.
    """
    if len(ring.entries) == MAX_KEYS:
        raise ConfigError([Problem("", f"there are {MAX_KEYS} keys in it", "authgate key retire FILE ID")])
    entries = ring.entries
    if ring.find(State.NEXT) is not None:
        follows = {State.NEXT: State.CURRENT, State.CURRENT: State.OLD, State.OLD: State.OLD}
        entries = tuple(entry.become(follows[entry.key.state]) for entry in entries)
    return Ring((*entries, fresh))


def retire(ring: Ring, name: str) -> Ring:
    """Remove a key: what it has signed is refused from now on."""
    return Ring(tuple(entry for entry in ring.entries if entry.key.id != name))


def render(ring: Ring) -> bytes:
    """Return the ring as it stands in a file."""
    return _render([entry.members for entry in ring.entries])


def render_public(ring: Ring) -> bytes:
    """Return what others need to verify.

    Raises:
        ConfigError: who can verify can sign.
    """
    if any(entry.key.algorithm == "HS256" for entry in ring.entries):
        hint = "make a ring of another algorithm: authgate key new FILE --algorithm ES256"
        raise ConfigError([Problem("", "a secret for HS256 has no public part", hint)])
    return _render(
        [{name: value for name, value in entry.members.items() if name not in PRIVATE} for entry in ring.entries]
    )


def make_id(now: float, random: str) -> str:
    """Return an id that sorts by its date.

    Args:
        random: of `a-z` and `0-9`.
    """
    return f"{datetime.fromtimestamp(int(now), UTC).strftime(_CREATED)}-{random}"


def created(key: Key) -> datetime | None:
    """Return when a key was made, as its id says."""
    found = _ID.fullmatch(key.id)
    try:
        return datetime.strptime(found[1], _CREATED).replace(tzinfo=UTC) if found else None
    except ValueError:  # the 31st of February
        return None


def _render(keys: list[Mapping[str, object]] | list[dict[str, object]]) -> bytes:
    return json.dumps({"keys": keys}, indent=2).encode() + b"\n"
