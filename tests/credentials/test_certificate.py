"""Whom a client's certificate names, from what a web server says of it."""

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import pytest
from cryptography import x509
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID

from authgate.app import examine
from authgate.config import parse
from authgate.config.sources import CertificateSettings
from authgate.credentials.certificate import (
    BAD,
    EXPIRED,
    MAX_CERTIFICATE,
    MAX_GROUPS,
    MAX_SUBJECT,
    REVOKED,
    Certificates,
    ClientCertificate,
    sent_certificate,
)
from authgate.errors import ConfigError
from authgate.model import CredentialKind, Identity, Subject
from tests.clock import MovableClock
from tests.credentials.authority import CN, HOUR, OU, UID, Authority, Issued, O, Pairs
from tests.servers import PACKAGE_ROOT

NOW = 1_700_000_000.0
PLACE = "authgate.toml: certificates"


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority(now=datetime.fromtimestamp(NOW, UTC))


class Asked(NamedTuple):
    """One who reads certificates, and the clock."""

    certificates: Certificates
    clock: MovableClock

    def about(self, issued: Issued, verified: str = "SUCCESS") -> Identity:
        """Return who it is, with the certificate itself in each of its three writings."""
        first, *others = (
            self.certificates.identify(ClientCertificate(verified, "CN=somebody else", pem))
            for pem in (issued.pem, issued.escaped, issued.unwrapped)
        )
        assert others == [first, first]
        return first

    def about_text(self, subject: str, verified: str = "SUCCESS") -> Identity:
        return self.certificates.identify(ClientCertificate(verified, subject, ""))


def asked(user: str = "CN", groups: str = "", capacity: int = 100) -> Asked:
    clock = MovableClock(NOW)
    return Asked(Certificates(CertificateSettings(PLACE, "pki", user, groups), clock, capacity), clock)


def holder(name: str, groups: frozenset[str] | None = None) -> Identity:
    return Identity(Subject("pki", name, groups), CredentialKind.CERTIFICATE)


def test_certificate_proves_whom_it_names(authority: Authority) -> None:
    assert asked().about(authority.issue([(O, "Example"), (CN, "alice")])) == holder("alice")


# What a web server says


@pytest.mark.parametrize(
    ("verified", "identity"),
    [
        ("SUCCESS", holder("alice")),
        ("FAILED:certificate has expired", EXPIRED),
        ("FAILED:certificate revoked", REVOKED),
        ("FAILED:unable to verify the first certificate", BAD),
        ("FAILED:self-signed certificate", BAD),
        ("FAILED", BAD),
        ("FAILED:", BAD),
        ("FAILED:SUCCESS", BAD),
        ("GENEROUS", BAD),
        ("success", BAD),
        ("SUCCESS ", BAD),
        (" SUCCESS", BAD),
        ("SUCCESS, SUCCESS", BAD),
        ("SUCCESS\n", BAD),
        ("\xff", BAD),
        ("(null)", BAD),
        ("1", BAD),
    ],
)
def test_only_success_proves_anything(authority: Authority, verified: str, identity: Identity) -> None:
    one = asked()

    assert one.about(authority.issue([(CN, "alice")]), verified) == identity
    assert one.about_text("CN=alice", verified) == identity


def test_no_certificate_is_none_at_all() -> None:
    assert sent_certificate("", "CN=alice", "x") is None
    assert sent_certificate("NONE", "(null)", "(null)") is None
    assert sent_certificate("FAILED:x", "", "") == ClientCertificate("FAILED:x", "", "")


# Names


