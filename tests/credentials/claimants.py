"""One person for each kind of credential, what each of them sends, and who is believed of two that come together."""

import base64
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import NamedTuple

from itsdangerous import TimestampSigner

from authgate.app import create_worker
from authgate.config import Settings
from authgate.credentials.revocations import KIND as REVOCATION
from authgate.credentials.revocations import Revocation
from authgate.credentials.session import KIND, SessionData, Sessions, decode
from authgate.model import Site, Subject
from authgate.stores.cache import CachedRecords
from tests.credentials.tokens import AUDIENCE, ISSUER, ONE, OTHER, claims, key_set

APPLICATION_SECRET = "a secret of the application, 32 bytes"

SECTIONS = f"""
[audit]
file = "audit.log"
allows = true

[certificates]
source = "pki"

[[issuers]]
source = "partner"
issuer = "{ISSUER}"
audience = "{AUDIENCE}"
keys = [{{ jwks = "partner.jwks.json" }}]
cookie = "token"

[[applications]]
source = "app"
kind = "starlette"
cookie = "application"
secrets = ["app.secret"]
user = "user"
"""

# Who is proved, as Remote-User names them, and by what.
PEOPLE: Mapping[str, tuple[str, str]] = {
    "server": ("server", "server"),
    "basic": ("basic", "basic"),
    "bearer": ("partner/bearer", "jwt"),
    "certificate": ("pki/certificate", "certificate"),
    "session": ("session", "session"),
    "jwt": ("partner/jwt", "jwt"),
    "application": ("app/application", "application"),
}
LOCAL = ("server", "basic", "session")

STATES = ("good", "bad", "absent")

# Nine letters for each pair, the states of the first in groups of three, those of the second within: A and B who is
# believed, a and b whose bad credential makes it nobody, "-" nobody without one, "." what cannot be sent.
ORDER = """
server       basic        AAA aaa Bb-
server       bearer       AAA aaa Bb-
server       certificate  AAA aaa Bb-
server       session      AAA aaa Bb-
server       jwt          AAA aaa B--
server       application  AAA aaa B--
basic        bearer       ..A ..a Bb-
basic        certificate  AAA aaa Bb-
basic        session      AAA aaa Bb-
basic        jwt          AAA aaa B--
basic        application  AAA aaa B--
bearer       certificate  AAA aaa Bb-
bearer       session      AAA aaa Bb-
bearer       jwt          AAA aaa B--
bearer       application  AAA aaa B--
certificate  session      AAA aaa Bb-
certificate  jwt          AAA aaa B--
certificate  application  AAA aaa B--
session      jwt          AAA aaa B--
session      application  AAA aaa B--
jwt          application  AAA B-- B--
"""


class Case(NamedTuple):
    """Two credentials that come together.

    Args:
        states: of each kind that is sent.
        user: who is believed; empty: nobody.
        credential: by what, or whose bad one makes it nobody.
        reason: for which a path that is not open is refused; empty when it is not.
    """

    states: Mapping[str, str]
    user: str
    credential: str
    reason: str

    def __str__(self) -> str:
        return ", ".join(f"{state} {kind}" for kind, state in self.states.items()) or "nothing"


