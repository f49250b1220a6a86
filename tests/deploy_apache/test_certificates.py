"""Client certificates through Apache, with the lines of docs/certificates.md: whom they prove, and whom not."""

import http.client
import json
import signal
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pytest

from tests import servers
from tests.credentials.authority import CN, OU
from tests.delivery.site import Site, web_server
from tests.deploy.certified import (
    CERTIFICATES,
    MEMBERS,
    NAMELESS,
    OTHERS,
    RULES,
    WRONG,
    Answer,
    Connection,
    Holders,
    ask,
    shown,
)
from tests.deploy.house import OPEN, SECRET, TLS_HOST
from tests.deploy.house import _certificate as make_certificate
from tests.deploy_apache.house import MODULES, ApacheHouse, Running, inhabited

TLS_1_2, TLS_1_3 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
STAFF, PUBLIC, WHOAMI = "/staff/handbook.txt", "/public/hello.txt", "/authgate/whoami?format=json"
MODE = "    SSLVerifyClient      optional\n"
AUDIT = '[audit]\nfile = "audit.log"\n'
OTHER_HOST = "docs.example.com"
# A site on the same address that asks nobody for a certificate.
OTHER_SITE = f"""
<VirtualHost *:443>
    ServerName {OTHER_HOST}
    SSLEngine on
    SSLCertificateFile    /etc/ssl/files.example.com/fullchain.pem
    SSLCertificateKeyFile /etc/ssl/files.example.com/privkey.pem
    DocumentRoot /srv/files
    Include authgate/authgate-site.conf
</VirtualHost>
"""


class Door(NamedTuple):
    """A site that runs, and who comes."""

    running: Running
    holders: Holders

    @property
    def port(self) -> int:
        return self.running.house.tls_port

    def whoami(self, name: str | None, headers: Mapping[str, str] = {}) -> dict[str, object]:
        return dict(json.loads(ask(self.port, self.holders.context(name), WHOAMI, headers).body))

    def reason(self, answer: Answer) -> str:
        """Return why, from the audit log."""
        log = self.running.house.folder / "audit.log"
        decision = answer.headers["x-authgate-decision"]

        def lines() -> list[str]:
            return [line for line in log.read_text().splitlines(keepends=True) if decision in line and "\n" in line]

        servers.eventually(lines, f"a line about {decision}")
        return str(json.loads(lines()[0])["reason"])


def asking(clients: Path, mode: str = MODE) -> Callable[[str, str], str]:
    """Return what makes the site over https ask for certificates, in the example."""

    def change(name: str, text: str) -> str:
        if name != "example-fastcgi.conf":
            return text
        start = text.index(f"    ServerName {TLS_HOST}\n    SSLEngine on\n")
        end = text.index("    CustomLog", start)
        lines = shown("apache")
        assert MODE in lines
        return text[:end] + lines.replace("/etc/ssl/clients", str(clients)).replace(MODE, mode) + text[end:]

    return change


@contextmanager
def certified(mode: str = MODE, above: str = "", modules: tuple[str, ...] = ()) -> Iterator[Door]:
    """Run a site until the end of the block."""
    with servers.open_folder() as folder:
        clients = folder / "clients"
        house = ApacheHouse(
            folder,
            rules=AUDIT + CERTIFICATES + RULES,
            change=asking(clients, mode),
            above=above,
            modules=modules,
            below=OTHER_SITE,
        )
        house.rules = f'[[sites]]\norigin = "https://{OTHER_HOST}:{house.tls_port}"\n' + house.rules
        house.build()
        holders = Holders(clients)
        holders.write()
        with inhabited(house) as running:
            yield Door(running, holders)


def refused(port: int, context: ssl.SSLContext, session: ssl.SSLSession | None = None) -> str:
    """Return how Apache breaks off the handshake; empty when it does not."""
    try:
        with Connection(port, context, session) as connection:
            connection.get(STAFF)
    except (OSError, http.client.HTTPException) as error:
        return str(error)
    return ""


@pytest.fixture(scope="module")
def door() -> Iterator[Door]:
    with certified() as running:
        yield running


@pytest.mark.parametrize("version", [TLS_1_2, TLS_1_3])
@pytest.mark.parametrize(("name", "user"), MEMBERS.items())
def test_certificate_proves_who_asks(door: Door, name: str, user: str, version: ssl.TLSVersion) -> None:
    answer = ask(door.port, door.holders.context(name, version), STAFF)

    assert (answer.status, SECRET in answer.body) == (200, True)
    assert door.whoami(name) == {"user": user, "source": "pki", "groups": ["staff"], "credential": "certificate"}


def test_rules_decide_what_its_holder_may_have(door: Door) -> None:
    (name,) = OTHERS
    context = door.holders.context(name)

    answer = ask(door.port, context, STAFF, {"Accept": "text/html"})

    assert (answer.status, door.reason(answer)) == (403, "not_admitted")
    # The page of the refusal knows who it is.
    assert OTHERS[name].encode() in answer.body
    assert ask(door.port, context, PUBLIC).body == OPEN


