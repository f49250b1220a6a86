"""``deliver`` of a rule: where the files are that it opens, and what is said about them."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches

from authgate.paths import is_canonical

DISPOSITIONS = ("inline", "attachment")

# Bytes a second, as nginx itself writes sizes.
_RATE = re.compile(r"([1-9][0-9]{0,8})([km]?)")
_UNITS = {"": 1, "k": 1024, "m": 1024 * 1024}

_KEYS = frozenset({"root", "internal", "disposition", "limit_rate"})
_EXAMPLE = 'write deliver = { root = "/srv/files", internal = "/_files/" }'


@dataclass(frozen=True, slots=True)
class Delivery:
    """How the files of a rule reach the client.

    Args:
        root: absolute, without a final slash; a file is below it under the whole path of the request.
        internal: where nginx has this folder, with a slash at both ends; empty: Apache sends the file by its name.
        disposition: one of `DISPOSITIONS`; empty: the client is told nothing.
        limit_rate: bytes a second; 0: no limit.
    """

    root: str
    internal: str = ""
    disposition: str = ""
    limit_rate: int = 0


def parse_delivery(value: object, problem: Callable[[str, str], None]) -> Delivery | None:
    """Read the table ``deliver`` of a rule; tell `problem` what is wrong, and what to write, and return None then."""
    if not isinstance(value, dict):
        problem("deliver is not a table", _EXAMPLE)
        return None
    wrong = [(f'unknown key "{key}" in deliver', _hint(key)) for key in sorted(value.keys() - _KEYS)]
    root = value.get("root")
    if not _is_root(root):
        wrong.append(("root in deliver is no folder below /", 'write root = "/srv/files", absolute and without ".."'))
    if "internal" in value and not _is_internal(value["internal"]):
        wrong.append(("internal in deliver is no place of nginx", 'write internal = "/_files/", a slash at both ends'))
    if "disposition" in value and value["disposition"] not in DISPOSITIONS:
        wrong.append(("disposition in deliver is not valid", 'write "inline" or "attachment"'))
    limit = _parse_rate(value["limit_rate"]) if "limit_rate" in value else 0
    if limit is None:
        wrong.append(("limit_rate in deliver is not valid", 'bytes a second: write "500k" or "2m"'))
    elif limit and "internal" not in value:
        wrong.append(("limit_rate in deliver without internal", "only nginx has it; Apache has mod_ratelimit"))
    for message, hint in wrong:
        problem(message, hint)
    if wrong:
        return None
    internal, disposition = value.get("internal", ""), value.get("disposition", "")
    return Delivery(str(root).rstrip("/"), str(internal), str(disposition), limit or 0)


def _hint(key: str) -> str:
    close = get_close_matches(key, _KEYS, n=1)
    return f'did you mean "{close[0]}"?' if close else f"the keys are {', '.join(sorted(_KEYS))}"


def _is_root(value: object) -> bool:
    # A canonical path has no other name; "/" would open the whole machine.
    return isinstance(value, str) and is_canonical(value) and value != "/"


def _is_internal(value: object) -> bool:
    # At "/" nginx would begin again with the location that asked.
    return isinstance(value, str) and is_canonical(value) and len(value) > 1 and value.endswith("/")


def _parse_rate(value: object) -> int | None:
    """Return the bytes a second; None when that is no rate."""
    found = _RATE.fullmatch(value) if isinstance(value, str) else None
    return int(found[1]) * _UNITS[found[2]] if found else None
