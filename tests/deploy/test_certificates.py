"""Client certificates through nginx, with the lines of docs/certificates.md: whom they prove, and whom not."""

import json
import signal
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import pytest

from tests import servers
from tests.credentials.authority import CN, OU
from tests.delivery.site import Site, web_server
from tests.deploy.certified import (
    CERTIFICATES,
    MEMBERS,
    MODE,
    NAMELESS,
    OTHERS,
    RULES,
    VERSIONS,
    WRONG,
    CertifiedHouse,
    Connection,
    Holders,
    ask,
    shown,
)
from tests.deploy.house import OPEN, SECRET, TLS_HOST, House, Running, _certificate, inhabited
from tests.deploy.recorder import recording

TLS_1_2, TLS_1_3 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
STAFF, PUBLIC, WHOAMI = "/staff/handbook.txt", "/public/hello.txt", "/authgate/whoami?format=json"
OTHER_HOST = "docs.example.com"


class Door(NamedTuple):
    """A site that runs, and who comes."""

    running: Running
    holders: Holders

    @property
    def port(self) -> int:
        return self.running.house.tls_port

    def whoami(self, name: str | None) -> dict[str, object]:
        return dict(json.loads(ask(self.port, self.holders.context(name), WHOAMI).body))

    def reload(self) -> None:
        """Let nginx read its configuration again, and wait until a new worker has taken over."""
        nginx = self.running.nginx.process
        # It listens before it has workers: without one to wait for, the reload would seem to be over at once.
        servers.eventually(lambda: servers.children(nginx.pid), "nginx has a worker", self.running.nginx)
        before = set(servers.children(nginx.pid))
        nginx.send_signal(signal.SIGHUP)

        def has_others() -> bool:
            now = set(servers.children(nginx.pid))
            return bool(now) and not before & now

        servers.eventually(has_others, "nginx reloads", self.running.nginx)


def other_site(house: House) -> str:
    """Return a site on the same address that asks nobody for a certificate."""
    certificate, key = _certificate(house.folder)
    return f"""
    server {{
        include authgate/authgate-server.conf;
        listen 127.0.0.1:{house.tls_port} ssl;
        server_name {OTHER_HOST};
        ssl_certificate {certificate};
        ssl_certificate_key {key};
        location ^~ / {{ root {house.files}; include authgate/authgate-protect.conf; }}
    }}
    """


@contextmanager
def certified(mode: str = MODE, http: str = "") -> Iterator[Door]:
    """Run a site until the end of the block."""
    with servers.open_folder() as folder:
        house = CertifiedHouse(folder, rules=CERTIFICATES + RULES, mode=mode, http=http)
        house.rules = f'[[sites]]\norigin = "https://{OTHER_HOST}:{house.tls_port}"\n' + house.rules
        house.build()
        holders = Holders(folder / "clients")
        holders.write()
        with inhabited(house, other_site(house)) as running:
            yield Door(running, holders)


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
    line = door.running.logged(lambda: ask(door.port, context, STAFF))

    assert (line["status"], line["user"], line["credential"], line["reason"]) == (
        403,
        OTHERS[name],
        "certificate",
        "not_admitted",
    )
    assert ask(door.port, context, PUBLIC).body == OPEN


def test_without_a_certificate_there_is_the_login(door: Door) -> None:
    context = door.holders.context()

    assert ask(door.port, context, STAFF).status == 401
    assert ask(door.port, context, PUBLIC).status == 200
    assert door.whoami(None)["credential"] == "none"


@pytest.mark.parametrize("name", NAMELESS)
def test_certificate_that_names_nobody_or_two_is_bad(door: Door, name: str) -> None:
    context = door.holders.context(name)
    line = door.running.logged(lambda: ask(door.port, context, STAFF))

    assert (line["status"], line["user"], line["reason"]) == (401, "", "bad_credential")
    assert ask(door.port, context, PUBLIC).body == OPEN


@pytest.mark.parametrize("version", [TLS_1_2, TLS_1_3])
@pytest.mark.parametrize("name", WRONG)
def test_certificate_that_nginx_finds_wrong_is_400_and_nobody_is_asked(
    door: Door, name: str, version: ssl.TLSVersion
) -> None:
    context = door.holders.context(name, version)
    line = door.running.logged(lambda: ask(door.port, context, STAFF))

    assert (line["status"], line["decision"]) == (400, "")
    assert ask(door.port, context, PUBLIC).status == 400


