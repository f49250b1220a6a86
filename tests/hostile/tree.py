"""The files of a site on which nearly every open file has a closed neighbour, and who may have which.

Each file holds a marker of its own, several times, so that a part of it gives it away as well.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from authgate.engine import decide
from authgate.model import NOBODY, AccessRequest, Decision, Facts, Identity, Outcome
from authgate.networks import parse_address
from authgate.policy import Policy
from tests.policies import local
from tests.servers import make_file

NEIGHBOUR = "neighbour.example.com"

PEOPLE: Mapping[str, Identity] = {"nobody": NOBODY, "alice": local("alice", "staff"), "bob": local("bob")}

MARKER = re.compile(rb"\{marker ([0-9]{4})\}")

# Below the root of the site: what everybody may have, and what nobody may.
_OPEN_FILES = (
    "/index.html", "/public/hello.txt", "/public/index.html", "/public/sub/index.html", "/public/sub/deep/page.txt",
    "/public/Closed.txt", "/public/closed.txt.", "/public/Private/secret.txt", "/public/a/b", "/public/b%2fc",
    "/public/..open", "/public/...", "/public/x", "/public/w", "/public/sp ace.txt", "/public/trail", "/public/q",
    "/public/h", "/public/\u00fcber.txt", "/public/nai\u0308ve", "/public/full.txt", "/public/back\\slash",
    "/public/report", "/public/backup.txt", "/public/stream.txt", "/public/plus+sign", "/public/missing.html",
    "/docs/a.pdf", "/re/open.txt", "/re/deep/open.txt", "/app/index.html", "/app/own.js", "/spa/own.js",
    "/folder/hello.txt", "/folder/sub/hello.txt", "/gone/hello.txt", "/lost/hello.txt", "/nested/open.txt",
)  # fmt: skip
_CLOSED_FILES = (
    "/public/HELLO.TXT", "/public/hello.txt.", "/public/hello.txt%00", "/public/closed.txt",
    "/public/private/secret.txt", "/public/private/index.html", "/public/a%2fb", "/public/b/c",
    "/public/%2e%2e/dots.txt", "/public/..secret", "/public/.hidden", "/public/.htaccess", "/public/x;y",
    "/public/w;v=1", "/public/sp", "/public/trail ", "/public/q?x", "/public/h#x", "/public/u\u0308ber.txt",
    "/public/na\u00efve", "/public/full\uff0etxt", "/public/back/slash", "/public/report.html",
    "/public/backup.txt~", "/public/stream.txt::$DATA", "/public/plus sign", "/private/secret.txt",
    "/private/index.html", "/private/missing.html", "/private/folder/deep.txt", "/private/b", "/private/a/b",
    "/Staff/handbook.txt", "/home/Alice/notes.txt", "/home/alice;bob/notes.txt", "/docs/a.pdf.txt", "/docs/.pdf",
    "/docs/sub/b.pdf", "/re/UPPER.txt", "/re/open.txt~", "/re/a1.txt", "/folder/indexed/index.html",
    "/nested/closed.pdf", "/upload/only-post.txt", "/here/secret.txt", "/authgate/hidden.txt", "/_authgate",
    "/_files/secret.txt", "/unruled/secret.txt",
)  # fmt: skip
# What some may have.
_PRIVATE_FILES: Mapping[str, tuple[str, ...]] = {
    "/staff/handbook.txt": ("alice",),
    "/home/alice/notes.txt": ("alice",),
    "/app/admin.js": ("alice",),
    "/home/bob/notes.txt": ("bob",),
    "/docs/notes.txt": ("alice", "bob"),
}
# Names that no rule can admit: control bytes, and what is not UTF-8.
_UNNAMEABLE = (b"/public/latin\xe9.txt", b"/public/tab\tfile", b"/public/line\nfeed", b"/public/\xc0\xaefile")
_NEIGHBOURS: Mapping[str, tuple[str, ...]] = {
    "/private/secret.txt": tuple(PEOPLE),
    "/index.html": tuple(PEOPLE),
    "/public/hello.txt": (),
    "/staff/handbook.txt": (),
}

_CLOSED = r"""
    "/public/HELLO.TXT", "/public/hello.txt.", "/public/hello.txt%00", "/public/closed.txt", "/public/a%2fb",
    "/public/b/c", "/public/%2e%2e/**", "/public/..secret", "/public/.hidden", "/public/.htaccess", "/public/x;y",
    "/public/w;v=1", "/public/sp", "/public/trail ", "/public/q?x", "/public/h#x", "/public/u\u0308ber.txt",
    "/public/na\u00efve", "/public/full\uff0etxt", "/public/back/slash", "/public/report.html", "/public/backup.txt~",
    "/public/stream.txt::$DATA", "/public/plus sign", "/nested/closed.pdf", "/here/secret.txt", "/alias/closed.txt",
"""
_OPEN = """
    "/", "/index.html", "/public/**", "/app/**", "/spa/**", "/folder/**", "/gone/**", "/lost/**", "/nested/**",
    "/old/**", "/here/**", "/alias/**",