def test_without_a_certificate_there_is_the_login(door: Door) -> None:
    context = door.holders.context()

    assert ask(door.port, context, STAFF).status == 401
    assert ask(door.port, context, PUBLIC).status == 200
    assert door.whoami(None)["credential"] == "none"


def test_plain_http_is_as_before(door: Door) -> None:
    assert door.running.get(STAFF).status_code == 401
    assert door.running.get(STAFF, "alice").status_code == 200
    assert door.running.get(WHOAMI).json()["credential"] == "none"


@pytest.mark.parametrize("name", NAMELESS)
def test_certificate_that_names_nobody_or_two_is_bad(door: Door, name: str) -> None:
    context = door.holders.context(name)

    answer = ask(door.port, context, STAFF)

    assert (answer.status, door.reason(answer)) == (401, "bad_credential")
    assert ask(door.port, context, PUBLIC).body == OPEN


@pytest.mark.parametrize("version", [TLS_1_2, TLS_1_3])
@pytest.mark.parametrize("name", WRONG)
def test_certificate_that_apache_finds_wrong_ends_the_handshake(door: Door, name: str, version: ssl.TLSVersion) -> None:
    context = door.holders.context(name, version)

    assert [ask(door.port, context, path).status for path in (STAFF, PUBLIC)] == [0, 0]


def forged(door: Door) -> Mapping[str, str]:
    """Return what a client may write who knows how it is done."""
    alice = door.holders.issued["alice"]
    said = {"Certificate-Verify": "SUCCESS", "Certificate-Subject": "CN=alice,OU=staff", "Certificate": alice.escaped}
    fields = {f"{begin}-{name}": value for name, value in said.items() for begin in ("X-Authgate", "AG")}
    fields |= {"SSL-Client-Verify": "SUCCESS", "SSL-Client-S-DN": "CN=alice,OU=staff", "SSL-Client-Cert": alice.escaped}
    return fields | {name.replace("-", "_"): value for name, value in fields.items()}


@pytest.mark.parametrize(
    "connection", ["close", "X-Authgate-Certificate-Verify, X-Authgate-Certificate-Subject, X-Authgate-Certificate"]
)
def test_what_a_client_says_is_not_heard(door: Door, connection: str) -> None:
    said = {**forged(door), "Connection": connection}

    assert ask(door.port, door.holders.context(), STAFF, said).status == 401
    assert ask(door.port, door.holders.context("bob"), STAFF, said).status == 403
    assert ask(door.port, door.holders.context("two names"), STAFF, said).status == 401
    assert door.whoami(None, said)["user"] is None
    assert door.whoami("bob", said)["user"] == "pki/bob"
    assert door.whoami("two names", said)["user"] is None
    with door.running.client() as client:
        assert client.get(STAFF, headers=said).status_code == 401
        assert client.get(WHOAMI, headers=said).json()["credential"] == "none"


@pytest.mark.parametrize("version", [TLS_1_2, TLS_1_3])
def test_resumed_session_keeps_the_certificate(door: Door, version: ssl.TLSVersion) -> None:
    context = door.holders.context("alice", version)
    with Connection(door.port, context) as first:
        assert first.get(STAFF).status == 200
        session = first.session

    with Connection(door.port, context, session) as second:
        answer = second.get(STAFF)

    assert (answer.status, answer.resumed) == (200, True)


@pytest.mark.parametrize("cache", ["", "SSLSessionCache shmcb:{}/cache(512000)\nSSLSessionTickets Off"])
def test_revoked_certificate_does_not_count_on_a_resumed_session(cache: str) -> None:
    with servers.open_folder() as folder, certified(above=cache.format(folder), modules=("socache_shmcb",)) as door:
        context = door.holders.context("alice", TLS_1_2)
        with Connection(door.port, context) as first:
            assert first.get(STAFF).status == 200
            session = first.session
        with Connection(door.port, context, session) as second:
            assert second.get(STAFF).resumed

        door.holders.revoke("alice")
        door.running.apache.process.send_signal(signal.SIGUSR1)
        for earlier in (None, session):
            servers.eventually(
                lambda: "ALERT_CERTIFICATE_REVOKED" in refused(door.port, context, earlier),  # noqa: B023 - called at once
                "Apache has read the list",
            )


def test_certificate_that_ends_while_the_connection_is_kept_has_ended(door: Door) -> None:
    soon = datetime.now(UTC) + timedelta(seconds=2)
    issued = door.holders.authority.issue([(CN, "alice"), (OU, "staff")], ends=soon - door.holders.authority.now)
    issued.write(door.holders.folder, "soon over")

    with Connection(door.port, door.holders.context("soon over")) as kept:
        assert kept.get(STAFF).status == 200
        servers.eventually(lambda: datetime.now(UTC) > soon, "it ends")
        answer = kept.get(STAFF)

    assert (answer.status, door.reason(answer)) == (401, "expired")


