"""What is kept of the cluster's objects: a few fields each, read once when an object changes. Pure.

Made by the cache from objects as the API server tells them. The invariant: nothing here holds on to an
object, so that a thousand workspaces fit in little memory.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Self

from byoc.clock import parse_stamp
from byoc.dataplane.kubernetes import names
from byoc.dataplane.kubernetes.engine_files import OLDER
from byoc.dataplane.kubernetes.intended import Intended, limits_from
from byoc.dataplane.kubernetes.inventory import Inventory
from byoc.dataplane.kubernetes.quantities import cores, quantity
from byoc.dataplane.runtime import Limits
from byoc.ids import WorkspaceID

Json = Mapping[str, Any]

_UNPULLED: Final = frozenset({"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"})
_BACK_OFF: Final = "CrashLoopBackOff"


@dataclass(frozen=True, slots=True)
class Space:
    """A workspace's namespace."""

    version: int
    intended: Intended | None
    deleting: bool
    databases: Inventory | None = None

    @classmethod
    def read(cls, found: Json) -> Self:
        """Read the object."""
        metadata = found["metadata"]
        workspace = names.workspace_of(metadata["name"]) or WorkspaceID("")
        said = metadata.get("annotations") or {}
        intended = Intended.from_text(workspace, said.get(names.INTENDED, ""))
        databases = Inventory.from_text(said.get(names.DATABASES, ""))
        return cls(version(found), intended, _deleting(found), databases)


@dataclass(frozen=True, slots=True)
class Claim:
    """A workspace's claim of its volume.

    Attributes:
        volume: the PersistentVolume's name; empty until it is bound.
        disk_gib: asked for.
        capacity_gib: that it has; less while it is being expanded.
        infeasible: its storage has said that it cannot be expanded.
    """

    name: str
    version: int
    deleting: bool
    bound: bool
    volume: str
    disk_gib: int
    password_version: int
    capacity_gib: int = 0
    infeasible: bool = False
    storage_class: str = ""

    @classmethod
    def read(cls, found: Json) -> Self:
        """Read the object."""
        spec, annotations = found["spec"], found["metadata"].get("annotations") or {}
        status = found.get("status") or {}
        asked = str(spec["resources"]["requests"]["storage"])
        has = (status.get("capacity") or {}).get("storage")
        under_way = (status.get("allocatedResourceStatuses") or {}).values()
        said = str(annotations.get(names.PASSWORD_VERSION, "0"))
        return cls(
            found["metadata"]["name"],
            version(found),
            _deleting(found),
            status.get("phase") == "Bound",
            spec.get("volumeName") or "",
            quantity(asked) // 2**30,
            int(said) if said.isdecimal() else 0,
            quantity(has) // 2**30 if has else 0,
            any(str(each).endswith("Infeasible") for each in under_way),
            spec.get("storageClassName") or "",
        )


@dataclass(frozen=True, slots=True)
class Set:
    """A workspace's StatefulSet."""

    version: int
    deleting: bool
    replicas: int
    current: bool
    """The controller has seen the newest of it."""

    @classmethod
    def read(cls, found: Json) -> Self:
        """Read the object."""
        generation, status = found["metadata"].get("generation", 0), found.get("status") or {}
        replicas = found["spec"].get("replicas", 1)
        return cls(
            version(found), _deleting(found), replicas, status.get("observedGeneration", 0) >= generation
        )


@dataclass(frozen=True, slots=True)
class Ended:
    """How the newest of a pod's tries came to its end."""

    exit_code: int
    words: str = field(repr=False)
    step: str = ""
    """Which step before the engine it was; empty for the engine."""


