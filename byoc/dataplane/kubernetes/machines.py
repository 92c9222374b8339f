"""Machines that stay away: when the cell says so to Kubernetes, and when it takes that back.

Run by the cluster's runtime. While a machine's kubelet is silent, Kubernetes keeps the pods that were on it
and their volumes, for ever: it cannot know whether they still work. The cell says that a machine is out of
service, by the taint that Kubernetes has for it, once the machine was silent for long and another one of
its zone is ready to take its pods; the pods and their volumes then move at once. A volume works on one
machine at a time whatever anybody says, so an engine that still lived there loses its volume before the
next one gets it.

``decide`` is pure. The invariants: a zone in which no machine is ready is left alone, because its volumes
could go nowhere and it may be only out of reach, and so is one that has only begun to come back; a machine
that speaks again is taken back into service; no taint but our own is ever touched.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from byoc.cell.incluster import AGENT, OUT_OF_SERVICE
from byoc.wire.times import parse_moment

Json = dict[str, Any]

OURS: Final = AGENT
"""The value of the taint where it is ours: who set another one takes it away himself."""
PATIENCE_SECONDS: Final = 300
_ZONE: Final = "topology.kubernetes.io/zone"


@dataclass(frozen=True, slots=True)
class Machine:
    """One machine, as its Node says.

    Attributes:
        silent_since: when its kubelet was found to be silent; None for one that speaks, whatever it says.
        ready_since: since when it takes pods; None for one that takes none.
        given_up: the taint says that it is out of service.
        ours: it is we who said so.
    """

    name: str
    zone: str
    ready_since: datetime | None
    silent_since: datetime | None
    given_up: bool = False
    ours: bool = False

    @classmethod
    def read(cls, node: Json) -> "Machine":
        """Read a Node.

        Raises:
            LookupError, TypeError, AttributeError, UsageError: it is not understood; ``capacity.Node`` makes
                one error of them all.
        """
        spec, metadata = node.get("spec") or {}, node["metadata"]
        conditions = (node.get("status") or {}).get("conditions") or []
        found: Json = next((each for each in conditions if each["type"] == "Ready"), {})
        taints = [each for each in spec.get("taints") or [] if each["key"] == OUT_OF_SERVICE]
        # One that does not say since when, as some stand-ins for kubelets do, counts for nothing.
        since = found.get("lastTransitionTime")
        changed = parse_moment(since, metadata["name"]) if since else None
        ready = found.get("status") == "True" and not spec.get("unschedulable") and not taints
        return cls(
            metadata["name"],
            str((metadata.get("labels") or {}).get(_ZONE, "")),
            changed if ready else None,
            changed if found.get("status") == "Unknown" else None,
            bool(taints),
            any(each.get("value") == OURS for each in taints),
        )


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to be said of a machine.

    Attributes:
        out: it is out of service; else it is back.
    """

    machine: str
    out: bool


def decide(machines: Iterable[Machine], now: datetime, patience: float) -> list[Verdict]:
    """Return what is to be said now."""
    known = list(machines)
    alive = {each.zone for each in known if each.ready_since and _seconds(each.ready_since, now) >= patience}
    verdicts = []
    for each in known:
        if each.silent_since is None:
            if each.ours:
                verdicts.append(Verdict(each.name, out=False))
        elif not each.given_up and each.zone in alive and _seconds(each.silent_since, now) >= patience:
            verdicts.append(Verdict(each.name, out=True))
    return verdicts


def next_look(machines: Iterable[Machine], now: datetime, patience: float) -> float | None:
    """Return the seconds until time alone could change a verdict; None where none is silent."""
    known = list(machines)
    if not any(each.silent_since and not each.given_up for each in known):
        return None
    moments = [moment for each in known for moment in (each.silent_since, each.ready_since) if moment]
    left = [patience - _seconds(moment, now) for moment in moments]
    return min((each for each in left if each > 0), default=None)


def _seconds(since: datetime, now: datetime) -> float:
    return (now - since).total_seconds()


def tainted(node: Json, *, out: bool) -> Json:
    """Return the taints of ``node`` with ours, or without."""
    others = [
        each
        for each in (node.get("spec") or {}).get("taints") or []
        if (each["key"], each.get("value")) != (OUT_OF_SERVICE, OURS)
    ]
    ours = [{"key": OUT_OF_SERVICE, "value": OURS, "effect": "NoExecute"}] if out else []
    # With the version: a taint that somebody else set meanwhile must not be lost.
    version = {"resourceVersion": node["metadata"]["resourceVersion"]}
    return {"metadata": version, "spec": {"taints": [*others, *ours]}}
