"""Who is asking: the bearer key of a request turned into a principal.

Called by every route that needs a caller, before its body is read. A missing header, a
malformed one and an unknown key cost the same look-up and get the same answer.
"""

from typing import Final

from byoc.controlplane.api.service import Authenticator
from byoc.errors import NotAuthenticated
from byoc.model.records import Principal

_LONGEST: Final = 4096
_NO_KEY: Final = "0" * 64
"""Looked up where a request has no usable key, so that this takes as long as a wrong one."""
_HINT: Final = "send `Authorization: Bearer <key>`; `byoc login` stores one"


class Guard:
    """Turns headers into principals."""

    def __init__(self, authenticator: Authenticator) -> None:
        self._authenticator = authenticator

    async def admit(self, authorization: str | None) -> Principal:
        """Return the caller behind an ``Authorization`` header.

        Raises:
            NotAuthenticated: there is no key in it, or no valid one.
        """
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
