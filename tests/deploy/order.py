"""The table of credentials that come together, asked of a web server over TLS."""

import asyncio
import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from authgate.config import load
from tests import servers
from tests.credentials.authority import CN, OU
from tests.credentials.claimants import LOCAL, SECTIONS, Believed, Case, Purse, audited, fill, write_files
from tests.credentials.people import sha
from tests.deploy.certified import Holders, ask
from tests.deploy.house import CHEAP, TLS_HOST, House, password

RULES = """
[[rules]]
name = "protected"
paths = ["/protected/**", "/login/*/protected/**"]
allow = ["authenticated"]

[[rules]]
name = "open to all"
paths = ["/public/**", "/login/*/public/**"]
allow = ["anyone"]
"""
ALL = SECTIONS + RULES

# Nothing is there: who gets 404 was let in.
LET_IN = 404

# The web server's own login is by Basic; where that is, authgate is told no other.
AT_THE_LOGIN: Mapping[str, str] = {"good": "server", "bad": "ser/ver"}
PASSWORD = "known to the web server"


@dataclass(frozen=True, slots=True)
class Town:
    """A house over TLS, and everybody who comes."""

    house: House
    holders: Holders
    purse: Purse

    def believed(self, cases: Iterable[Case], prefix: str = "") -> list[tuple[Case, Believed]]:
        """Ask everything below `prefix`, and return what came of it."""
        asked = [(f"{prefix}/protected/{number}", case) for number, case in enumerate(cases)]
        statuses = [
            (self._ask(case, path), self._ask(case, path.replace("protected", "public"))) for path, case in asked
        ]
        log = self.house.folder / "audit.log"
        noted = {path for path, case in asked if not prefix or "server" in case.states}
        servers.eventually(lambda: noted <= audited(log).keys(), "all decisions are noted")
        lines = audited(log)
        return [(case, Believed(*both, lines.get(path))) for (path, case), both in zip(asked, statuses, strict=True)]

    def _ask(self, case: Case, path: str) -> int:
        headers = self.purse.headers(case.states)
        state = case.states.get("certificate")
        context = self.holders.context(f"certificate, {state}" if state else None)
        return ask(self.house.tls_port, context, path, headers).status


def settle(house: House) -> Town:
    """Let everybody move into a house that is built."""
    lines = [f"{user}:{CHEAP.hash(password(user))}\n" for user in LOCAL]
    (house.folder / "users.htpasswd").write_text("".join(lines))
    write_files(house.folder)
    holders = Holders(house.folder / "clients")
    holders.write()
    for state, subject in (("good", [(CN, "certificate")]), ("bad", [(OU, "staff")])):
        holders.authority.issue(subject).write(holders.folder, f"certificate, {state}")
    settings = load(house.config)
    (site,) = (one for one in settings.sites if one.host == TLS_HOST)
    purse = asyncio.run(fill(settings, site, password("basic")))
    # nginx and Apache both read {SHA}, and both take a name with a slash in it.
    (house.folder / "of-the-server").write_text("".join(f"{name}:{sha(PASSWORD)}\n" for name in AT_THE_LOGIN.values()))
    logins = {("server", state): basic(name) for state, name in AT_THE_LOGIN.items()}
    return Town(house, holders, purse._replace(authorization={**purse.authorization, **logins}))


def basic(name: str) -> str:
    """Return what somebody sends whom the web server knows."""
    return "Basic " + base64.b64encode(f"{name}:{PASSWORD}".encode()).decode()


def is_as_the_table_says(case: Case, believed: Believed, refused: int = 401) -> bool:
    """Tell whether a web server let in, and the audit noted, whom the table names.

    Args:
        refused: how nobody is told at the protected path.
    """
    noted = (case.user, case.credential, case.reason or "allowed")
    return believed == Believed(LET_IN if case.user else refused, LET_IN, noted)
