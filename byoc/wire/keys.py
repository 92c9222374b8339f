"""Keys as JSON Web Keys: signing (Ed25519, P-256 to verify) and sealing (X25519).

Used by both planes and the gateway. The invariant: a key knows its algorithm and its name
(``kid``, the RFC 7638 thumbprint of the public half), so no header of a token is ever asked.
``repr`` of a private key shows its name alone.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from typing import Final, Protocol, cast

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key, load_pem_public_key

from byoc.errors import UsageError
from byoc.wire.canonical import canonical

Jwk = dict[str, str]
_SIZE: Final = 32
"""Bytes of a coordinate or private scalar of each curve we use."""
_BASE64URL: Final = re.compile(r"[A-Za-z0-9_-]*\Z")
_NAMED: Final = {"OKP": ("crv", "kty", "x"), "EC": ("crv", "kty", "x", "y")}
"""Members that RFC 7638 hashes, by ``kty``."""


def encode_bytes(data: bytes) -> str:
    """Return ``data`` in base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode_bytes(text: str) -> bytes:
    """Read base64url without padding, in its one canonical form.

    Raises:
        UsageError: the text is anything else.
    """
    if _BASE64URL.match(text):
        try:
            data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        except binascii.Error:
            data = b""
        if encode_bytes(data) == text:
            return data
    raise UsageError("not base64url")


def thumbprint(jwk: Mapping[str, str]) -> str:
    """Return the RFC 7638 thumbprint of a key: SHA-256 of its required members, base64url.

    Raises:
        UsageError: a required member is missing or the kind of key is unknown.
    """
    names = _NAMED.get(str(jwk.get("kty")))
    if names is None or any(not isinstance(jwk.get(name), str) for name in names):
        raise UsageError("not a key: `kty` is unknown or a member is missing")
    return encode_bytes(hashlib.sha256(canonical({name: jwk[name] for name in names})).digest())


class PublicKey:
    """A key that verifies: Ed25519 (``EdDSA``) or P-256 (``ES256``); made by ``from_jwk``."""

    __slots__ = ("_jwk", "algorithm", "kid", "material")

    def __init__(self, material: Ed25519PublicKey | ec.EllipticCurvePublicKey) -> None:
        self.material: Final = material
        """The library's own object, for ``byoc.wire.jws`` alone."""
        if isinstance(material, Ed25519PublicKey):
            self.algorithm = "EdDSA"
            self._jwk: Jwk = {"kty": "OKP", "crv": "Ed25519", "x": encode_bytes(material.public_bytes_raw())}
        else:
            self.algorithm = "ES256"
            numbers = material.public_numbers()
            point = {"x": numbers.x, "y": numbers.y}
            coordinates = {name: encode_bytes(value.to_bytes(_SIZE, "big")) for name, value in point.items()}
            self._jwk = {"kty": "EC", "crv": "P-256", **coordinates}
        self.kid: Final = thumbprint(self._jwk)

    @classmethod
    def from_jwk(cls, jwk: Mapping[str, str]) -> "PublicKey":
        """Read a public key.

        Raises:
            UsageError: another kind of key, a private one, a bad point, or a ``kid`` that is not
                the key's thumbprint.
        """
        if "d" in jwk:
            raise UsageError("a private key where a public one is wanted")
        key = cls(_ed25519_public(jwk) if jwk.get("kty") == "OKP" else _p256_public(jwk))
        if jwk.get("kid", key.kid) != key.kid:
            raise UsageError("the key's `kid` is not its thumbprint")
        return key

    @classmethod
    def from_pem(cls, pem: bytes) -> "PublicKey":
        """Read a public key in PEM or DER (SubjectPublicKeyInfo).

        Raises:
            UsageError: it is no public key, or neither Ed25519 nor P-256.
        """
        load = load_pem_public_key if pem.startswith(b"-----") else load_der_public_key
        try:
            material = load(pem)
        except (ValueError, UnsupportedAlgorithm) as error:
            raise UsageError("not a public key") from error
        p256 = isinstance(material, ec.EllipticCurvePublicKey) and isinstance(material.curve, ec.SECP256R1)
        if not p256 and not isinstance(material, Ed25519PublicKey):
            raise UsageError("not a signing key: neither Ed25519 nor P-256")
        return cls(cast("Ed25519PublicKey | ec.EllipticCurvePublicKey", material))

    def verifies(self, signature: bytes, data: bytes) -> bool:
        """Whether ``signature``, as JWS has it, is this key's under ``data``."""
        try:
            if isinstance(self.material, Ed25519PublicKey):
                self.material.verify(signature, data)
            else:
                halves = (int.from_bytes(signature[:_SIZE], "big"), int.from_bytes(signature[_SIZE:], "big"))
                self.material.verify(encode_dss_signature(*halves), data, ec.ECDSA(SHA256()))
        except InvalidSignature:
            return False
        return True

    def plain_signature(self, signature: bytes) -> bytes:
        """Return a signature as JWS has it; ECDSA's also come as ASN.1 (RFC 3279)."""
        if self.algorithm == "EdDSA" or len(signature) == 2 * _SIZE:
            return signature
        try:
            numbers = decode_dss_signature(signature)
        except ValueError as error:
            raise UsageError("not a signature") from error
        return b"".join(number.to_bytes(_SIZE, "big") for number in numbers)

    def jwk(self) -> Jwk:
        """Return the key as a JWK, with ``kid``."""
        return {**self._jwk, "kid": self.kid}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PublicKey) and other.kid == self.kid

    def __hash__(self) -> int:
        return hash(self.kid)

    def __repr__(self) -> str:
        return f"PublicKey({self.kid})"


