"""Requests of somebody who tries everything: made from a seed and a number, and the same each time."""

import json
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes

from tests.hostile.tree import BY_PATH, PEOPLE
from tests.hostile.words import DOTS, ENDS, HOSTS, INSERTS, LINES, METHODS, NAMES, NOTHING, SLASHES, VERSIONS

# What stands for the folder of the site, whose name is another each time.
ROOT = b"@root@"
# The name of the site.
HOST = b"@host@"

_CASES = json.loads((Path(__file__).parent.parent / "vectors" / "paths" / "targets.json").read_text())
# The file shortens what is long.
MEASURED: tuple[bytes, ...] = tuple(
    case["target"].encode("latin-1") for case in _CASES if "bytes)" not in case["target"]
)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request as it is sent.

    Args:
        headers: whole lines, besides Host and credentials.
        host: the value of Host; empty for the site that is asked.
    """

    target: bytes
    method: bytes = b"GET"
    version: bytes = b"HTTP/1.1"
    headers: tuple[bytes, ...] = ()
    who: str = "nobody"
    host: bytes = b""

    def lines(self, host: bytes, credentials: Sequence[bytes], root: bytes) -> bytes:
        """Return the bytes of the request."""
        line = b"%s %s" % (self.method, self.target) + (b" " + self.version if self.version else b"")
        head = [line, b"Host: " + (self.host or host), *credentials, *self.headers]
        if self.method in {b"POST", b"PUT"}:
            head.append(b"Content-Length: 0")
        if self.alone:
            head.append(b"Connection: close")
        return b"\r\n".join([*head, b"", b""]).replace(ROOT, root).replace(HOST, host)

    @property
    def alone(self) -> bool:
        """True when it may be more requests than one, or none, so that nothing can be sent behind it."""
        text = b"".join((self.method, self.target, self.host, *self.headers))
        return self.version != b"HTTP/1.1" or b"\n" in text or b"\r" in text

    def as_toml(self, about: str) -> str:
        """Return the request as a case of tests/vectors/hostile.toml."""
        usual = Attempt(b"")
        lines = ["[[cases]]", f"about = {_text(about.encode())}", f"target = {_text(self.target)}"]
        for name in ("method", "version", "host"):
            value = getattr(self, name)
            if value != getattr(usual, name):
                lines.append(f"{name} = {_text(value)}")
        if self.headers:
            lines.append(f"headers = [{', '.join(map(_text, self.headers))}]")
        if self.who != usual.who:
            lines.append(f'who = "{self.who}"')
        return "\n".join([*lines, ""])


def from_toml(case: Mapping[str, Any]) -> Attempt:
    """Return the request of a case of tests/vectors/hostile.toml."""
    given = {name: case[name].encode("latin-1") for name in ("method", "version", "host") if name in case}
    headers = tuple(line.encode("latin-1") for line in case.get("headers", ()))
    target = case["target"].encode("latin-1") * case.get("times", 1) + case.get("then", "").encode("latin-1")
    return Attempt(target, headers=headers, who=case.get("who", "nobody"), **given)


def _text(value: bytes) -> str:
    # TOML is stricter than JSON about one character alone.
    return json.dumps(value.decode("latin-1")).replace("\x7f", "\\u007f")


Change = Callable[[random.Random, bytes], bytes]

_PATHS = tuple(BY_PATH)
_FOLDERS = tuple(sorted({path[: path.rindex(b"/") + 1] for path in _PATHS}))
# Where a server goes on to another file by itself.
_LOCATIONS = (b"/old", b"/here", b"/app", b"/spa", b"/folder", b"/gone", b"/lost", b"/nested", b"/alias", b"/public")
_CHARACTER = re.compile(rb"%[0-9A-Fa-f]{2}|[^/%?#]")


def quoted(path: bytes) -> bytes:
    """Return an address as every program would write it."""
    return quote_from_bytes(path, safe="/").encode()


def _place(dice: random.Random, target: bytes) -> int:
    return dice.randrange(len(target) + 1)


def _otherwise(dice: random.Random, target: bytes) -> bytes:
    """Write the same address in another way that every server reads alike."""
    form = dice.choice((b"%%%02x", b"%%%02X"))
    rate = dice.choice((0.1, 0.5, 1.0))

    def written(found: re.Match[bytes]) -> bytes:
        return form % found[0][0] if len(found[0]) == 1 and dice.random() < rate else found[0]

    pieces = _CHARACTER.sub(written, target).split(b"/")
    if dice.random() < 0.5:
        pieces.insert(dice.randrange(1, len(pieces)) if len(pieces) > 1 else 0, dice.choice(NOTHING))
    return b"/".join(pieces) + dice.choice((b"", b"", b"?", b"?x=/../", b"?/../private/secret.txt", b"??", b"?%2e%2e"))


def _slash(dice: random.Random, target: bytes) -> bytes:
    """Write one slash otherwise."""
    places = [index for index, byte in enumerate(target) if byte == 0x2F]
    if not places:
        return b"/" + target
    at = dice.choice(places)
    return target[:at] + dice.choice(SLASHES) + target[at + 1 :]


def _dots(dice: random.Random, target: bytes) -> bytes:
    """Put dots between two slashes."""
    places = [index for index, byte in enumerate(target) if byte == 0x2F] or [0]
    at = dice.choice(places)
    name = dice.choice((b"", b"/x", b"/public", b"/private", b"/.")) if dice.random() < 0.85 else b""
    return target[:at] + name + b"/" + dice.choice(DOTS) + target[at:]


def _encode(dice: random.Random, target: bytes) -> bytes:
    """Encode some of the bytes, once, twice or as no standard knows it."""
    rate = dice.choice((0.08, 0.3, 1.0))
    form = dice.choice(("%%%02x", "%%%02X", "%%25%02x", "%%25%02X", "%%u00%02x", "%%2525%02x", "%%%02x", "%%%02x"))
    keep = b"" if dice.random() < 0.2 else b"/"
    return b"".join(
        bytes([byte]) if byte in keep or dice.random() > rate else (form % byte).encode() for byte in target
    )


def _overlong(dice: random.Random, target: bytes) -> bytes:
    """Write one byte in more bytes than UTF-8 allows."""
    at = dice.randrange(len(target)) if target else 0
    byte = target[at] if target else 0x2F
    two = bytes([0xC0 | byte >> 6, 0x80 | byte & 0x3F]) if byte < 0x80 else bytes([byte])
    return target[:at] + (two if dice.random() < 0.3 else quoted(two)) + target[at + 1 :]


def _fullwidth(dice: random.Random, target: bytes) -> bytes:
    """Write one character as its full-width double."""
    places = [index for index, byte in enumerate(target) if 0x21 <= byte <= 0x7E]
    if not places:
        return target
    at = dice.choice(places)
    wide = chr(0xFEE0 + target[at]).encode()
    return target[:at] + (wide if dice.random() < 0.5 else quoted(wide)) + target[at + 1 :]


def _case(dice: random.Random, target: bytes) -> bytes:
    """Write letters in the other case."""
    if dice.random() < 0.4:
        return target.swapcase()
    return b"".join(bytes([byte]).swapcase() if dice.random() < 0.15 else bytes([byte]) for byte in target)


def _insert(dice: random.Random, target: bytes) -> bytes:
    at = _place(dice, target)
    return target[:at] + dice.choice(INSERTS) + target[at:]


def _end(dice: random.Random, target: bytes) -> bytes:
    return target + dice.choice(ENDS)


def _byte(dice: random.Random, target: bytes) -> bytes:
    """Take a byte away, double one or put any in."""
    at = _place(dice, target)
    return target[:at] + dice.choice((b"", target[at : at + 1] * 2, bytes([dice.randrange(256)]))) + target[at + 1 :]


def _segments(dice: random.Random, target: bytes) -> bytes:
    """Mix up the segments."""
    parts = target.split(b"/")
    at, other = dice.randrange(len(parts)), dice.randrange(len(parts))
    match dice.randrange(4):
        case 0:
            parts[at], parts[other] = parts[other], parts[at]
        case 1:
            parts.insert(at, parts[other])
        case 2:
            del parts[at]
        case _:
            parts.insert(at, dice.choice(DOTS))
    return b"/".join(parts)


def _through(dice: random.Random, target: bytes) -> bytes:
    """Go through a location that leads on."""
    location = dice.choice(_LOCATIONS)
    return location + (target if target[:1] == b"/" else b"/" + target)


def _detour(dice: random.Random, target: bytes) -> bytes:
    """Go up from an open folder to a file of another."""
    folder = dice.choice(_FOLDERS)
    ups = folder.count(b"/") - 1 + dice.choice((0, 0, 0, 0, 0, 0, 0, 1, -1))
    # Half of them as every server understands them: what is tried then is what they lead to.
    up = dice.choice((b"..", b"..", b"%2e%2e", b".%2E") if dice.random() < 0.5 else DOTS)
    slash = b"/" if dice.random() < 0.6 else dice.choice(SLASHES)
    return quoted(folder) + (up + slash) * max(ups, 1) + target.lstrip(b"/")


def _absolute(dice: random.Random, target: bytes) -> bytes:
    """Name a host in the target."""
    scheme = dice.choice((b"http", b"http", b"HTTP", b"https", b"hTTp", b"ftp", b"file", b""))
    user = dice.choice((b"", b"", b"", b"alice@", b"alice:alice-demo@", b"evil.example%40"))
    host = dice.choice(HOSTS) or HOST
    port = dice.choice((b"", b"", b"", b":80", b":", b":0", b":99999", b":x"))
    between = dice.choice((b"://", b"://", b"://", b":", b":/", b":///", b"//"))
    return scheme + between + user + host + port + target


def _odd_form(dice: random.Random, target: bytes) -> bytes:
    """Use no form that a request for a file has."""
    return dice.choice(
        (b"*", b"", b"localhost:80", target.lstrip(b"/"), b"/" + ROOT + target, b"*" + target, b"?" + target)
    )


def _long(dice: random.Random, target: bytes) -> bytes:
    """Be longer than a buffer."""
    piece = dice.choice((b"/.", b"/a/..", b"//", b"/%2e", b"/public/..", b";x", b"%2e/", b"/x%2f..", b"x"))
    times = dice.choice((40, 300, 1000, 2000, 4000)) // len(piece) + 1
    return piece * times + target if dice.random() < 0.7 else target + piece * times


def _root(dice: random.Random, target: bytes) -> bytes:
    """Name the file as the machine knows it."""
    return dice.choice((b"", b"/old", b"/alias", b"/alias..", b"/old/", b"/public/")) + ROOT + target


_CHANGES: Mapping[Change, int] = {
    _otherwise: 34, _slash: 14, _dots: 12, _encode: 16, _overlong: 4, _fullwidth: 3, _case: 4, _insert: 10, _end: 14,
    _byte: 5, _segments: 7, _through: 9, _detour: 12, _absolute: 3, _odd_form: 1, _long: 1, _root: 1,
}  # fmt: skip
_KINDS = list(_CHANGES)
_WEIGHTS = list(_CHANGES.values())
_PEOPLE: tuple[str, ...] = tuple(PEOPLE)


def _spoken(dice: random.Random) -> bytes:
    """Return a target from the grammar: segments and what is between them, up to a file of the tree."""
    parts = []
    for _ in range(dice.randrange(1, 5)):
        parts.append(dice.choice((dice.choice(_LOCATIONS)[1:], dice.choice(DOTS), dice.choice(INSERTS), b"x", b"")))
        parts.append(b"/" if dice.random() < 0.6 else dice.choice(SLASHES))
    return b"/" + b"".join(parts) + dice.choice((quoted, bytes))(dice.choice(_PATHS)).lstrip(b"/")


def _target(dice: random.Random, calm: bool) -> bytes:
    source = dice.random()
    if source < 0.08:
        target = dice.choice(MEASURED)
        if dice.random() < 0.6:
            target = dice.choice((b"/private", b"/public")) + target
    elif source < 0.2:
        return _spoken(dice)
    else:
        target = quoted(dice.choice(_PATHS))
    # What a header does shows with a target that nobody refuses for its own sake.
    for change in dice.choices(_KINDS, _WEIGHTS, k=dice.choice((0, 0, 1) if calm else (1, 1, 1, 1, 2, 2, 3))):
        target = change(dice, target)
    return target


def _header(dice: random.Random) -> bytes:
    if dice.random() < 0.4:
        path = dice.choice((dice.choice(_PATHS), dice.choice(_PATHS), b"/index.html", b"/../private/secret.txt"))
        return dice.choice(NAMES) + b": " + (quoted(path) if dice.random() < 0.7 else path.replace(b"\n", b""))
    return dice.choice(LINES)


def attempt(seed: int, number: int) -> Attempt:
    """Return the request of that number."""
    # An int: hashing a text for each seed costs more than the request.
    dice = random.Random(seed * 1_000_003 + number)
    headers = tuple(_header(dice) for _ in range(dice.choice((1, 1, 2, 3)))) if dice.random() < 0.3 else ()
    return Attempt(
        target=_target(dice, bool(headers) and dice.random() < 0.6),
        method=dice.choice(METHODS) if dice.random() < 0.17 else b"GET",
        version=dice.choice(VERSIONS) if dice.random() < 0.03 else b"HTTP/1.1",
        headers=headers,
        who=dice.choice(_PEOPLE),
        host=dice.choice(HOSTS) if dice.random() < 0.04 else b"",
    )


def plain(path: bytes, who: str) -> Attempt:
    """Return the request of somebody who tries nothing."""
    return Attempt(quoted(path), who=who)
