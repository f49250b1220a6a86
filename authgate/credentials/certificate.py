"""Client certificates (TLS), which the web server has verified.

Rules of this module:
1. ``SUCCESS`` alone proves something. Whatever else the web server says, a certificate was sent and is bad.
2. The certificate itself counts where it was sent, else its subject as text. Both are what the web server says; that a
   client says nothing in their place is its configuration's affair (``deploy/``).
3. Two values where one is the name are none: two programs would take two different ones.
4. The handshake may have been long ago: whether a certificate has ended is asked each time.
"""

import hashlib
import re
from base64 import b64decode
from collections import OrderedDict
from collections.abc import Sequence
from difflib import get_close_matches
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from cryptography import x509
from cryptography.x509.oid import NameOID

from authgate.config.sources import CertificateSettings
from authgate.credentials.claims import is_name_elsewhere
from authgate.errors import ConfigError, CredentialError, Problem
from authgate.model import ANONYMOUS, CredentialKind, Identity, Reason, Subject
from authgate.stores import Clock

BAD = Identity(ANONYMOUS, CredentialKind.CERTIFICATE, Reason.BAD_CREDENTIAL)
EXPIRED = Identity(ANONYMOUS, CredentialKind.CERTIFICATE, Reason.EXPIRED)
REVOKED = Identity(ANONYMOUS, CredentialKind.CERTIFICATE, Reason.REVOKED)

# X509_verify_cert_error_string(3), behind the word with which nginx and Apache begin.
_FAILURES = {"FAILED:certificate has expired": EXPIRED, "FAILED:certificate revoked": REVOKED}

# Escaped, a certificate of 8 KiB is some 12 KiB of PEM; web servers take none that is much larger.
MAX_CERTIFICATE = 32 * 1024
MAX_SUBJECT = 4 * 1024
MAX_GROUPS = 100
# Some 500 bytes each, the least used forgotten first and read again.
REMEMBERED = 10_000

# Of the alternative names (RFC 5280 section 4.2.1.6), not of the subject.
_EMAIL = "email"
# As OpenSSL writes them into a subject (RFC 4514 section 3 has only nine of them).
_ATTRIBUTES = {
    "CN": NameOID.COMMON_NAME,
    "UID": NameOID.USER_ID,
    "emailAddress": NameOID.EMAIL_ADDRESS,
    "serialNumber": NameOID.SERIAL_NUMBER,
    "OU": NameOID.ORGANIZATIONAL_UNIT_NAME,
    "O": NameOID.ORGANIZATION_NAME,
    "organizationIdentifier": NameOID.ORGANIZATION_IDENTIFIER,
    "DC": NameOID.DOMAIN_COMPONENT,
    "C": NameOID.COUNTRY_NAME,
    "ST": NameOID.STATE_OR_PROVINCE_NAME,
    "L": NameOID.LOCALITY_NAME,
    "street": NameOID.STREET_ADDRESS,
    "postalCode": NameOID.POSTAL_CODE,
    "title": NameOID.TITLE,
    "GN": NameOID.GIVEN_NAME,
    "SN": NameOID.SURNAME,
    "initials": NameOID.INITIALS,
    "generationQualifier": NameOID.GENERATION_QUALIFIER,
    "pseudonym": NameOID.PSEUDONYM,
    "dnQualifier": NameOID.DN_QUALIFIER,
    "x500UniqueIdentifier": NameOID.X500_UNIQUE_IDENTIFIER,
    "businessCategory": NameOID.BUSINESS_CATEGORY,
}

# nginx escapes it, Apache has it as it is in an environment and with spaces for line ends in a header.
_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----\s*")

# What `cryptography` raises for a certificate that it cannot read.
_UNREADABLE = (
    ValueError,
    CredentialError,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.ExtensionNotFound,
    x509.UnsupportedGeneralNameType,
)


class ClientCertificate(NamedTuple):
    """What the web server says of a client's certificate, decoded as Latin-1.

    Args:
        verified: nginx ``$ssl_client_verify``, Apache ``SSL_CLIENT_VERIFY``: ``SUCCESS``, ``FAILED:reason``.
        subject: its distinguished name (RFC 4514), nginx ``$ssl_client_s_dn``.
        pem: the certificate, PEM, or that URL-encoded as nginx ``$ssl_client_escaped_cert``; may be empty.
    """

    verified: str
    subject: str
    pem: str


def sent_certificate(verified: str, subject: str, pem: str) -> ClientCertificate | None:
    """Return the certificate that a client sent; None when it sent none."""
    return None if verified in {"", "NONE"} else ClientCertificate(verified, subject, pem)


