"""Flask's tagged JSON: an object of one member whose name is a tag stands for what JSON has no form for.

Written as ``flask.json.tag`` writes it, and read more strictly: what Flask cannot have written is an error.
"""

import base64
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from uuid import UUID

from authgate.credentials.session_data import MAX_DEPTH

_HEX = re.compile(r"[0-9a-f]{32}")
# Flask appends it to the only name of an object that would otherwise look like a tag.
_SUFFIX = "__"


def untag(value: object, depth: int = 2 * MAX_DEPTH) -> object:
    """Return what tagged JSON stands for.

    Args:
        depth: to which it may nest; a tag is one more level around each value.

    Raises:
        ValueError: it nests deeper, or a tag does not hold what belongs to it.
    """
    if not isinstance(value, dict | list):
        return value
    if not depth:
        raise ValueError("nested too deeply")
    if isinstance(value, list):
        return [untag(part, depth - 1) for part in value]
    members = {name: untag(part, depth - 1) for name, part in value.items()}
    if len(members) != 1:
        return members
    ((name, content),) = members.items()
    read = _TAGS.get(name)
    return members if read is None else read(content)


def _tuple(content: object) -> tuple[object, ...]:
    if not isinstance(content, list):
        raise ValueError("no list")  # noqa: TRY004 - a text that is wrong, not an argument
    return tuple(content)


def _object(content: object) -> dict[str, object]:
    if isinstance(content, dict) and len(content) == 1:
        ((name, value),) = content.items()
        if name.endswith(_SUFFIX) and name.removesuffix(_SUFFIX) in _TAGS:
            return {name.removesuffix(_SUFFIX): value}
    raise ValueError("not an object that looks like a tag")


def _bytes(content: object) -> bytes:
    return base64.b64decode(_text(content), validate=True)


def _uuid(content: object) -> UUID:
    if _HEX.fullmatch(_text(content)) is None:
        raise ValueError("no UUID")
    return UUID(_text(content))


def _moment(content: object) -> datetime:
    found = parsedate_to_datetime(_text(content))
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _text(content: object) -> str:
    if not isinstance(content, str):
        raise ValueError("no text")  # noqa: TRY004 - a text that is wrong, not an argument
    return content


_TAGS: Mapping[str, Callable[[object], object]] = {
    " t": _tuple,
    " di": _object,
    " b": _bytes,
    # Markup is text that a template shall not escape, which is nobody's business here.
    " m": _text,
    " u": _uuid,
    " d": _moment,
}
