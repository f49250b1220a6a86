"""Secrets, which come only from files that nobody but their owner may read."""

import os
import re
import stat
from pathlib import Path

from authgate.errors import Problem

_MAX_FILE = 4096
# It stands in an Apache configuration and in a header: nothing there that needs quotes. 32 characters of hex or base64
# are 128 bits or more.
_SECRET = re.compile(rb"[A-Za-z0-9_+/=.-]{32,200}")


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
    if not stat.S_ISREG(status.st_mode) or status.st_mode & 0o077:
        problems.append(Problem(place, f"{file} is open to others than its owner", f"chmod 600 {file}"))
        return b""
    secret = content.removesuffix(b"\n")
    if _SECRET.fullmatch(secret) is None:
        what = f"{file} holds no secret of 32 to 200 letters, digits and _ + / = . -"
        problems.append(Problem(place, what, f"make one: openssl rand -hex 32 > {file}"))
        return b""
    return secret