@pytest.mark.parametrize(
    ("subject", "name"),
    [
        ([(CN, "Zoë Müller")], "Zoë Müller"),
        ([(CN, "田中")], "田中"),
        ([(CN, "smith, alice")], "smith, alice"),
        ([(CN, "alice,OU=admin")], "alice,OU=admin"),
        ([(CN, "alice+UID=root")], "alice+UID=root"),
        ([(CN, "a=b")], "a=b"),
        ([(CN, "SUCCESS")], "SUCCESS"),
        ([(CN, 'the "boss" \\ <x>;')], 'the "boss" \\ <x>;'),
        ([(CN, "#616263")], "#616263"),
        ([(CN, "%2C%20")], "%2C%20"),
        ([(CN, "dept/alice")], "dept/alice"),
        ([(OU, "CN=bob"), (CN, "alice")], "alice"),
        ([(CN, "alice"), (UID, "bob")], "alice"),
    ],
)
def test_name_is_taken_as_it_is_written(authority: Authority, subject: Pairs, name: str) -> None:
    one, issued = asked(), authority.issue(subject)

    assert one.about(issued) == holder(name)
    assert one.about_text(issued.certificate.subject.rfc4514_string().encode().decode("latin-1")) == holder(name)


@pytest.mark.parametrize(
    "subject",
    [
        [],
        [(O, "Example")],
        [(CN, "alice"), (CN, "bob")],
        [(CN, "alice"), (CN, "alice")],
        [(CN, "alice\nbob")],
        [(CN, "alice\r\nX-Authgate-User: root")],
        [(CN, "alice\x00.example.com")],
        [(CN, "alice\x7f")],
        [(CN, "alice\x85")],
        [(CN, " alice")],
        [(CN, "alice ")],
        [(CN, "\u00a0")],
    ],
)
def test_a_certificate_that_names_nobody_or_two_is_bad(authority: Authority, subject: Pairs) -> None:
    one, issued = asked(), authority.issue(subject)

    assert one.about(issued) == BAD
    assert one.about_text(issued.certificate.subject.rfc4514_string().encode().decode("latin-1")) == BAD


def test_one_part_of_a_subject_with_two_attributes_is_read(authority: Authority) -> None:
    parts = x509.RelativeDistinguishedName([x509.NameAttribute(CN, "alice"), x509.NameAttribute(OU, "staff")])
    one, issued = asked(groups="OU"), authority.issue(x509.Name([parts]))

    assert one.about(issued) == holder("alice", frozenset({"staff"}))
    assert one.about_text("OU=staff+CN=alice") == holder("alice", frozenset({"staff"}))


def test_name_that_is_no_text_is_bad(authority: Authority) -> None:
    unique = x509.NameAttribute(NameOID.X500_UNIQUE_IDENTIFIER, b"\x00alice", _ASN1Type.BitString)
    issued = authority.issue(x509.Name([unique]))

    assert asked("x500UniqueIdentifier").about(issued) == BAD


@pytest.mark.parametrize(
    ("user", "oid", "value"),
    [
        ("UID", UID, "u1"),
        ("emailAddress", NameOID.EMAIL_ADDRESS, "alice@example.com"),
        ("serialNumber", NameOID.SERIAL_NUMBER, "4711"),
        ("OU", OU, "machines"),
    ],
)
def test_another_attribute_may_be_the_name(
    authority: Authority, user: str, oid: x509.ObjectIdentifier, value: str
) -> None:
    one = asked(user)

    assert one.about(authority.issue([(CN, "alice"), (oid, value)])) == holder(value)
    assert one.about(authority.issue([(CN, "alice")])) == BAD
    assert one.about_text(f"{user}={value},CN=alice") == holder(value)


def test_email_is_the_one_of_the_alternative_names(authority: Authority) -> None:
    one = asked("email")
    in_the_subject = [(CN, "alice"), (NameOID.EMAIL_ADDRESS, "root@example.com")]

    assert one.about(authority.issue(in_the_subject, emails=["a@example.com"])) == holder("a@example.com")
    assert one.about(authority.issue(in_the_subject)) == BAD
    assert one.about(authority.issue(in_the_subject, emails=["a@example.com", "b@example.com"])) == BAD
    # A subject alone has no alternative names.
    assert one.about_text("emailAddress=root@example.com,CN=alice") == BAD


