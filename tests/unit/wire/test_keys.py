import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from byoc.errors import UsageError
from byoc.wire.keys import (
    PublicKey,
    SealingKey,
    SigningKey,
    check_sealing_jwk,
    decode_bytes,
    encode_bytes,
    thumbprint,
)

RFC_8037_KEY = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}


def test_the_thumbprint_is_the_one_of_rfc_8037() -> None:
    assert thumbprint(RFC_8037_KEY) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
    assert PublicKey.from_jwk(RFC_8037_KEY).kid == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


def test_members_that_do_not_make_the_key_do_not_change_its_name() -> None:
    assert thumbprint({**RFC_8037_KEY, "use": "sig", "kid": "x"}) == thumbprint(RFC_8037_KEY)


def test_a_signing_key_comes_back_from_its_private_jwk() -> None:
    key = SigningKey.generate()

    again = SigningKey.from_private_jwk(key.private_jwk())

    assert again.public == key.public
    assert again.private_jwk() == key.private_jwk()


def test_a_sealing_key_comes_back_from_its_private_jwk() -> None:
    key = SealingKey.generate()

    assert SealingKey.from_private_jwk(key.private_jwk()).public_jwk() == key.public_jwk()


def test_a_p256_key_verifies_with_es256() -> None:
    key = PublicKey(ec.generate_private_key(ec.SECP256R1()).public_key())

    again = PublicKey.from_jwk(key.jwk())

    assert (again.algorithm, again.kid) == ("ES256", key.kid)


def test_no_private_half_is_shown() -> None:
    signing, sealing = SigningKey.generate(), SealingKey.generate()

    shown = repr(signing) + repr(sealing) + repr(signing.public)

    assert signing.private_jwk()["d"] not in shown
    assert sealing.private_jwk()["d"] not in shown
    assert "d" not in signing.public.jwk()
    assert "d" not in sealing.public_jwk()


@pytest.mark.parametrize(
    "jwk",
    [
        {},
        {"kty": "oct", "k": "AAAA"},
        {"kty": "RSA", "n": "AQ", "e": "AQAB"},
        {**RFC_8037_KEY, "crv": "Ed448"},
        {**RFC_8037_KEY, "crv": "X25519"},
        {**RFC_8037_KEY, "x": RFC_8037_KEY["x"] + "="},
        {**RFC_8037_KEY, "x": RFC_8037_KEY["x"][:-1]},
        {**RFC_8037_KEY, "x": RFC_8037_KEY["x"][:-1] + "p"},  # the same bytes, spelled otherwise
        {**RFC_8037_KEY, "kid": "another"},
        {**RFC_8037_KEY, "d": RFC_8037_KEY["x"]},
        {"kty": "EC", "crv": "P-256", "x": encode_bytes(b"\1" * 32), "y": encode_bytes(b"\1" * 32)},
        {"kty": "EC", "crv": "secp256k1", "x": encode_bytes(b"\1" * 32), "y": encode_bytes(b"\1" * 32)},
    ],
)
def test_what_is_not_a_public_signing_key_is_refused(jwk: dict[str, str]) -> None:
    with pytest.raises(UsageError):
        PublicKey.from_jwk(jwk)


def test_halves_of_two_keys_are_refused() -> None:
    one, two = SigningKey.generate().private_jwk(), SigningKey.generate().private_jwk()
    with pytest.raises(UsageError, match="do not belong together"):
        SigningKey.from_private_jwk({**one, "d": two["d"], "kid": one["kid"]})

    seal_one, seal_two = SealingKey.generate().private_jwk(), SealingKey.generate().private_jwk()
    with pytest.raises(UsageError, match="do not belong together"):
        SealingKey.from_private_jwk({**seal_one, "d": seal_two["d"]})


def test_a_signing_key_is_no_sealing_key() -> None:
    with pytest.raises(UsageError):
        check_sealing_jwk(SigningKey.generate().public.jwk())
    with pytest.raises(UsageError):
        check_sealing_jwk(SealingKey.generate().private_jwk())


@given(st.binary(max_size=80))
def test_base64url_comes_back(data: bytes) -> None:
    assert decode_bytes(encode_bytes(data)) == data


@pytest.mark.parametrize("text", ["A", "AB==", "A+B/", "AA\n", "Ä", "AB"])
def test_only_one_spelling_of_base64url_is_read(text: str) -> None:
    with pytest.raises(UsageError):
        decode_bytes(text)