def test_authority_that_nobody_knows_proves_nothing() -> None:
    # With a check of lists, one whose authority is unknown ends the handshake, too: its list is unknown as well.
    with certified("    SSLCARevocationCheck none\n    SSLVerifyClient optional_no_ca\n") as door:
        context = door.holders.context("unknown")
        answer = ask(door.port, context, STAFF)
        assert (answer.status, door.reason(answer)) == (401, "bad_credential")
        assert ask(door.port, context, PUBLIC).body == OPEN

        assert ask(door.port, door.holders.context("alice"), STAFF).status == 200
        assert ask(door.port, door.holders.context("expired"), STAFF).status == 0


def test_list_that_is_over_refuses_every_certificate() -> None:
    with certified() as door:
        alice = door.holders.context("alice")
        # Apache listens before it hears signals.
        assert ask(door.port, alice, STAFF).status == 200
        door.holders.revoke(ends=-timedelta(minutes=30))
        door.running.apache.process.send_signal(signal.SIGUSR1)

        servers.eventually(lambda: "ALERT_CERTIFICATE_UNKNOWN" in refused(door.port, alice), "Apache has read the list")
        servers.eventually(lambda: ask(door.port, door.holders.context(), PUBLIC).status == 200, "Apache answers")


def test_certificate_comes_before_the_session_and_after_authorization(door: Door) -> None:
    context = door.holders.context("bob")
    visitor = door.running.browser("alice")
    session = f"__Host-authgate={visitor.cookies['authgate']}"
    password = "Basic Y2Fyb2w6Y2Fyb2wtZGVtbw=="

    assert ask(door.port, context, STAFF, {"Cookie": session}).status == 403
    assert ask(door.port, context, STAFF, {"Authorization": password}).status == 200
    assert ask(door.port, door.holders.context("alice"), STAFF, {"Authorization": "Bearer x"}).status == 401


def test_certificate_of_one_site_is_not_shown_to_another(door: Door) -> None:
    context = door.holders.context("alice")

    assert ask(door.port, context, STAFF, host=OTHER_HOST).status == 401
    with Connection(door.port, context) as shown_to_the_first:
        assert shown_to_the_first.get(STAFF, host=OTHER_HOST).status == 421
    with Connection(door.port, context, host=OTHER_HOST) as not_shown:
        assert not_shown.get(STAFF, host=TLS_HOST).status == 421


def test_certificate_that_is_asked_for_in_a_folder_is_too_late() -> None:
    mode = '    <Location "/staff/">\n    SSLVerifyClient optional\n    </Location>\n'
    with certified(mode) as door:
        older, newer = (ask(door.port, door.holders.context("alice", v), STAFF).status for v in (TLS_1_2, TLS_1_3))

    # 0: not every client lets itself be asked again on one connection; Apache then closes it.
    assert older in {0, 401}
    assert newer == 403


def test_without_mod_ssl_nobody_has_a_certificate() -> None:
    with servers.open_folder() as folder:
        house = ApacheHouse(folder, rules=CERTIFICATES + RULES, missing=("ssl",))
        house.change = lambda name, text: _without_tls(house, text)
        house.build()
        with inhabited(house) as running:
            said = {"X-Authgate-Certificate-Verify": "SUCCESS", "X-Authgate-Certificate-Subject": "CN=alice,OU=staff"}
            with running.client() as client:
                assert client.get(STAFF, headers=said).status_code == 401
                assert client.get(WHOAMI, headers=said).json()["credential"] == "none"
            assert running.get(STAFF, "alice").status_code == 200


def _without_tls(house: ApacheHouse, text: str) -> str:
    blocks = text.split("<VirtualHost ")
    return "<VirtualHost ".join(block for block in blocks if not block.startswith(f"127.0.0.1:{house.tls_port}>"))


def test_certificate_counts_where_files_are_delivered() -> None:
    with servers.open_folder() as folder:
        certificate, key = make_certificate(folder)
        holders = Holders(folder / "clients")
        holders.write()
        lines = shown("apache").replace("/etc/ssl/clients", str(holders.folder))
        edits = {
            "<VirtualHost *:80>\n": f"LoadModule ssl_module {MODULES}/mod_ssl.so\n<VirtualHost *:80>\nSSLEngine on\n"
            f"SSLCertificateFile {certificate}\nSSLCertificateKeyFile {key}\n{lines}"
        }
        site = Site("apache", folder, edits)
        site.build()
        text = site.config.read_text().replace("[users]", f"{CERTIFICATES}[users]", 1)
        site.config.write_text(text.replace('"http://', '"https://').replace('"group:staff"', '"group:pki/staff"'))
        said = {"X-Authgate-Certificate-Verify": "SUCCESS", "X-Authgate-Certificate-Subject": "CN=alice,OU=staff"}
        with servers.authgate(site.config), web_server(site):
            found = {
                name: ask(site.port, holders.context(name), "/reports/q3.csv", said, host=site.host)
                for name in (None, "alice", "bob", "two names")
            }
            whoami = ask(site.port, holders.context("bob"), WHOAMI, said, host=site.host)

    assert {name: answer.status for name, answer in found.items()} == {
        None: 401,
        "alice": 200,
        "bob": 403,
        "two names": 401,
    }
    assert SECRET in found["alice"].body
    assert json.loads(whoami.body)["user"] == "pki/bob"