# Groups


def test_groups_are_all_values_of_their_attribute(authority: Authority) -> None:
    one = asked(groups="OU")

    several = authority.issue([(OU, "staff"), (CN, "alice"), (OU, "on/call"), (O, "Example")])
    assert one.about(several) == holder("alice", frozenset({"staff", "on/call"}))
    assert one.about(authority.issue([(CN, "alice")])) == holder("alice", frozenset())
    assert one.about(authority.issue([(CN, "alice"), (OU, "a\nb")])) == BAD
    assert asked().about(several) == holder("alice", None)


def test_too_many_groups_are_bad(authority: Authority) -> None:
    groups = [(OU, f"g{number}") for number in range(MAX_GROUPS + 1)]

    assert asked(groups="OU").about(authority.issue([(CN, "alice"), *groups])) == BAD
    assert asked(groups="OU").about(authority.issue([(CN, "alice"), *groups[1:]])).failure is None


# Text


@pytest.mark.parametrize(
    ("subject", "name"),
    [
        # As nginx 1.22 and Apache 2.4 write them, see tests/deploy/test_certificates.py.
        ("CN=Zo\\C3\\AB,OU=staff", "Zoë"),
        ("CN=Zo\xc3\xab,OU=staff", "Zoë"),
        ("CN=a\\,b\\+c\\;d\\=e", "a,b+c;d=e"),
        ("emailAddress=a@example.com,CN=alice", "alice"),
        ("street=Road 1,postalCode=1,CN=alice", "alice"),
    ],
)
def test_subject_as_text_is_read(subject: str, name: str) -> None:
    assert asked().about_text(subject) == holder(name)


@pytest.mark.parametrize(
    "subject",
    [
        "",
        "alice",
        "CN",
        "CN=",
        "=alice",
        "/O=Example/CN=alice",
        "O=Example, CN=alice",
        "CN=alice,",
        "CN=alice\\",
        "CN=alice\\zz",
        "CN=\\FF",
        "CN=\xff",
        "CN=#zz",
        "CN=#ff",
        "CN=#030200ff",
        "CN=alice\\0Abob",
        "CN=alice,CN=bob",
        "CN=alice+CN=bob",
        "UNKNOWN=x,CN=alice",
        "CN=alice;OU=staff",
        "(null)",
        "CN=" + "x" * 300,
        "CN=alice" + ",OU=x" * MAX_SUBJECT,
        "CN=" + "\\" * 3000,
    ],
)
def test_subject_that_cannot_be_read_is_bad(subject: str) -> None:
    assert asked().about_text(subject) == BAD


# Certificates that are none


@pytest.mark.parametrize(
    "pem",
    [
        "x",
        "-----BEGIN CERTIFICATE-----",
        "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        "-----BEGIN CERTIFICATE-----\nA\n-----END CERTIFICATE-----\n",
        "-----BEGIN CERTIFICATE-----\nMA==MA==\n-----END CERTIFICATE-----\n",
        "(null)",
        "%",
        "%FF%00",
        "\xff",
        "A" * (MAX_CERTIFICATE + 1),
        "%41" * 20_000,
    ],
)
def test_what_is_no_certificate_is_bad_whatever_the_subject_says(pem: str) -> None:
    one = asked()

    assert one.certificates.identify(ClientCertificate("SUCCESS", "CN=alice", pem)) == BAD


def test_no_byte_of_a_certificate_can_be_changed_into_an_exception(authority: Authority) -> None:
    issued = authority.issue([(CN, "alice"), (OU, "staff")], emails=["a@example.com"])
    one = asked("email", "OU", capacity=1)
    half = len(issued.pem) // 2

    for at in range(28, len(issued.pem) - 27, 3):
        for replaced in "A/\n%":
            pem = issued.pem[:at] + replaced + issued.pem[at + 1 :]
            identity = one.certificates.identify(ClientCertificate("SUCCESS", "", pem))
            assert identity.credential is CredentialKind.CERTIFICATE
    assert one.certificates.identify(ClientCertificate("SUCCESS", "", issued.pem[:half])) == BAD
    assert one.certificates.identify(ClientCertificate("SUCCESS", "", issued.pem + issued.pem)) == BAD