class _Holder(NamedTuple):
    """Whom a certificate names, and when it counts, in seconds since the epoch."""

    identity: Identity
    begins: float
    ends: float


_NOBODY = _Holder(BAD, float("-inf"), float("inf"))


class Certificates:
    """Who a certificate proves.

    Args:
        capacity: how many certificates are remembered.

    Raises:
        ConfigError: there is no such attribute.
    """

    def __init__(self, settings: CertificateSettings, clock: Clock, capacity: int = REMEMBERED) -> None:
        _check(settings)
        self._settings = settings
        self._clock = clock
        self._capacity = capacity
        self._holders: OrderedDict[bytes, _Holder] = OrderedDict()

    def __len__(self) -> int:
        return len(self._holders)

    def identify(self, certificate: ClientCertificate) -> Identity:
        """Return who it is; never raises."""
        if certificate.verified != "SUCCESS":
            return _FAILURES.get(certificate.verified, BAD)
        if len(certificate.pem) > MAX_CERTIFICATE or len(certificate.subject) > MAX_SUBJECT:
            return BAD
        holder = self._holder(certificate)
        now = self._clock()
        # RFC 5280 section 4.1.2.5: "the period of time from notBefore through notAfter, inclusive".
        if now > holder.ends:
            return EXPIRED
        return BAD if now < holder.begins else holder.identity

    def _holder(self, certificate: ClientCertificate) -> _Holder:
        written = f"{certificate.pem}\n{certificate.subject}".encode()
        digest = hashlib.blake2b(written, digest_size=32).digest()
        holder = self._holders.get(digest)
        if holder is None:
            holder = self._holders[digest] = self._read(certificate)
            if len(self._holders) > self._capacity:
                self._holders.popitem(last=False)
        else:
            self._holders.move_to_end(digest)
        return holder

    def _read(self, certificate: ClientCertificate) -> _Holder:
        try:
            if not certificate.pem:
                return _NOBODY._replace(identity=self._identity(_parse_subject(certificate.subject), ()))
            parsed = _parse_certificate(certificate.pem)
            emails = _emails(parsed) if self._settings.user == _EMAIL else ()
            begins, ends = parsed.not_valid_before_utc.timestamp(), parsed.not_valid_after_utc.timestamp()
            return _Holder(self._identity(parsed.subject, emails), begins, ends)
        except _UNREADABLE:
            return _NOBODY

    def _identity(self, subject: x509.Name, emails: Sequence[str]) -> Identity:
        """Return whom it names.

        Raises:
            CredentialError: nobody, or more than one.
        """
        settings = self._settings
        names = emails if settings.user == _EMAIL else _values(subject, settings.user)
        if len(names) != 1 or not is_name_elsewhere(names[0]):
            raise CredentialError("names nobody")
        groups = None
        if settings.groups:
            groups = frozenset(_values(subject, settings.groups))
            if len(groups) > MAX_GROUPS or not all(map(is_name_elsewhere, groups)):
                raise CredentialError("not groups")
        return Identity(Subject(settings.source, names[0], groups), CredentialKind.CERTIFICATE)


def _check(settings: CertificateSettings) -> None:
    problems = []
    for key, name, known in (
        ("user", settings.user, [_EMAIL, *_ATTRIBUTES]),
        ("groups", settings.groups, ["", *_ATTRIBUTES]),
    ):
        if name not in known:
            close = get_close_matches(name.lower(), {one.lower(): one for one in known}, n=1)
            meant = next((one for one in known if close and one.lower() == close[0]), "")
            hint = f'did you mean "{meant}"?' if meant else f"there are {', '.join(one for one in known if one)}"
            problems.append(Problem(f"{settings.place}.{key}", f'unknown attribute "{name}"', hint))
    if problems:
        raise ConfigError(problems)


def _parse_certificate(pem: str) -> x509.Certificate:
    found = _PEM.fullmatch(unquote_to_bytes(pem))
    if found is None:
        raise CredentialError("no certificate")
    return x509.load_der_x509_certificate(b64decode(b"".join(found[1].split()), validate=True))


def _parse_subject(text: str) -> x509.Name:
    # nginx escapes what is not ASCII, Apache does not.
    return x509.Name.from_rfc4514_string(text.encode("latin-1").decode(), _ATTRIBUTES)


def _values(subject: x509.Name, attribute: str) -> list[str]:
    values = [found.value for found in subject.get_attributes_for_oid(_ATTRIBUTES[attribute])]
    texts = [value for value in values if isinstance(value, str)]
    if len(texts) != len(values):
        raise CredentialError("not a text")
    return texts


def _emails(certificate: x509.Certificate) -> list[str]:
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return names.get_values_for_type(x509.RFC822Name)
