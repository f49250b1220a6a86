"""A certification authority, its clients' certificates and what it takes back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CN, OU, O, UID = (  # noqa: E741 - as they are called
    NameOID.COMMON_NAME,
    NameOID.ORGANIZATIONAL_UNIT_NAME,
    NameOID.ORGANIZATION_NAME,
    NameOID.USER_ID,
)

Pairs = Sequence[tuple[x509.ObjectIdentifier, str]]

HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(Encoding.PEM).decode()

    @property
    def escaped(self) -> str:
        """The certificate as nginx's ``$ssl_client_escaped_cert`` (ngx_escape_uri, NGX_ESCAPE_URI_COMPONENT)."""
        return quote(self.pem, safe="-_.~")

    @property
    def unwrapped(self) -> str:
        """The certificate as Apache's mod_headers writes it into a field."""
        return self.pem.replace("\n", " ")

    def write(self, folder: Path, name: str) -> Path:
        """Write certificate and key into one file."""
        key = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        path = folder / f"{name}.pem"
        path.write_text(self.pem + key)
        return path


class Authority:
    """Signs certificates.

    Args:
        now: what its clock shows; certificates begin an hour before and end in an hour.
    """

    def __init__(self, name: str = "Clients of ours", now: datetime | None = None) -> None:
        self.now = now or datetime.now(UTC)
        self._name = x509.Name([x509.NameAttribute(CN, name)])
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = (
            self._builder(self._name, self._key.public_key(), -HOUR, HOUR)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self._key, SHA256())
        )

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(Encoding.PEM).decode()

    def issue(
        self,
        subject: Pairs | x509.Name,
        *,
        begins: timedelta = -HOUR,
        ends: timedelta = HOUR,
        emails: Sequence[str] = (),
        usage: x509.ObjectIdentifier = ExtendedKeyUsageOID.CLIENT_AUTH,
    ) -> Issued:
        """Sign a client's certificate.

        Args:
            emails: of the alternative names.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        name = subject if isinstance(subject, x509.Name) else named(subject)
        builder = self._builder(name, key.public_key(), begins, ends).add_extension(
            x509.ExtendedKeyUsage([usage]), critical=False
        )
        if emails:
            names = x509.SubjectAlternativeName([x509.RFC822Name(email) for email in emails])
            builder = builder.add_extension(names, critical=False)
        return Issued(builder.sign(self._key, SHA256()), key)

    def issue_all(self, subjects: Mapping[str, Pairs]) -> dict[str, Issued]:
        """Sign several."""
        return {name: self.issue(subject) for name, subject in subjects.items()}

    def crl(self, *revoked: Issued, ends: timedelta = HOUR) -> str:
        """Say which are taken back."""
        builder = x509.CertificateRevocationListBuilder(self._name, self.now - HOUR, self.now + ends)
        for one in revoked:
            builder = builder.add_revoked_certificate(
                x509.RevokedCertificateBuilder(one.certificate.serial_number, self.now - HOUR).build()
            )
        return builder.sign(self._key, SHA256()).public_bytes(Encoding.PEM).decode()

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, begins: timedelta, ends: timedelta
    ) -> x509.CertificateBuilder:
        return x509.CertificateBuilder(
            self._name, subject, key, x509.random_serial_number(), self.now + begins, self.now + ends
        )


def named(pairs: Pairs) -> x509.Name:
    """Return a subject with one attribute for each pair."""
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in pairs])