def cases(*kinds: str) -> Iterator[Case]:
    """Return what the table says about every pair of these kinds."""
    for line in ORDER.split("\n")[1:-1]:
        first, second, *letters = line.split()
        if first in kinds and second in kinds:
            for index, letter in enumerate("".join(letters)):
                if letter != ".":
                    states = {first: STATES[index // 3], second: STATES[index % 3]}
                    sent = {kind: state for kind, state in states.items() if state != "absent"}
                    yield Case(sent, *_outcome(letter, first, second))


def _outcome(letter: str, first: str, second: str) -> tuple[str, str, str]:
    if letter == "-":
        return "", "none", "login_required"
    user, credential = PEOPLE[first if letter in "Aa" else second]
    return (user, credential, "") if letter in "AB" else ("", credential, "bad_credential")


class Purse(NamedTuple):
    """What the people send.

    Args:
        cookies: the pair, by kind and state.
        authorization: the field, by kind and state.
    """

    cookies: Mapping[tuple[str, str], str]
    authorization: Mapping[tuple[str, str], str]

    def headers(self, states: Mapping[str, str]) -> dict[str, str]:
        """Return the client's own fields. Cookies stand in the order opposite to that in which they count."""
        sent = list(states.items())
        cookies = "; ".join(self.cookies[one] for one in reversed(sent) if one in self.cookies)
        authorization = ", ".join(self.authorization[one] for one in sent if one in self.authorization)
        return ({"Cookie": cookies} if cookies else {}) | ({"Authorization": authorization} if authorization else {})


def write_files(folder: Path) -> None:
    """Write keys and secrets."""
    (folder / "partner.jwks.json").write_bytes(key_set(ONE))
    secret = folder / "app.secret"
    secret.touch(0o600)
    secret.write_text(APPLICATION_SECRET)


async def fill(settings: Settings, site: Site, password: str) -> Purse:
    """Log the session's person in and return what everybody sends.

    Args:
        password: of the person `basic`.
    """
    worker = create_worker(settings)
    async with aclosing(worker):
        records: CachedRecords[SessionData] = CachedRecords(worker.store, KIND, decode, 10)
        lifetimes = (settings.idle_timeout, settings.lifetime)
        sessions = Sessions(records, worker.store, worker.users, *lifetimes, time.time)
        session = await sessions.begin(Subject("", "session"), site)
        revoked = Revocation("partner", jti="revoked")
        await worker.store.put(REVOCATION, revoked.record(time.time() + 600))
    return purse(site, session, password)


def purse(site: Site, session: str, password: str) -> Purse:
    """Return what everybody sends.

    Args:
        session: the value of a session's cookie.
        password: of the person `basic`.
    """
    now = time.time()
    basic = base64.b64encode(f"basic:{password}".encode()).decode()
    signed = base64.b64encode(json.dumps({"user": "application"}).encode())
    application = TimestampSigner(APPLICATION_SECRET).sign(signed).decode()
    return Purse(
        {
            ("session", "good"): f"{site.session_cookie}={session}",
            ("session", "bad"): f"{site.session_cookie}={'A' * 43}",
            ("jwt", "good"): f"token={ONE.sign(claims(now, sub='jwt'))}",
            ("jwt", "bad"): f"token={OTHER.sign(claims(now, sub='jwt'))}",
            ("jwt", "expired"): f"token={ONE.sign(claims(now - 7200, sub='jwt'))}",
            ("jwt", "revoked"): f"token={ONE.sign(claims(now, sub='jwt', jti='revoked'))}",
            ("application", "good"): f"application={application}",
            ("application", "bad"): f"application={application[:-2]}",
        },
        {
            ("basic", "good"): f"Basic {basic}",
            # No wrong password: too many of them would be another reason.
            ("basic", "bad"): "Basic !!!!",
            ("bearer", "good"): f"Bearer {ONE.sign(claims(now, sub='bearer'))}",
            ("bearer", "bad"): f"Bearer {OTHER.sign(claims(now, sub='bearer'))}",
        },
    )


def audited(file: Path) -> dict[str, tuple[str, str, str]]:
    """Return user, credential and reason of every decision in an audit log, by its path."""
    lines: Sequence[str] = file.read_text().splitlines(keepends=True)
    found = [json.loads(line) for line in lines if line.endswith("\n")]
    return {line["path"]: (line["user"], line["credential"], line["reason"]) for line in found if "path" in line}


class Believed(NamedTuple):
    """What a web server gave, and what authgate noted.

    Args:
        noted: user, credential and reason; None when authgate was not asked.
    """

    protected: int
    public: int
    noted: tuple[str, str, str] | None
