import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from byoc.errors import UsageError
from byoc.wire.certificates import Certificate, expires_at, make_authority, make_server_certificate

NOW = datetime.now(UTC)


def shake_hands(folder: Path, authority: Certificate, server: Certificate, name: str) -> str | None:
    """Let a client and a server talk in memory; return the version of TLS."""
    (folder / "tls.crt").write_bytes(server.certificate)
    (folder / "tls.key").write_bytes(server.key)
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.minimum_version = ssl.TLSVersion.TLSv1_3
    serving.load_cert_chain(folder / "tls.crt", folder / "tls.key")
    asking = ssl.create_default_context(cadata=authority.certificate.decode())
    asking.verify_flags |= ssl.VERIFY_X509_STRICT
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        asking.wrap_bio(down, up, server_hostname=name),
        serving.wrap_bio(up, down, server_side=True),
    ]
    for _ in range(4):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return ends[0].version()


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "::1", "gateway.example.com"])
def test_a_client_that_trusts_the_authority_reaches_the_gateway_by_tls_1_3(tmp_path: Path, name: str) -> None:
    authority = make_authority(name="byoc test", now=NOW)
    server = make_server_certificate(authority, names=["gateway.example.com"], now=NOW)

    assert shake_hands(tmp_path, authority, server, name) == "TLSv1.3"


def test_a_gateway_under_another_name_is_refused(tmp_path: Path) -> None:
    authority = make_authority(name="byoc test", now=NOW)
    server = make_server_certificate(authority, now=NOW)
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(tmp_path, authority, server, "elsewhere.example.com")


def test_a_gateway_of_another_authority_is_refused(tmp_path: Path) -> None:
    authority, another = make_authority(name="one", now=NOW), make_authority(name="one", now=NOW)
    server = make_server_certificate(another, now=NOW)
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(tmp_path, authority, server, "localhost")


def test_a_server_certificate_does_not_outlive_its_authority() -> None:
    authority = make_authority(name="byoc test", now=NOW)
    late = NOW + timedelta(days=3600)

    server = make_server_certificate(authority, now=late)

    assert expires_at(server.certificate) <= expires_at(authority.certificate)
    assert expires_at(authority.certificate) - NOW > timedelta(days=3649)


def test_the_key_is_not_shown() -> None:
    assert "PRIVATE" not in repr(make_authority(name="byoc test", now=NOW))


@pytest.mark.parametrize("name", ["bücher.example", "Ü"])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    authority = make_authority(name="byoc test", now=NOW)
    with pytest.raises(UsageError, match="not a host name"):
        make_server_certificate(authority, names=[name], now=NOW)


def test_an_authority_with_another_key_is_refused() -> None:
    one, two = make_authority(name="byoc test", now=NOW), make_authority(name="byoc test", now=NOW)
    with pytest.raises(UsageError):
        make_server_certificate(Certificate(one.certificate, two.key), now=NOW)
    with pytest.raises(UsageError):
        make_server_certificate(Certificate(b"no", b"no"), now=NOW)
    with pytest.raises(UsageError):
        expires_at(b"no")