def forged(door: Door) -> Mapping[str, str]:
    """Return what a client may write who knows how it is done."""
    alice = door.holders.issued["alice"]
    said = {"Certificate-Verify": "SUCCESS", "Certificate-Subject": "CN=alice,OU=staff", "Certificate": alice.escaped}
    fields = {f"X-Authgate-{name}": value for name, value in said.items()}
    fields |= {
        "SSL-Client-Verify": "SUCCESS",
        "SSL-Client-S-DN": "CN=alice,OU=staff",
        "AG-Certificate-Verify": "SUCCESS",
    }
    fields["Connection"] = "X-Authgate-Certificate-Verify, keep-alive"
    return fields | {name.replace("-", "_"): value for name, value in fields.items() if name != "Connection"}


def test_what_a_client_says_is_not_heard(door: Door) -> None:
    for joined in (forged(door), {**forged(door), "Connection": "close"}):
        assert ask(door.port, door.holders.context(), STAFF, joined).status == 401
        assert ask(door.port, door.holders.context("bob"), STAFF, joined).status == 403
        assert ask(door.port, door.holders.context("two names"), STAFF, joined).status == 401
        who = ask(door.port, door.holders.context("bob"), WHOAMI, joined)
        assert json.loads(who.body)["user"] == "pki/bob"
        with door.running.client() as client:
            assert client.get(STAFF, headers=dict(joined)).status_code == 401
            assert client.get(WHOAMI, headers=dict(joined)).json()["credential"] == "none"


def test_no_field_is_sent_where_there_is_no_certificate() -> None:
    with servers.open_folder() as folder:
        house = CertifiedHouse(folder)
        house.build()
        holders = Holders(folder / "clients")
        holders.write()
        with (
            recording(house.socket) as check,
            recording(house.web_socket) as web,
            servers.nginx(folder, house.http_block(), house.http_port),
        ):
            heard = []
            for context in (holders.context(), holders.context("alice")):
                for recorder, path in ((check, STAFF), (web, "/authgate/whoami")):
                    ask(house.tls_port, context, path)
                    (arrived,) = recorder.take()
                    heard.append([(name, value) for name, value in arrived.headers if "certificate" in name])

    alice = holders.issued["alice"]
    said = [
        ("x-authgate-certificate-verify", "SUCCESS"),
        ("x-authgate-certificate-subject", "CN=alice,OU=staff"),
        ("x-authgate-certificate", alice.escaped),
    ]
    assert heard == [[], [], said, said]


@pytest.mark.parametrize("version", [TLS_1_2, TLS_1_3])
def test_resumed_session_keeps_the_certificate(door: Door, version: ssl.TLSVersion) -> None:
    context = door.holders.context("alice", version)
    with Connection(door.port, context) as first:
        assert first.get(STAFF).status == 200
        session = first.session

    with Connection(door.port, context, session) as second:
        answer = second.get(STAFF)

    assert (answer.status, answer.resumed) == (200, True)


def test_revoked_certificate_counts_on_a_resumed_session_until_the_cache_forgets_it() -> None:
    for http, status in (
        ("", 400),
        ("ssl_session_cache shared:kept:1m;\n", 200),
        ("ssl_session_cache shared:kept:1m; ssl_session_timeout 1s;\n", 400),
    ):
        with certified(http=f"ssl_session_tickets off;\n{http}" if http else "") as door:
            context = door.holders.context("alice")
            with Connection(door.port, context) as first:
                assert first.get(STAFF).status == 200
                session = first.session
            door.holders.revoke("alice")
            door.reload()

            assert ask(door.port, context, STAFF).status == 400

            def resumed() -> int:
                with Connection(door.port, context, session) as second:  # noqa: B023 - called at once
                    return second.get(STAFF).status

            servers.eventually(lambda: resumed() == status, f"{http}: {status}")  # noqa: B023 - called at once


def test_certificate_that_ends_while_the_connection_is_kept_has_ended(door: Door) -> None:
    soon = datetime.now(UTC) + timedelta(seconds=2)
    issued = door.holders.authority.issue([(CN, "alice"), (OU, "staff")], ends=soon - door.holders.authority.now)
    issued.write(door.holders.folder, "soon over")

    with Connection(door.port, door.holders.context("soon over")) as kept:
        assert kept.get(STAFF).status == 200
        servers.eventually(lambda: datetime.now(UTC) > soon, "it ends")
        line = door.running.logged(lambda: kept.get(STAFF))

    assert (line["status"], line["reason"], line["credential"]) == (401, "expired", "certificate")


