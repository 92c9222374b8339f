"""What the agent is told: its folder, its gateway, and what to do with engines when it stops.

Read once at the start from ``cell/config.json`` of the data folder, which ``byoc up`` or
bootstrap writes; in Kubernetes it is mounted there, and names the other mounts. The invariant:
nothing secret stands here.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Self

from byoc.errors import PreconditionFailed
from byoc.nimbus.backoff import CAP

CONFIG: Final = "config.json"


class RuntimeName(StrEnum):
    """What runs the workspaces of a cell."""

    LOCAL = "local"
    """Processes beside the agent."""
    KUBERNETES = "kubernetes"
    """Pods of the cluster that the agent runs in."""


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """The settings of one agent.

    Attributes:
        data: the data folder; the cell lives in ``cell`` below it.
        gateway: ``wss://host:port/...`` of the gateway.
        ca: PEM file to trust instead of the system's authorities.
        stop_engines: end the engines cleanly when the agent is told to stop; they run again, on the
            same ports, when it is started.
        reconnect_cap: longest wait in seconds before a gateway that is out of reach is dialled again.
        enrolment: where the enrolment is handed over, if not in the cell's folder.
        policy: the customer's policy, if not in the cell's folder.
        control: where the customer's other papers are, if not there.
        runtime: what runs the workspaces.
        kubernetes: settings of that runtime, which reads them itself.
        ledger_bucket: where copies of the ledger go, by a process of its own; "" where none do.
    """

    data: Path
    gateway: str
    ca: Path | None = None
    stop_engines: bool = True
    reconnect_cap: float = CAP
    enrolment: Path | None = None
    policy: Path | None = None
    control: Path | None = None
    runtime: RuntimeName = RuntimeName.LOCAL
    kubernetes: Mapping[str, Any] = field(default_factory=dict)
    ledger_bucket: str = ""

    @property
    def cell(self) -> Path:
        """The cell's folder."""
        return self.data / "cell"

    @classmethod
    def load(cls, data: Path, *, stop_engines: bool = True) -> Self:
        """Read the settings of the cell in ``data``.

        Raises:
            PreconditionFailed: there is no such file, or it names no gateway.
        """
        path = data / "cell" / CONFIG
        try:
            value: Any = json.loads(path.read_bytes())
            gateway, ca = value["gateway"], _path(value, "ca")
            cap = float(value.get("reconnectCap", CAP))
            enrolment, policy = _path(value, "enrolment"), _path(value, "policy")
            control = _path(value, "control")
            kubernetes = dict(value.get("kubernetes") or {})
            bucket = str(value.get("ledgerBucket", ""))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            message = f"{path} does not say which gateway to dial"
            raise PreconditionFailed(message, hint="`byoc up` writes it for a local cell") from error
        if not isinstance(gateway, str) or not gateway.startswith("wss://"):
            raise PreconditionFailed(f"{path}: `gateway` is not a wss:// address")
        runtime = _runtime(value.get("runtime", RuntimeName.LOCAL), path)
        return cls(
            data.absolute(),
            gateway,
            ca,
            stop_engines,
            cap,
            enrolment,
            policy,
            control,
            runtime,
            kubernetes,
            bucket,
        )


def _runtime(text: Any, path: Path) -> RuntimeName:
    try:
        return RuntimeName(text)
    except ValueError as error:
        known = ", ".join(RuntimeName)
        raise PreconditionFailed(f"{path}: `runtime` is none of {known}") from error


def _path(value: Any, name: str) -> Path | None:
    text = value.get(name)
    return Path(text) if text else None