@dataclass(frozen=True, slots=True)
class Pod:
    """An engine's pod.

    Attributes:
        attempt: which of its runs: rises with each start of a step before the engine, or of the engine.
        running_since: of the engine; None while it does not run.
        ended: the newest run's end; None while it runs, or none began.
        memory: bytes that the container has, as the kubelet says; None while it says nothing.
        resize: why a change of its size waits; empty for nothing.
        unhoused: its machine cannot let anything of it start yet: its volume is not attached there.
        asks: millicores that its container asks for, and bytes of memory that it may take.
        image: of that container.
        upgrading: data of an older series was found, and is not up to date yet.
    """

    name: str
    version: int
    uid: str
    deleting: bool
    node: str
    address: str
    ready: bool
    created: datetime
    attempt: tuple[int, int]
    running_since: datetime | None
    ended: Ended | None
    unschedulable: bool
    unpulled: bool
    limits: Limits | None
    memory: int | None
    resize: str
    asks: tuple[int, int] = (0, 0)
    image: str = ""
    upgrading: bool = False
    unhoused: bool = False

    @property
    def run(self) -> tuple[str, int, int]:
        """What no other run of any pod is called."""
        return (self.uid, *self.attempt)

    @classmethod
    def read(cls, found: Json) -> Self:
        """Read the object."""
        metadata, status = found["metadata"], found.get("status") or {}
        conditions = {each["type"]: each for each in status.get("conditions") or ()}
        steps = {each["name"]: each for each in status.get("initContainerStatuses") or ()}
        engine = (status.get("containerStatuses") or [{}])[0]
        since = (engine.get("state") or {}).get("running") or {}
        scheduled, pending = conditions.get("PodScheduled", {}), conditions.get("PodResizePending", {})
        memory = ((engine.get("resources") or {}).get("limits") or {}).get("memory")
        return cls(
            metadata["name"],
            version(found),
            metadata["uid"],
            _deleting(found),
            found["spec"].get("nodeName") or "",
            status.get("podIP") or "",
            conditions.get("Ready", {}).get("status") == "True",
            parse_stamp(metadata["creationTimestamp"]),
            (sum(each.get("restartCount", 0) for each in steps.values()), engine.get("restartCount", 0)),
            parse_stamp(since["startedAt"]) if since.get("startedAt") else None,
            _ended(status, steps, engine),
            scheduled.get("status") == "False" and scheduled.get("reason") == "Unschedulable",
            any(_waiting(each) in _UNPULLED for each in (*steps.values(), engine)),
            limits_from((metadata.get("annotations") or {}).get(names.LIMITS, "")),
            quantity(memory) if memory else None,
            pending.get("reason", "") if pending.get("status") == "True" else "",
            _asks(found["spec"]["containers"][0]),
            str(found["spec"]["containers"][0].get("image", "")),
            _upgrading(steps),
            conditions.get("PodReadyToStartContainers", {}).get("status") == "False",
        )


@dataclass(frozen=True, slots=True)
class Order:
    """What an operator was told to run.

    Attributes:
        admin: hash of the password of the engine's ``admin``.
        phase: what the operator says it is at; empty before it says anything.
    """

    version: int
    deleting: bool
    admin: str = field(repr=False)
    phase: str

    @classmethod
    def read(cls, found: Json) -> Self:
        """Read the object."""
        spec, status = found.get("spec") or {}, found.get("status") or {}
        admin = str(spec.get("adminHashedPassword", ""))
        return cls(version(found), _deleting(found), admin, str(status.get("phase", "")))


@dataclass(frozen=True, slots=True)
class Volume:
    """A PersistentVolume of a workspace.

    Attributes:
        keeps: it outlives its claim.
        claim: name of the claim that it was made for, or is kept for.
        free: that claim is gone, or never was.
    """

    version: int
    name: str
    keeps: bool
    claim: str = ""
    free: bool = False
    capacity_gib: int = 0

    @classmethod
    def read(cls, found: Json) -> Self:
        """Read the object."""
        spec = found["spec"]
        phase = (found.get("status") or {}).get("phase")
        return cls(
            version(found),
            found["metadata"]["name"],
            spec.get("persistentVolumeReclaimPolicy") != "Delete",
            (spec.get("claimRef") or {}).get("name", ""),
            phase in {"Released", "Available"} and not _deleting(found),
            quantity(str((spec.get("capacity") or {}).get("storage", "0"))) // 2**30,
        )


def version(found: Json) -> int:
    """Return an object's version; a larger one is newer."""
    return int(found["metadata"]["resourceVersion"])


def secret_text(found: Json | None, key: str) -> str:
    """Return one value of a Secret; empty where there is none."""
    value = ((found or {}).get("data") or {}).get(key, "")
    return base64.b64decode(value).decode().strip()


def _asks(container: Json) -> tuple[int, int]:
    resources = container.get("resources") or {}
    asked, most = resources.get("requests") or {}, resources.get("limits") or {}
    return cores(str(asked.get("cpu", "0"))), quantity(str(most.get("memory", "0")))


def _deleting(found: Json) -> bool:
    return "deletionTimestamp" in found["metadata"]


def _waiting(container: Json) -> str:
    waiting = (container.get("state") or {}).get("waiting") or {}
    return str(waiting.get("reason", ""))


def _ended(status: Json, steps: Mapping[str, Json], engine: Json) -> Ended | None:
    for name, each in steps.items():
        if (found := _end(each)) is not None and found.get("exitCode", 0) != 0:
            return Ended(found["exitCode"], str(found.get("message", "")), step=name)
    if (found := _end(engine)) is not None:
        return Ended(found.get("exitCode", 0), str(found.get("message", "")))
    if status.get("phase") in {"Failed", "Succeeded"}:
        return Ended(0, str(status.get("message", "")))
    return None


def _upgrading(steps: Mapping[str, Json]) -> bool:
    said = (_end(steps.get(names.PREPARE, {})) or {}).get("message", "")
    done = _end(steps.get(names.UPGRADE, {}))
    return str(said).strip() == OLDER and (done is None or done.get("exitCode", 0) != 0)


def _end(container: Json) -> Json | None:
    """Return how a container ended that does not run now."""
    state = container.get("state") or {}
    if state.get("terminated"):
        return state["terminated"]  # type: ignore[no-any-return]
    if _waiting(container) == _BACK_OFF:
        return (container.get("lastState") or {}).get("terminated") or {}
    return None
