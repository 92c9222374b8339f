"""The messages by which a tunnel begins, as values. Pure; used by ``gateway`` and ``client``.

::

    gateway                                   peer
    CHALLENGE {challenge, gateway, versions}  ->
              <-  LOGIN {role, token, versions, specVersion?, verbs?, agentVersion?, keySet?}
              or  ENROL {versions}
    LOGIN_OK {session, epoch, version}        ->      or LOGIN_ERR {code, message}, and the end
    RELOGIN {challenge, gateway, versions}    ->      every ten minutes; answered by LOGIN

The challenge is 32 random bytes in base64url without padding. Both ends name every version
of the protocol that they speak; the gateway takes the highest in common. Unknown members
are ignored, so that later versions may add some.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from byoc.errors import Unreachable, UsageError
from byoc.wire import frames
from byoc.wire.keys import decode_bytes, encode_bytes

VERSIONS: Final = (1,)
"""Versions of the tunnel protocol that this program speaks."""
CHALLENGE_BYTES: Final = 32
_MAX_VERSIONS: Final = 32


class Role(StrEnum):
    """Who dials."""

    CELL = "cell"
    CONTROLPLANE = "controlplane"


class Code(StrEnum):
    """Why a login was denied."""

    VERSION = "version"
    """No version of the protocol in common."""
    MALFORMED = "malformed"
    NOT_AUTHENTICATED = "not-authenticated"
    """The token does not verify; another one may."""
    RETIRED = "retired"
    """The peer is known and not wanted any more."""
    NO_CONTROLPLANE = "no-controlplane"
    """The gateway has nobody to ask; try again."""
    REPLACED = "replaced"
    """A newer session of the same cell is there."""
    BUSY = "busy"
    """Too many of this kind; try again."""


@dataclass(frozen=True, slots=True)
class Challenge:
    """The gateway's first message, and each re-login."""

    challenge: bytes
    gateway: str
    versions: tuple[int, ...] = VERSIONS

    def members(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "challenge": encode_bytes(self.challenge),
            "gateway": self.gateway,
            "versions": list(self.versions),
        }


@dataclass(frozen=True, slots=True)
class Login:
    """A peer's answer to a challenge.

    Attributes:
        members: the whole message, for whoever verifies the token.
    """

    role: Role
    token: str
    versions: tuple[int, ...]
    members: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Welcome:
    """The gateway's yes. ``epoch`` orders sessions of one cell; ``version`` is spoken from now on."""

    session: str
    epoch: int
    version: int

    def members(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {"session": self.session, "epoch": self.epoch, "version": self.version}


@dataclass(frozen=True, slots=True)
class Denial:
    """The gateway's no. ``code`` is one of :class:`Code`, or of a later version."""

    code: str
    message: str

    def members(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {"code": str(self.code), "message": self.message[:1000]}


def read_challenge(members: Mapping[str, Any]) -> Challenge:
    """Read a CHALLENGE or RELOGIN.

    Raises:
        Unreachable: it is malformed.
    """
    try:
        challenge = decode_bytes(_text(members, "challenge"))
    except UsageError as error:
        raise frames.broken("a challenge that is not base64url") from error
    if len(challenge) != CHALLENGE_BYTES:
        raise frames.broken(f"a challenge of {len(challenge)} bytes")
    return Challenge(challenge, _text(members, "gateway"), read_versions(members))


def read_login(members: Mapping[str, Any]) -> Login:
    """Read a LOGIN.

    Raises:
        Unreachable: it is malformed.
    """
    try:
        role = Role(_text(members, "role"))
    except ValueError as error:
        raise frames.broken("a login of unknown role") from error
    return Login(role, _text(members, "token"), read_versions(members), members)


def read_welcome(members: Mapping[str, Any]) -> Welcome:
    """Read a LOGIN_OK.

    Raises:
        Unreachable: it is malformed.
    """
    epoch, version = members.get("epoch"), members.get("version")
    if not _is_number(epoch) or not _is_number(version):
        raise frames.broken("LOGIN_OK without epoch or version")
    return Welcome(_text(members, "session"), int(str(epoch)), int(str(version)))


def read_denial(members: Mapping[str, Any]) -> Denial:
    """Read a LOGIN_ERR; what is missing is left empty."""
    return Denial(str(members.get("code", "")), str(members.get("message", ""))[:1000])


def cell_login(*, gateway: str, challenge: bytes, token: str, session: str) -> dict[str, str]:
    """Return the JSON form of ``wire.cell.Login``: what the gateway asks about a cell.

    Written out here because ``wire.cell`` brings its converter along, a tenth of the memory
    of a gateway that uses nothing else of it.
    """
    return {
        "gateway": gateway,
        "challenge": encode_bytes(challenge),
        "token": token,
        "session": session,
    }


def read_logged_in(body: bytes) -> tuple[str, int]:
    """Read the JSON form of ``wire.cell.LoggedIn``; return the cell's id and the epoch.

    Raises:
        Unreachable: the Control Plane answered something else.
    """
    try:
        answer = json.loads(body)
        cell, epoch = answer["cellID"], answer["epoch"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise Unreachable("the control plane's answer to a login cannot be read") from error
    if not isinstance(cell, str) or not cell or not _is_number(epoch):
        raise Unreachable("the control plane's answer to a login names no cell")
    return cell, epoch


def read_versions(members: Mapping[str, Any]) -> tuple[int, ...]:
    """Read the list of versions that a peer speaks.

    Raises:
        Unreachable: there is none, or it is malformed.
    """
    versions = members.get("versions")
    if not isinstance(versions, list) or not 0 < len(versions) <= _MAX_VERSIONS:
        raise frames.broken("a message without protocol versions")
    if not all(_is_number(version) for version in versions):
        raise frames.broken("protocol versions that are no numbers")
    return tuple(versions)


def choose_version(ours: Sequence[int], theirs: Sequence[int]) -> int | None:
    """Return the highest version in common, None where there is none."""
    return max(set(ours) & set(theirs), default=None)


def no_common_version(ours: Sequence[int], theirs: Sequence[int]) -> Denial:
    """Return the denial that names what both ends speak."""
    return Denial(
        Code.VERSION,
        f"no tunnel protocol in common: the gateway speaks {_listed(ours)}, its peer {_listed(theirs)}",
    )


def _listed(versions: Sequence[int]) -> str:
    return ", ".join(map(str, sorted(versions)))


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _text(members: Mapping[str, Any], name: str) -> str:
    value = members.get(name)
    if not isinstance(value, str) or not value:
        raise frames.broken(f"a message without {name}")
    return value
