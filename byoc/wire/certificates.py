"""TLS certificates of gateways and of a cell's engines, from small authorities of our own.

Called when an installation is made (``byoc up``, ``controlplane init``), by a cell for its engines, and by
whoever verifies those. Everything is PEM; the caller writes private keys with mode 0600. P-256, because
every TLS library takes it. An authority is constrained to sign nothing but server certificates of its own;
what it says of its successor, its *voucher*, is no link of a chain: only :func:`vouches` reads it.
"""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from byoc.errors import UsageError

AUTHORITY_LIFE: Final = timedelta(days=3650)
SERVER_LIFE: Final = timedelta(days=397)
"""Longer ones are refused by some TLS clients."""
PAIR_LIFE: Final = timedelta(hours=26)
"""Of a certificate that one end of a forwarded service shows the other: longer than any forward."""
LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
_BACKDATED: Final = timedelta(minutes=5)
"""So that a peer whose clock is a little behind can connect at once."""


@dataclass(frozen=True, slots=True, repr=False)
class Certificate:
    """A certificate and its private key, both PEM."""

    certificate: bytes
    key: bytes


def make_authority(*, name: str, now: datetime) -> Certificate:
    """Make a certificate authority that is trusted by nobody but whoever is given its certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = _builder(subject, subject, key.public_key(), now, AUTHORITY_LIFE)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_usage(authority=True), critical=True)
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    builder = builder.add_extension(identifier, critical=False)
    return _pem(builder.sign(key, hashes.SHA256()), key)


def make_server_certificate(
    authority: Certificate, *, names: Sequence[str] = (), now: datetime
) -> Certificate:
    """Make a certificate for a server that answers at ``names`` and on loopback.

    ``names``: host names and addresses; the loopback ones are added.

    Raises:
        UsageError: a name is neither a host name nor an address, or the authority is not one of ours.
    """
    issuer, issuer_key = _load(authority)
    key = ec.generate_private_key(ec.SECP256R1())
    wanted = tuple(dict.fromkeys((*names, *LOOPBACK)))
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, wanted[0][:64])])
    life = min(SERVER_LIFE, issuer.not_valid_after_utc - now)
    builder = _builder(subject, issuer.subject, key.public_key(), now, life)
    extensions: list[tuple[x509.ExtensionType, bool]] = [
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (_usage(authority=False), True),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False),
        (x509.SubjectAlternativeName([_general_name(name) for name in wanted]), False),
        (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False),
        (x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), False),
    ]
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    return _pem(builder.sign(issuer_key, hashes.SHA256()), key)


def make_voucher(authority: Certificate, successor: bytes, now: datetime) -> bytes:
    """Return the word of ``authority`` that ``successor``, a certificate, is the authority after it.

    Raises:
        UsageError: one of the two is not what it should be.
    """
    issuer, issuer_key = _load(authority)
    follows = _read(successor)
    key = follows.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise UsageError("the successor is not one of ours")
    life = min(issuer.not_valid_after_utc, follows.not_valid_after_utc) - now
    builder = _builder(follows.subject, issuer.subject, key, now, life)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    return builder.sign(issuer_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def vouches(authority: bytes, voucher: bytes, successor: bytes) -> bool:
    """Whether ``voucher`` is the word of ``authority`` for ``successor``; all are certificates, as PEM."""
    try:
        word, follows = _read(voucher), _read(successor)
        word.verify_directly_issued_by(_read(authority))
    except (UsageError, ValueError, TypeError, InvalidSignature):
        return False
    return (word.subject, word.public_key()) == (follows.subject, follows.public_key())


def issued(authority: bytes, certificate: bytes) -> bool:
    """Whether ``certificate`` was signed by ``authority``, both PEM."""
    try:
        _read(certificate).verify_directly_issued_by(_read(authority))
    except (UsageError, ValueError, TypeError, InvalidSignature):
        return False
    return True


def belongs(pair: Certificate) -> bool:
    """Whether the key is that of the certificate."""
    try:
        key = serialization.load_pem_private_key(pair.key, None)
        return key.public_key() == _read(pair.certificate).public_key()
    except (UsageError, ValueError, TypeError, UnsupportedAlgorithm):
        return False


def fingerprint(certificate: bytes) -> str:
    """Return what two people compare to know that they have the same certificate.

    Raises:
        UsageError: it is none.
    """
    digest = _read(certificate).fingerprint(hashes.SHA256()).hex().upper()
    return "SHA256:" + ":".join(digest[at : at + 2] for at in range(0, len(digest), 2))


def begins_at(certificate: bytes) -> datetime:
    """Return when a PEM certificate was made, aware, in UTC.

    Raises:
        UsageError: it is no certificate.
    """
    return _read(certificate).not_valid_before_utc + _BACKDATED


def make_pinned(*, name: str, now: datetime) -> Certificate:
    """Make a certificate that nobody vouches for: its peer is told the very certificate to expect."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = _builder(subject, subject, key.public_key(), now, PAIR_LIFE)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_usage(authority=False), critical=True)
    return _pem(builder.sign(key, hashes.SHA256()), key)


def check_pinned(text: str) -> str:
    """Return ``text`` if it is one such certificate in PEM and nothing else.

    Raises:
        UsageError: it is not.
    """
    try:
        found = x509.load_pem_x509_certificate(text.encode("ascii"))
    except (ValueError, UnicodeEncodeError) as error:
        raise UsageError("certificate: not a PEM certificate") from error
    if not isinstance(found.public_key(), ec.EllipticCurvePublicKey):
        raise UsageError("certificate: its key is none on an elliptic curve")
    return found.public_bytes(serialization.Encoding.PEM).decode("ascii")


def expires_at(certificate: bytes) -> datetime:
    """Return when a PEM certificate expires, aware, in UTC.

    Raises:
        UsageError: it is no certificate.
    """
    return _read(certificate).not_valid_after_utc


def _read(certificate: bytes) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(certificate)
    except ValueError as error:
        raise UsageError("not a PEM certificate") from error


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    now: datetime,
    life: timedelta,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + life)
    )


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        pass
    try:
        return x509.DNSName(name)
    except ValueError as error:
        raise UsageError(f"not a host name: `{name[:64]}`") from error


def _load(authority: Certificate) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    try:
        certificate = x509.load_pem_x509_certificate(authority.certificate)
        key = serialization.load_pem_private_key(authority.key, password=None)
    except (ValueError, TypeError) as error:
        raise UsageError("the authority's certificate or key is not PEM") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or certificate.public_key() != key.public_key():
        raise UsageError("the authority's key does not belong to its certificate")
    return certificate, key


def _pem(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Certificate:
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Certificate(certificate.public_bytes(serialization.Encoding.PEM), private)
