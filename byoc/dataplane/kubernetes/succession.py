"""How one authority of a cell follows another. Pure; used by ``authority``, which keeps it in the cluster.

A new authority is first only told of, and vouched for by the one that signs; after :data:`TOLD` it signs,
and certificates of engines are made anew; the old one is trusted until every running engine shows one of
the new. So whoever verifies by what the cell tells, at any time within that, is never cut off.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, Self

from byoc.errors import UsageError
from byoc.ids import NewID
from byoc.model.report import Authority
from byoc.wire.certificates import (
    SERVER_LIFE,
    Certificate,
    begins_at,
    expires_at,
    make_authority,
    make_voucher,
)

TOLD: Final = timedelta(days=14)
"""A new authority is told of for so long before it signs, so that clients that keep a copy can take it."""
_LEFT: Final = SERVER_LIFE + 6 * TOLD
"""An authority that lasts no longer gets a successor: what it signs would be cut short."""


class Wish(StrEnum):
    """What somebody with rights in the cluster may ask for."""

    NEXT = "next"
    """A new authority, as by age."""
    NOW = "now"
    """One that signs at once: the old key is in wrong hands."""


@dataclass(frozen=True, slots=True)
class Succession:
    """The authorities of a cell.

    Attributes:
        signing: whose certificates engines get.
        voucher: by which the one before vouches for it; empty for the first.
        coming: is told of and does not sign yet.
        past: certificate of the one that signed before, while engines may still show its certificates.
    """

    signing: Certificate = field(repr=False)
    voucher: bytes = b""
    coming: Certificate | None = field(default=None, repr=False)
    coming_voucher: bytes = b""
    past: bytes = b""

    @classmethod
    def first(cls, new_id: NewID, now: datetime) -> Self:
        """Make the authority of a new cell."""
        return cls(_made(new_id, now))

    @classmethod
    def from_data(cls, data: Mapping[str, bytes]) -> Self:
        """Read what a Secret holds.

        Raises:
            KeyError, UsageError: it holds no authority.
        """
        read = cls(
            Certificate(data["ca.crt"], data["ca.key"]),
            data.get("ca.voucher", b""),
            Certificate(data["coming.crt"], data["coming.key"]) if "coming.crt" in data else None,
            data.get("coming.voucher", b""),
            data.get("past.crt", b""),
        )
        for each in read.trusted:
            expires_at(each)
        return read

    def to_data(self) -> dict[str, str | None]:
        """Return it as a change of the Secret's data."""
        coming = self.coming
        values = {
            "ca.crt": self.signing.certificate,
            "ca.key": self.signing.key,
            "ca.voucher": self.voucher,
            "coming.crt": coming.certificate if coming else b"",
            "coming.key": coming.key if coming else b"",
            "coming.voucher": self.coming_voucher,
            "past.crt": self.past,
        }
        return {name: base64.b64encode(text).decode() if text else None for name, text in values.items()}

    @property
    def trusted(self) -> tuple[bytes, ...]:
        """The certificates that clients trust, the one that signs first."""
        coming = self.coming.certificate if self.coming else b""
        return tuple(each for each in (self.signing.certificate, coming, self.past) if each)

    @property
    def told(self) -> tuple[Authority, ...]:
        """What the cell says of it."""
        vouchers = {self.signing.certificate: self.voucher}
        if self.coming is not None:
            vouchers[self.coming.certificate] = self.coming_voucher
        return tuple(Authority(each.decode(), vouchers.get(each, b"").decode()) for each in self.trusted)

    def advanced(self, now: datetime, wish: Wish | None, new_id: NewID, *, renewed: bool) -> "Succession":
        """Return what follows from it at ``now``; itself where nothing does.

        ``renewed``: every engine that runs shows a certificate of the one that signs.
        """
        if self.past:
            return replace(self, past=b"") if renewed else self
        if self.coming is not None:
            due = wish is Wish.NOW or now - begins_at(self.coming.certificate) >= TOLD
            return self.passed_on() if due else self
        if wish is None and expires_at(self.signing.certificate) - now > _LEFT:
            return self
        coming = _made(new_id, now)
        word = make_voucher(self.signing, coming.certificate, now)
        begun = replace(self, coming=coming, coming_voucher=word)
        return begun.passed_on() if wish is Wish.NOW else begun

    def passed_on(self) -> "Succession":
        """Return it with the one that was to come signing."""
        if self.coming is None:
            raise UsageError("there is no authority to follow")
        return Succession(self.coming, self.coming_voucher, past=self.signing.certificate)


def _made(new_id: NewID, now: datetime) -> Certificate:
    # Each has a name of its own: some libraries find who signed by the name alone.
    return make_authority(name=f"byoc cell {new_id()[:8]}", now=now)