def _member(jwk: Mapping[str, str], name: str) -> bytes:
    value = jwk.get(name)
    data = decode_bytes(value) if isinstance(value, str) else b""
    if len(data) != _SIZE:
        raise UsageError(f"not a key: member `{name}` is not {_SIZE} bytes")
    return data


def _ed25519_public(jwk: Mapping[str, str]) -> Ed25519PublicKey:
    if jwk.get("crv") != "Ed25519":
        raise UsageError("not a signing key: `crv` is not Ed25519")
    try:
        return Ed25519PublicKey.from_public_bytes(_member(jwk, "x"))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise UsageError("not a signing key: a bad point") from error


def _p256_public(jwk: Mapping[str, str]) -> ec.EllipticCurvePublicKey:
    if jwk.get("kty") != "EC" or jwk.get("crv") != "P-256":
        raise UsageError("not a signing key: neither Ed25519 nor P-256")
    x, y = (int.from_bytes(_member(jwk, name), "big") for name in ("x", "y"))
    try:
        return ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
    except ValueError as error:
        raise UsageError("not a signing key: a bad point") from error


class Signer(Protocol):
    """Whatever signs: a key in memory, or one that somebody else keeps and is asked."""

    @property
    def public(self) -> PublicKey:
        """The half that verifies."""
        ...

    @property
    def kid(self) -> str:
        """Name of the key: thumbprint of its public half."""
        ...

    def sign(self, data: bytes) -> bytes:
        """Return the signature as JWS has it: 64 bytes, for ES256 the two numbers after each other.

        Raises:
            Unreachable: whoever keeps the key does not sign now.
        """
        ...


class SigningKey:
    """An Ed25519 private key; made by ``generate`` or ``from_private_jwk``."""

    __slots__ = ("material", "public")

    def __init__(self, material: Ed25519PrivateKey) -> None:
        self.material: Final = material
        """The library's own object, for ``byoc.wire.jws`` alone."""
        self.public: Final = PublicKey(material.public_key())

    @property
    def kid(self) -> str:
        """Name of the key: thumbprint of its public half."""
        return self.public.kid

    @classmethod
    def generate(cls) -> "SigningKey":
        """Make a new key from the system's randomness."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def from_private_jwk(cls, jwk: Mapping[str, str]) -> "SigningKey":
        """Read a key that ``private_jwk`` wrote.

        Raises:
            UsageError: it is no Ed25519 private key, or its halves do not belong together.
        """
        key = cls(Ed25519PrivateKey.from_private_bytes(_member(jwk, "d")))
        if PublicKey.from_jwk(_public_part(jwk)) != key.public:
            raise UsageError("the halves of the signing key do not belong together")
        return key

    def sign(self, data: bytes) -> bytes:
        """Return the signature."""
        return self.material.sign(data)

    def private_jwk(self) -> Jwk:
        """Return the key with its private half: for a file of mode 0600 and nothing else."""
        return {**self.public.jwk(), "d": encode_bytes(self.material.private_bytes_raw())}

    def __repr__(self) -> str:
        return f"SigningKey({self.kid})"


class SealingKey:
    """An X25519 private key, to which passwords are sealed."""

    __slots__ = ("_jwk", "material")

    def __init__(self, material: X25519PrivateKey) -> None:
        self.material: Final = material
        public = material.public_key().public_bytes_raw()
        self._jwk: Final[Jwk] = {"kty": "OKP", "crv": "X25519", "x": encode_bytes(public)}

    @property
    def kid(self) -> str:
        """Name of the key: thumbprint of its public half."""
        return thumbprint(self._jwk)

    @classmethod
    def generate(cls) -> "SealingKey":
        """Make a new key from the system's randomness."""
        return cls(X25519PrivateKey.generate())

    @classmethod
    def from_private_jwk(cls, jwk: Mapping[str, str]) -> "SealingKey":
        """Read a key that ``private_jwk`` wrote.

        Raises:
            UsageError: it is no X25519 private key, or its halves do not belong together.
        """
        key = cls(X25519PrivateKey.from_private_bytes(_member(jwk, "d")))
        if check_sealing_jwk(_public_part(jwk)) != key.public_jwk():
            raise UsageError("the halves of the sealing key do not belong together")
        return key

    def private_jwk(self) -> Jwk:
        """Return the key with its private half: for a file of mode 0600 and nothing else."""
        return {**self.public_jwk(), "d": encode_bytes(self.material.private_bytes_raw())}

    def public_jwk(self) -> Jwk:
        """Return the public half, with ``kid``."""
        return {**self._jwk, "kid": self.kid}

    def __repr__(self) -> str:
        return f"SealingKey({self.kid})"


def check_sealing_jwk(jwk: Mapping[str, str]) -> Jwk:
    """Return the public X25519 key in its one form, with ``kid``.

    Raises:
        UsageError: it is something else, or holds a private half.
    """
    if "d" in jwk or jwk.get("kty") != "OKP" or jwk.get("crv") != "X25519":
        raise UsageError("not a public sealing key")
    plain = {"kty": "OKP", "crv": "X25519", "x": encode_bytes(_member(jwk, "x"))}
    kid = thumbprint(plain)
    if jwk.get("kid", kid) != kid:
        raise UsageError("the key's `kid` is not its thumbprint")
    return {**plain, "kid": kid}


def _public_part(jwk: Mapping[str, str]) -> Jwk:
    return {name: value for name, value in jwk.items() if name != "d"}
