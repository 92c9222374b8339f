"""An authority for users of a cluster who show certificates."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

BEGAN = datetime(2020, 1, 1, tzinfo=UTC)
LIFE = timedelta(days=36500)


@dataclass(frozen=True)
class Clients:
    """The authority; ``certificate`` is PEM, for the API server."""

    certificate: str
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def make(cls) -> "Clients":
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "users of the tests")])
        whole = _signed(name, name, key, key, x509.BasicConstraints(ca=True, path_length=0))
        return cls(_pem(whole), key)

    def issue(self, user: str, group: str) -> tuple[str, str]:
        """Return certificate and key of ``user``, a member of ``group``, as PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, group),
                x509.NameAttribute(NameOID.COMMON_NAME, user),
            ]
        )
        own = x509.load_pem_x509_certificate(self.certificate.encode()).subject
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
        kept = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return _pem(_signed(name, own, key, self.key, usage)), kept.decode()


def _signed(
    name: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    by: ec.EllipticCurvePrivateKey,
    extension: x509.ExtensionType,
) -> x509.Certificate:
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(BEGAN)
        .not_valid_after(BEGAN + LIFE)
        .add_extension(extension, critical=True)
        .sign(by, hashes.SHA256())
    )


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()