# Time


def test_certificate_that_ends_on_a_kept_connection_has_ended(authority: Authority) -> None:
    one, issued = asked(), authority.issue([(CN, "alice")], ends=HOUR)

    one.clock.advance(HOUR.total_seconds())
    assert one.about(issued) == holder("alice")
    one.clock.advance(1)
    assert one.about(issued) == EXPIRED
    # A subject alone says nothing about time.
    assert one.about_text("CN=alice") == holder("alice")


def test_certificate_that_has_not_begun_is_bad(authority: Authority) -> None:
    one, issued = asked(), authority.issue([(CN, "alice")], begins=HOUR / 2)

    assert one.about(issued) == BAD
    one.clock.advance(HOUR.total_seconds() / 2)
    assert one.about(issued) == holder("alice")


# Memory


def test_memory_is_bounded_and_forgets_the_least_used(authority: Authority) -> None:
    one = asked(capacity=2)
    names = ["alice", "bob", "carol"]

    for name in [*names, *names]:
        assert one.about_text(f"CN={name}") == holder(name)
        assert len(one.certificates) <= 2


def test_certificate_and_a_subject_of_the_same_text_are_two(authority: Authority) -> None:
    issued = authority.issue([(CN, "alice")])
    one = asked()

    assert one.about(issued) == holder("alice")
    assert one.about_text(issued.pem) == BAD
    assert one.certificates.identify(ClientCertificate("SUCCESS", "", "CN=bob")) == BAD
    assert one.about_text("CN=bob") == holder("bob")


# Configuration


@pytest.mark.parametrize(
    ("user", "groups", "message"),
    [
        ("cn", "", f'{PLACE}.user: unknown attribute "cn"; did you mean "CN"?'),
        ("mail", "", f'{PLACE}.user: unknown attribute "mail"; did you mean "email"?'),
        ("CN", "ou", f'{PLACE}.groups: unknown attribute "ou"; did you mean "OU"?'),
        ("CN", "email", f'{PLACE}.groups: unknown attribute "email"'),
        ("department", "", f'{PLACE}.user: unknown attribute "department"; there are email, CN, UID, '),
    ],
)
def test_unknown_attribute_is_refused_at_start(user: str, groups: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        asked(user, groups)

    assert str(caught.value).startswith(message)


def test_each_wrong_attribute_is_named() -> None:
    with pytest.raises(ConfigError) as caught:
        asked("x", "y")

    assert [problem.place for problem in caught.value.problems] == [f"{PLACE}.user", f"{PLACE}.groups"]


def test_unknown_attribute_is_found_before_the_start(tmp_path: Path) -> None:
    site = {"origin": "https://files.example.com"}
    document = {"sites": [site], "certificates": {"source": "pki", "groups": "0U"}}

    with pytest.raises(ConfigError, match=r"certificates\.groups: unknown attribute \"0U\""):
        examine(parse(document, tmp_path / "authgate.toml"))


def test_every_attribute_is_documented() -> None:
    text = (PACKAGE_ROOT / "docs" / "certificates.md").read_text()
    listed = re.search(r"^The attributes are (.*?), written so\.", text, re.MULTILINE | re.DOTALL)
    assert listed

    names = re.findall(r"`(\w+)`", listed[1])

    assert len(names) > 20
    for name in names:
        asked(name, name)
    with pytest.raises(ConfigError) as caught:
        asked(groups="-")
    assert set(names) == set(caught.value.problems[0].hint.removeprefix("there are ").split(", "))
