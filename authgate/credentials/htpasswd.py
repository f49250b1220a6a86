"""Apache's two text files: htpasswd (``name:hash``) and group file (``group: user user``). Bytes to values, pure.

Every bad line is reported, none is skipped: a line that is silently ignored is a user who cannot log in, or a group
whose members a guard does not see.
"""

import re
import unicodedata
from collections.abc import Callable

from authgate.credentials import hashes
from authgate.errors import ConfigError, Problem

# Apache trims lines by C's isspace() and ends them at LF; Python's would also split at U+0085 and U+2028.
_SPACE = " \t\v\f\r"
# A member is a word, or stands in quotes when it holds spaces (Apache's ap_getword_conf).
_MEMBER = re.compile(r"""\s*(?:"([^"\\]*)"|'([^'\\]*)'|([^\s"'\\][^\s\\]*))(?=\s|\Z)""", re.ASCII)


def name_problem(name: str) -> str | None:
    """Return what forbids this name for a local user or group; None when it may be used."""
    if not name:
        return "an empty name"
    if name.strip() != name:
        return "a name with white space around it"
    if name.startswith("#"):
        return 'a name that begins with "#", which makes the line a comment'
    if "/" in name:
        # partner/alice means alice of the source "partner"; a local name in that form would be taken for her.
        return 'a name with "/" in it, which stands between a source and a name'
    if ":" in name:
        return 'a name with ":" in it'
    if any(unicodedata.category(character) == "Cc" for character in name):
        return "a name with a control character in it"
    return None


def parse_htpasswd(content: bytes, place: str) -> dict[str, str]:
    """Return name -> hash.

    Args:
        place: the file as problems name it.

    Raises:
        ConfigError: with every bad line; no problem quotes a hash.
    """
    lines: dict[str, str] = {}
    problems: list[Problem] = []

    def refuse(number: int, what: str, name: str = "", hint: str = "") -> None:
        # Somebody who swaps the fields puts the hash where the name belongs.
        is_hash = "$" in name or "{" in name or hashes.scheme(name) is not None
        shown = f', user "{name}"' if name and len(name) <= 64 and not is_hash else ""
        problems.append(Problem(f"{place}: line {number}{shown}", what, hint))

    for number, text in _lines(content, refuse):
        # Apache's and nginx's form: name:hash, then perhaps :comment.
        name, colon, rest = text.partition(":")
        line = rest.partition(":")[0]
        if not colon:
            refuse(number, "no colon", hint="write name:hash")
        elif what := name_problem(name):
            refuse(number, what, name if name.isprintable() else "")
        elif name in lines:
            refuse(number, "this user was listed before", name, "remove one of the lines")
        elif what := hashes.problem(line):
            refuse(number, what, name, hashes.HINT)
        else:
            lines[name] = line
    if problems:
        raise ConfigError(problems)
    return lines


def parse_groups(content: bytes, place: str) -> dict[str, frozenset[str]]:
    """Return user -> groups; a group that is listed twice has the members of both lines, as in Apache.

    Args:
        place: the file as problems name it.

    Raises:
        ConfigError: with every bad line.
    """
    groups: dict[str, set[str]] = {}
    problems: list[Problem] = []

    def refuse(number: int, what: str, hint: str = "write group: user user") -> None:
        problems.append(Problem(f"{place}: line {number}", what, hint))

    for number, text in _lines(content, refuse):
        group, colon, rest = text.partition(":")
        members = split_members(rest)
        if not colon:
            refuse(number, "no colon")
        elif what := name_problem(group):
            refuse(number, f"{what} as group name")
        elif members is None:
            refuse(number, "quotes or backslashes that do not belong to a name")
        else:
            for member in members:
                groups.setdefault(member, set()).add(group)
    if problems:
        raise ConfigError(problems)
    return {user: frozenset(names) for user, names in groups.items()}


def split_members(text: str) -> list[str] | None:
    """Return the users that a group line names after its colon; None when it cannot be read."""
    members = []
    text = text.rstrip(_SPACE)
    at = 0
    while at < len(text):
        # Anchored at `at` and followed by white space or the end: nothing between two members is skipped.
        match = _MEMBER.match(text, at)
        if match is None:
            return None
        members.append(next(part for part in match.groups() if part is not None))
        at = match.end()
    return members


def _lines(content: bytes, refuse: Callable[[int, str], None]) -> list[tuple[int, str]]:
    """Return the lines that say something, with their numbers; comments and blank lines are Apache's."""
    found = []
    for number, octets in enumerate(content.split(b"\n"), start=1):
        try:
            text = octets.decode()
        except UnicodeDecodeError:
            refuse(number, "not UTF-8")
            continue
        text = text.rstrip(_SPACE)
        if text.endswith("\\"):
            refuse(number, "a backslash at the end of the line; lines cannot be continued")
        elif text and not text.lstrip(_SPACE).startswith("#"):
            found.append((number, text))
    return found
