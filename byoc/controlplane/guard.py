"""Who is asking: the bearer key of a request turned into a principal.

Called by every route that needs a caller, before its body is read. A missing header, a
malformed one and an unknown key cost the same look-up and get the same answer. A key that goes too
fast is told to wait, and so is an address whose keys are refused again and again; a valid key is
let in from there all the same.
"""

from typing import Final

from byoc.controlplane.api.service import Authenticator
from byoc.controlplane.pace import Pace
from byoc.errors import NotAuthenticated
from byoc.model.records import Principal

_LONGEST: Final = 4096
_NO_KEY: Final = "0" * 64
"""Looked up where a request has no usable key, so that this takes as long as a wrong one."""
_HINT: Final = "send `Authorization: Bearer <key>`; `byoc login` stores one"


class Guard:
    """Turns headers into principals.

    Args:
        calls: for each key.
        refusals: for each address.
    """

    def __init__(self, authenticator: Authenticator, *, calls: Pace, refusals: Pace) -> None:
        self._authenticator = authenticator
        self._calls = calls
        self._refusals = refusals

    async def admit(self, authorization: str | None, address: str) -> Principal:
        """Return the caller behind an ``Authorization`` header that came from ``address``.

        Raises:
            NotAuthenticated: there is no key in it, or no valid one.
            TooManyRequests: the key, or the address, is over its rate.
        """
        try:
            principal = await self._look_up(authorization)
        except NotAuthenticated:
            self._refusals.take(address)
            raise
        self._calls.take(principal.key_id)
        return principal

    async def admits_still(self, authorization: str | None) -> bool:
        """Whether whoever was let in with this header would be again, at whatever rate."""
        try:
            await self._look_up(authorization)
        except NotAuthenticated:
            return False
        return True

    async def _look_up(self, authorization: str | None) -> Principal:
        scheme, _, key = (authorization or "").strip().partition(" ")
        key = key.strip()
        usable = scheme.lower() == "bearer" and 0 < len(key) <= _LONGEST and key.isascii()
        try:
            principal = await self._authenticator.authenticate(key if usable else _NO_KEY)
        except NotAuthenticated as error:
            raise NotAuthenticated("missing or invalid API key", hint=_HINT) from error
        if not usable:
            raise NotAuthenticated("missing or invalid API key", hint=_HINT)
        return principal