def test_what_nginx_says_of_a_wrong_certificate_is_understood() -> None:
    # Else nginx answers 400 by itself.
    with certified(f"{MODE} error_page 495 = $uri;") as door:
        reasons = {}
        for name in WRONG:
            context = door.holders.context(name)
            line = door.running.logged(lambda: ask(door.port, context, STAFF))  # noqa: B023 - called at once
            reasons[name] = line["reason"]
            assert (line["status"], line["user"], line["credential"]) == (401, "", "certificate")
            assert ask(door.port, context, PUBLIC).body == OPEN

    assert reasons.pop("expired") == "expired"
    assert reasons.pop("revoked") == "revoked"
    assert set(reasons.values()) == {"bad_credential"}


def test_authority_that_nobody_knows_proves_nothing() -> None:
    with certified("ssl_verify_client optional_no_ca;") as door:
        context = door.holders.context("unknown")
        line = door.running.logged(lambda: ask(door.port, context, STAFF))
        assert (line["status"], line["reason"], line["credential"]) == (401, "bad_credential", "certificate")
        assert ask(door.port, context, PUBLIC).body == OPEN

        assert ask(door.port, door.holders.context("alice"), STAFF).status == 200
        assert ask(door.port, door.holders.context("expired"), STAFF).status == 400


def test_authority_for_another_purpose_is_trusted_too() -> None:
    with certified(f"{MODE} ssl_trusted_certificate /etc/ssl/clients/others.pem;") as door:
        assert ask(door.port, door.holders.context("unknown"), STAFF).status == 200


def test_list_that_is_over_refuses_every_certificate() -> None:
    with certified() as door:
        door.holders.revoke(ends=-timedelta(minutes=30))
        door.reload()

        assert ask(door.port, door.holders.context("alice"), STAFF).status == 400
        assert ask(door.port, door.holders.context(), PUBLIC).status == 200


def test_certificate_comes_before_the_session_and_after_authorization(door: Door) -> None:
    context = door.holders.context("bob")
    visitor = door.running.browser("alice")
    session = f"__Host-authgate={visitor.cookies['authgate']}"
    password = "Basic Y2Fyb2w6Y2Fyb2wtZGVtbw=="

    assert ask(door.port, context, STAFF, {"Cookie": session}).status == 403
    assert ask(door.port, context, STAFF, {"Authorization": password}).status == 200
    assert ask(door.port, door.holders.context("alice"), STAFF, {"Authorization": "Bearer x"}).status == 401


def test_certificate_of_one_site_counts_at_another_that_asks_for_none(door: Door) -> None:
    context = door.holders.context("alice")

    assert ask(door.port, context, STAFF, host=OTHER_HOST).status == 401
    with Connection(door.port, context) as shown_to_the_first:
        assert shown_to_the_first.get(STAFF, host=OTHER_HOST).status == 200
    with Connection(door.port, context, host=OTHER_HOST) as not_shown:
        assert not_shown.get(STAFF, host=TLS_HOST).status == 421


def test_certificate_counts_where_files_are_delivered() -> None:
    with servers.open_folder() as folder:
        certificate, key = _certificate(folder)
        holders = Holders(folder / "clients")
        holders.write()
        lines = shown("nginx").replace("/etc/ssl/clients", str(holders.folder))
        site = Site(
            "nginx",
            folder,
            {
                "    listen 80;\n": f"    listen 80 ssl;\n{VERSIONS}ssl_certificate {certificate};\n"
                f"ssl_certificate_key {key};\n{lines}"
            },
        )
        site.build()
        text = site.config.read_text().replace("[users]", f"{CERTIFICATES}[users]", 1)
        text = text.replace('"http://', '"https://').replace('"group:staff"', '"group:pki/staff"')
        site.config.write_text(text)
        said = {"X-Authgate-Certificate-Verify": "SUCCESS", "X-Authgate-Certificate-Subject": "CN=alice,OU=staff"}
        with servers.authgate(site.config), web_server(site):
            found = {
                name: ask(site.port, holders.context(name), "/reports/q3.csv", said, host=site.host)
                for name in (None, "alice", "bob", "two names")
            }
            whoami = ask(site.port, holders.context("bob"), WHOAMI, host=site.host)

    assert {name: answer.status for name, answer in found.items()} == {
        None: 401,
        "alice": 200,
        "bob": 403,
        "two names": 401,
    }
    assert SECRET in found["alice"].body
    # The page of the refusal knows who it is.
    assert json.loads(whoami.body)["user"] == "pki/bob"
