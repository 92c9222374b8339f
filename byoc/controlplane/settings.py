"""Every setting of the Control Plane, in one frozen value.

Made by the process's entry point from ``BYOC_*`` variables and flags; a flag beats a
variable. ``SETTINGS`` is the table that the docs print and a test compares with this class.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Final

from byoc.errors import UsageError

_LEVELS: Final = ("debug", "info", "warning", "error")


@dataclass(frozen=True, slots=True)
class ControlPlaneSettings:
    """How the Control Plane runs. Each field ``x_y`` is the variable ``BYOC_X_Y``."""

    data: Path = Path("byoc-data")
    host: str = "127.0.0.1"
    port: int = 8080
    gateways: tuple[str, ...] = ()
    gateway_ca: Path | None = None
    log_level: str = "info"
    keep_alive: float = 10.0
    drain: float = 5.0
    dispatch_interval: float = 5.0
    reconnect_cap: float = 60.0
    history_days: float = 30.0
    audit_days: float = 400.0
    calls_per_second: float = 200.0
    refusals_per_second: float = 2.0


_DESCRIPTIONS: Final = {
    "data": "folder of the instance; the control plane uses `controlplane/` in it",
    "host": "address that the Management API listens on",
    "port": "port of the Management API; 0 picks a free one",
    "gateways": "gateways to dial, separated by commas, such as wss://127.0.0.1:8443/nimbus/v1",
    "gateway_ca": "file with the certificate authority of the gateways; empty: the system's",
    "log_level": "debug, info, warning or error",
    "keep_alive": "seconds between blank lines on a quiet event stream",
    "drain": "seconds that open requests get to end at a stop",
    "dispatch_interval": "seconds between looks for undelivered intent that nothing announced",
    "reconnect_cap": "longest wait in seconds before a gateway that is out of reach is dialled again",
    "calls_per_second": "of one API key in the long run, five seconds' worth at once; more are answered 429",
    "refusals_per_second": "invalid keys from one address that are answered 401; more are answered 429",
    "audit_days": "days that the audit keeps who did what through the Management API",
    "history_days": "days that events and changes are kept at least; the newest of what lives stay longer",
}


@dataclass(frozen=True, slots=True)
class Setting:
    """One row of the table of settings."""

    name: str
    default: str
    description: str


def _shown(value: object) -> str:
    if value is None or value == ():
        return ""
    return str(value)


SETTINGS: Final = tuple(
    Setting(f"BYOC_{f.name.upper()}", _shown(f.default), _DESCRIPTIONS[f.name])
    for f in fields(ControlPlaneSettings)
)


def from_environment(
    environment: Mapping[str, str], *, base: ControlPlaneSettings | None = None
) -> ControlPlaneSettings:
    """Read the settings that ``environment`` names; the rest stays as in ``base``.

    Raises:
        UsageError: a value cannot be read; the message names its variable.
    """
    changes: dict[str, Any] = {}
    for name, read in _READERS.items():
        variable = f"BYOC_{name.upper()}"
        text = environment.get(variable, "")
        if text:
            try:
                changes[name] = read(text)
            except ValueError as error:
                raise UsageError(f"{variable}: cannot read `{text}`") from error
    return replace(base or ControlPlaneSettings(), **changes)


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65535:  # noqa: PLR2004 - the range of ports
        raise ValueError(text)
    return port


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < 86_400:  # noqa: PLR2004 - a day
        raise ValueError(text)
    return seconds


def _days(text: str) -> float:
    days = float(text)
    if not 1 <= days <= 36_500:  # noqa: PLR2004 - a century
        raise ValueError(text)
    return days


def _rate(text: str) -> float:
    rate = float(text)
    if not 0 < rate < 1e6:  # noqa: PLR2004 - beyond what any machine answers
        raise ValueError(text)
    return rate


def _level(text: str) -> str:
    if text.lower() not in _LEVELS:
        raise ValueError(text)
    return text.lower()


def _urls(text: str) -> tuple[str, ...]:
    urls = tuple(part.strip() for part in text.split(",") if part.strip())
    if not all(url.startswith("wss://") for url in urls):
        raise ValueError(text)
    return urls


_READERS: Final[dict[str, Callable[[str], Any]]] = {
    "data": Path,
    "host": str,
    "port": _port,
    "gateways": _urls,
    "gateway_ca": Path,
    "log_level": _level,
    "keep_alive": _seconds,
    "drain": _seconds,
    "dispatch_interval": _seconds,
    "reconnect_cap": _seconds,
    "history_days": _days,
    "audit_days": _days,
    "calls_per_second": _rate,
    "refusals_per_second": _rate,
}