"""
_RULES: tuple[tuple[str, str, str], ...] = (
    ("closed/folders", '"/private/**", "/public/private/**", "/folder/indexed/**"', 'deny = ["anyone"]'),
    ("closed/files", _CLOSED, 'deny = ["anyone"]'),
    ("app/admin", '"/app/admin.js"', 'allow = ["group:staff"]'),
    ("open", _OPEN, 'allow = ["anyone"]'),
    ("staff", '"/staff/**"', 'allow = ["group:staff"]'),
    ("homes", '"/home/{owner}/**"', 'allow = ["user:{owner}"]'),
    ("documents/pdf", '"/docs/*.pdf"', 'allow = ["anyone"]'),
    ("documents/notes", '"/docs/notes.txt"', 'allow = ["authenticated"]'),
    ("expression", r'"re:/re/(?:[a-z]+/)*[a-z]+\\.txt"', 'allow = ["anyone"]'),
    ("upload", '"/upload/**"', 'methods = ["POST", "PUT"]\nallow = ["anyone"]'),
)
_NEIGHBOUR_RULES: tuple[tuple[str, str, str], ...] = (
    ("neighbour/closed", '"/public/**", "/staff/**"', 'deny = ["anyone"]'),
    ("neighbour", '"/**"', 'allow = ["anyone"]'),
)


@dataclass(frozen=True, slots=True)
class File:
    """One file.

    Args:
        number: the one in its marker.
        place: where it is, below the folder of everything.
        path: the address that rules know it by; empty when it has none.
        people: those who may have it, written by hand: what authgate says is compared with it and not with itself.
        neighbour: it belongs to the other site.
    """

    number: int
    place: bytes
    path: bytes
    people: tuple[str, ...] = ()
    neighbour: bool = False

    @property
    def marker(self) -> bytes:
        return b"{marker %04d}" % self.number

    @property
    def is_inside(self) -> bool:
        """True when it lies below the root of the site."""
        return self.place.startswith(b"root/")


def _files() -> Iterator[tuple[bytes, bytes, tuple[str, ...], bool]]:
    everybody = tuple(PEOPLE)
    people = {**dict.fromkeys(_OPEN_FILES, everybody), **dict.fromkeys(_CLOSED_FILES, ()), **_PRIVATE_FILES}
    for text, who in people.items():
        yield b"root" + text.encode(), text.encode(), who, False
    for path in _UNNAMEABLE:
        yield b"root" + path, path, (), False
    for name, who in (("shelf.txt", everybody), ("closed.txt", ())):
        yield b"shelf/" + name.encode(), b"/alias/" + name.encode(), who, False
    for text, who in _NEIGHBOURS.items():
        yield b"neighbour" + text.encode(), text.encode(), who, True
    for place in (b"outside.txt", b"shelfmate/secret.txt", b"root.txt", b"shelf.txt"):
        yield place, b"", (), False


FILES = tuple(File(number, *found) for number, found in enumerate(_files()))
BY_PATH: Mapping[bytes, File] = {file.path: file for file in FILES if file.path and not file.neighbour}

# The numbers of the files that each person may have.
ALLOWED: Mapping[str, frozenset[int]] = {
    who: frozenset(file.number for file in FILES if who in file.people) for who in PEOPLE
}
# What the rule about methods opens to everybody who sends something.
OPEN_TO_POST = frozenset({BY_PATH[b"/upload/only-post.txt"].number})


def write(folder: Path) -> None:
    """Put every file below a folder."""
    for file in FILES:
        # No part of a file that anybody can ask for in a range is without a whole marker.
        make_file(str(folder).encode() + b"/" + file.place, file.marker * 24)


def rules(host: str, deliver: str = "") -> str:
    """Return the rules of one host as TOML.

    Args:
        deliver: what each rule that admits somebody says about delivering.
    """
    table = _NEIGHBOUR_RULES if host == NEIGHBOUR else _RULES
    return "".join(
        f'[[rules]]\nname = "{host}/{name}"\nhosts = ["{host}"]\npaths = [{paths}]\n{terms}\n'
        + (deliver if "allow" in terms else "")
        for name, paths, terms in table
    )


def decided(policy: Policy, host: str, file: File, method: str = "GET") -> tuple[str, ...]:
    """Return who may have a file by its own address, as `decide` says it."""
    address, path = parse_address("127.0.0.1"), file.path.decode("utf-8", "surrogateescape")
    asked = AccessRequest(method, NEIGHBOUR if file.neighbour else host, path, "http", address, 0.0)
    said = {who: decide(policy, asked, Facts(identity)) for who, identity in PEOPLE.items()}
    return tuple(who for who, one in said.items() if isinstance(one, Decision) and one.outcome is Outcome.ALLOW)


def numbers_in(answer: bytes) -> frozenset[int]:
    """Return the numbers of the files that an answer shows something of."""
    return frozenset(int(found) for found in MARKER.findall(answer))


def wrong(answer: bytes, allowed: frozenset[int]) -> list[File]:
    """Return the files that an answer shows something of and must not."""
    return [FILES[number] for number in sorted(numbers_in(answer) - allowed)]
