"""Services that the customer's policy names, so that somebody outside may open one: pure.

Used by the policy. The invariant: what stands there is one host and one port, and the host is a name or an
address as it would be written by hand, never something that two readers could read differently.
"""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from byoc.errors import UsageError

NAME: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
TO: Final = r"(\[[0-9a-fA-F:.]{2,45}\]|[A-Za-z0-9_.-]{1,253}):([1-9]\d{0,4})"
LONGEST_LIFE: Final = timedelta(hours=24)
USUAL_LIFE: Final = timedelta(hours=1)
_NAME: Final = re.compile(rf"{NAME}\Z")
_TO: Final = re.compile(rf"{TO}\Z")
_LABEL: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\Z")
_HIGHEST_PORT: Final = 65535


@dataclass(frozen=True, slots=True)
class Named:
    """Where a named service is, seen from the cell.

    Attributes:
        host: a name, looked up anew at each connection, or an address.
        max_life: how long one forward to it may last.
    """

    host: str
    port: int
    max_life: timedelta = USUAL_LIFE

    def spell(self) -> str:
        """Return where it is, as it stands in a policy."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def check_name(name: str) -> str:
    """Return ``name`` if a service can be called so.

    Raises:
        UsageError: it cannot.
    """
    if not _NAME.match(name):
        raise UsageError(f"`{name[:64]}` is no name of a service: lower case, digits and hyphens")
    return name


def parse_named(value: Mapping[str, Any], max_life: timedelta | None) -> Named:
    """Make a service of what stands in a policy.

    Raises:
        UsageError: where it is cannot be understood, or it may last too long.
    """
    to = value.get("to")
    match = _TO.match(to) if isinstance(to, str) else None
    if match is None or int(match[2]) > _HIGHEST_PORT:
        raise UsageError('`to` is not a host and a port such as "grafana.monitoring.svc:3000"')
    life = USUAL_LIFE if max_life is None else max_life
    if not timedelta() < life <= LONGEST_LIFE:
        raise UsageError("`max_life` is more than nothing and 24h at most")
    return Named(_host(match[1]), int(match[2]), life)


def _host(text: str) -> str:
    if text.startswith("["):
        try:
            return ipaddress.IPv6Address(text[1:-1]).compressed
        except ValueError as error:
            raise UsageError(f"`{text}` is no IPv6 address") from error
    if text.rpartition(".")[2].isdigit() or text.lower().startswith("0x"):
        try:
            return str(ipaddress.IPv4Address(text))
        except ValueError as error:
            raise UsageError(f"`{text}` is neither a name nor an IPv4 address") from error
    if not all(_LABEL.match(label) for label in text.removesuffix(".").split(".")):
        raise UsageError(f"`{text}` is no name of a host")
    return text.lower()
