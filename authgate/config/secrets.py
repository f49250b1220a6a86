"""Secrets, which come only from files that nobody but their owner may read."""

import os
import re
import stat
from pathlib import Path

from authgate.errors import ConfigError, Problem

_MAX_FILE = 4096
# It stands in an Apache configuration and in a header: nothing there that needs quotes. 32 characters of hex or base64
# are 128 bits or more.
_SECRET = re.compile(rb"[A-Za-z0-9_+/=.-]{32,200}")
# Of an application: any bytes, but not so few that they can be guessed from one cookie.
_MIN_OF_OTHERS = 16


def is_private(status: os.stat_result) -> bool:
    """Tell whether this is a regular file that nobody but its owner may open."""
    return stat.S_ISREG(status.st_mode) and not status.st_mode & 0o077


def require_private(path: Path, what: str = "") -> None:
    """Refuse a file that others than its owner may open, or that cannot be looked at.

    Args:
        what: is in it, for the message; empty: the name of the file says it.

    Raises:
        ConfigError: it is one.
    """
    try:
        private = is_private(path.stat())
    except OSError:
        private = False
    if not private:
        message = f"{what}, open to others than its owner".removeprefix(", ")
        raise ConfigError([Problem(str(path), message, f"chmod 600 {path}")])


def read_secret(file: Path, place: str, problems: list[Problem]) -> bytes:
    """Return the secret in a file; add what is wrong to `problems` and return nothing when anything is."""
    try:
        with file.open("rb") as opened:
            status = os.fstat(opened.fileno())
            content = opened.read(_MAX_FILE)
    except OSError as error:
        hint = f"make one: umask 077; openssl rand -hex 32 > {file}"
        problems.append(Problem(place, f"{file}: {(error.strerror or 'cannot be read').lower()}", hint))
        return b""
    if not is_private(status):
        problems.append(Problem(place, f"{file} is open to others than its owner", f"chmod 600 {file}"))
        return b""
    secret = content.removesuffix(b"\n")
    if _SECRET.fullmatch(secret) is None:
        what = f"{file} holds no secret of 32 to 200 letters, digits and _ + / = . -"
        problems.append(Problem(place, what, f"make one: openssl rand -hex 32 > {file}"))
        return b""
    return secret


def parse_secret_of_others(content: bytes, name: str) -> bytes:
    """Return an application's secret key, as it stands in a file; a line end after it is not part of it.

    Args:
        name: the file's.

    Raises:
        ConfigError: it is open to others, too short or too long.
    """
    require_private(Path(name))
    secret = content.removesuffix(b"\n")
    if not _MIN_OF_OTHERS <= len(secret) <= _MAX_FILE:
        what = f"holds no secret key of {_MIN_OF_OTHERS} to {_MAX_FILE} bytes"
        raise ConfigError([Problem(name, what, "the application's own, alone in the file")])
    return secret
