"""Typed reading of claims, and how long a token may live.

Used by ``byoc.wire.tokens`` and ``byoc.wire.keysets``, on claims whose signature has been
verified. The invariant: a claim is of the type that is asked for, or the token is refused.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from byoc.clock import parse_stamp
from byoc.errors import UsageError
from byoc.wire.jws import Fault, Kind, bad
from byoc.wire.keys import PublicKey

CLOCK_SKEW: Final = timedelta(seconds=5)
"""How far the clocks of signer and verifier may be apart."""


class Claims:
    """Typed reading of claims whose signature has been verified.

    Every method raises :class:`byoc.errors.BadToken` (``wrong-claims``) for a missing or
    mistyped claim.
    """

    def __init__(self, kind: Kind, values: Mapping[str, Any]) -> None:
        self._kind = kind
        self._values = values

    def text(self, name: str) -> str:
        """A claim that is a string and not empty."""
        value = self._values.get(name)
        if not isinstance(value, str) or not value:
            raise bad(self._kind, Fault.WRONG_CLAIMS)
        return value

    def number(self, name: str) -> int:
        """A claim that is a whole number, zero or more."""
        value = self._values.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise bad(self._kind, Fault.WRONG_CLAIMS)
        return value

    def moment(self, name: str) -> datetime:
        """A claim in seconds since 1970, as JWT has them."""
        try:
            return datetime.fromtimestamp(self.number(name), UTC)
        except (ValueError, OverflowError, OSError) as error:
            raise bad(self._kind, Fault.WRONG_CLAIMS) from error

    def stamp(self, name: str) -> datetime:
        """A claim in RFC 3339."""
        try:
            return parse_stamp(self.text(name))
        except (ValueError, OverflowError) as error:
            raise bad(self._kind, Fault.WRONG_CLAIMS) from error

    def key(self, name: str) -> PublicKey:
        """A claim that is a public signing key."""
        try:
            return PublicKey.from_jwk(self.mapping(name))
        except UsageError as error:
            raise bad(self._kind, Fault.WRONG_CLAIMS) from error

    def mapping(self, name: str) -> dict[str, Any]:
        """A claim that is an object."""
        value = self._values.get(name)
        if not isinstance(value, dict):
            raise bad(self._kind, Fault.WRONG_CLAIMS)
        return value

    def items(self, name: str, limit: int) -> list[Any]:
        """A claim that is a list of at most ``limit`` items; a missing one is empty."""
        value = self._values.get(name, [])
        if not isinstance(value, list) or len(value) > limit:
            raise bad(self._kind, Fault.WRONG_CLAIMS)
        return value

    def check_life(self, now: datetime, longest: timedelta) -> tuple[datetime, datetime]:
        """Return (issued, expires) of a token that is valid now and not longer than its kind may be."""
        issued, expires = self.moment("iat"), self.moment("exp")
        if expires - issued > longest:
            raise bad(self._kind, Fault.LIFE_TOO_LONG)
        if issued > now + CLOCK_SKEW:
            raise bad(self._kind, Fault.NOT_YET_VALID)
        if now >= expires + CLOCK_SKEW or expires <= issued:
            raise bad(self._kind, Fault.EXPIRED)
        return issued, expires


def life(now: datetime, length: timedelta) -> dict[str, int]:
    """Return the claims ``iat`` and ``exp`` of a token issued now."""
    issued = int(now.timestamp())
    return {"iat": issued, "exp": issued + int(length.total_seconds())}
