"""What the cluster's runtime is told: how big, under which names, with which engine.

Read from the object ``kubernetes`` of the cell's ``config.json``; everything has a value without it.
The invariant: the engine's image is named by digest.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self

from byoc.cell import engine as engines
from byoc.cell.engine import BY_DIGEST, ROLE_ARN, SECRET_NAME, EngineKind
from byoc.cell.incluster import GROUP_LABEL, LICENCE, STORAGE_CLASS, WORKSPACE_GROUP, WORKSPACE_PRIORITY
from byoc.dataplane.kubernetes.machines import PATIENCE_SECONDS
from byoc.errors import UsageError

MARIADB: Final = (
    "docker.io/library/mariadb:10.11@sha256:be981e4113326ada8d6004174dd09eeaefc03094037f811182a52d4f2e737350"
)
"""MariaDB's own image, of the release that the tests run."""
MYSQL: Final = EngineKind.MYSQL.value
SINGLESTORE: Final = EngineKind.SINGLESTORE.value
VOLUMES: Final = engines.VOLUMES
DETACH: Final = engines.DETACH


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """How workspaces stand in a cluster.

    Attributes:
        engine: which kind: ``mysql`` or ``singlestore``.
        domain: private zone in which endpoints have names; empty for names within the cluster.
        image: of the engine; of a node, where it has several.
        operator_image: of the engine's operator, where it has one.
        licence: Secret in the agent's namespace whose key ``licence`` holds the engine's licence.
        bucket: where databases without limits are kept, empty for none.
        region: of the bucket.
        role: ARN of the role in AWS that lets each workspace's nodes use their part of the bucket; empty
            where the nodes have their rights in another way.
        suspend: what a suspended workspace keeps: its ``volumes``; ``detach``: databases in the bucket.
        storage_class: of the volumes.
        priority_class: of the pods; empty for the cluster's default.
        node_selector: labels of the machines that workspaces run on.
        memory_bytes: what all running workspaces together may have; None for as much as the cluster gives.
        patience_seconds: how long a machine may be silent before it is given up.
        volume_growth: how many times its size's disk a volume may grow to by itself; 1 for never.
        size_divisor: a workspace gets this part of its size's compute; 1 where sizes mean what they say.
    """

    engine: str = MYSQL
    domain: str = ""
    image: str = MARIADB
    operator_image: str = ""
    licence: str = LICENCE
    bucket: str = ""
    region: str = ""
    role: str = ""
    suspend: str = VOLUMES
    storage_class: str = STORAGE_CLASS
    priority_class: str = WORKSPACE_PRIORITY
    node_selector: Mapping[str, str] = field(default_factory=lambda: {GROUP_LABEL: WORKSPACE_GROUP})
    memory_bytes: int | None = None
    patience_seconds: int = PATIENCE_SECONDS
    volume_growth: int = 4
    size_divisor: int = 1

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read the settings.

        Raises:
            UsageError: a name is unknown, or a value is not of its kind; it is named.
        """
        unknown = sorted(set(value) - set(_FIELDS))
        if unknown:
            raise UsageError(f"kubernetes: `{unknown[0]}` is no setting", hint=", ".join(sorted(_FIELDS)))
        read = cls(**{_FIELDS[name]: given for name, given in value.items()})
        for name, right in (
            ("engine", read.engine in (MYSQL, SINGLESTORE)),
            ("image", _by_digest(read.image)),
            ("operatorImage", not value.get("operatorImage") or _by_digest(read.operator_image)),
            ("licence", isinstance(read.licence, str) and bool(SECRET_NAME.fullmatch(read.licence))),
            ("bucket", isinstance(read.bucket, str) and (not read.bucket or bool(read.region))),
            ("region", isinstance(read.region, str)),
            ("role", read.role == "" or (bool(read.bucket) and bool(ROLE_ARN.fullmatch(str(read.role))))),
            ("suspend", read.suspend in (VOLUMES, DETACH)),
            ("sizeDivisor", _whole(read.size_divisor)),
            ("volumeGrowth", _whole(read.volume_growth)),
            ("memoryBytes", read.memory_bytes is None or _whole(read.memory_bytes)),
            ("patienceSeconds", _whole(read.patience_seconds)),
            ("nodeSelector", isinstance(read.node_selector, Mapping)),
            ("domain", isinstance(read.domain, str)),
        ):
            if not right:
                raise UsageError(f"kubernetes.{name}: cannot be `{str(value[name])[:80]}`", hint=_HINTS[name])
        read._see_images(value)
        read._see_suspension()
        return read

    def _see_images(self, value: Mapping[str, Any]) -> None:
        """See that an engine of which we name no image is told which."""
        if self.engine != SINGLESTORE:
            return
        for name in ("image", "operatorImage"):
            if not value.get(name):
                raise UsageError(f"kubernetes.{name} is missing for `{SINGLESTORE}`", hint=_HINTS[name])

    def _see_suspension(self) -> None:
        """See that databases have somewhere to go that are to be detached."""
        if self.suspend == DETACH and not (self.engine == SINGLESTORE and self.bucket):
            message = (
                f"kubernetes.suspend: `{DETACH}` needs a bucket, and an engine that keeps databases in one"
            )
            hint = f"name `bucket` and `region` for the engine `{SINGLESTORE}`, or leave it at `{VOLUMES}`"
            raise UsageError(message, hint=hint)


def _by_digest(image: Any) -> bool:
    return bool(BY_DIGEST.fullmatch(str(image)))


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


_FIELDS: Final = {
    "engine": "engine",
    "domain": "domain",
    "image": "image",
    "operatorImage": "operator_image",
    "licence": "licence",
    "bucket": "bucket",
    "region": "region",
    "role": "role",
    "suspend": "suspend",
    "storageClass": "storage_class",
    "priorityClass": "priority_class",
    "nodeSelector": "node_selector",
    "memoryBytes": "memory_bytes",
    "patienceSeconds": "patience_seconds",
    "volumeGrowth": "volume_growth",
    "sizeDivisor": "size_divisor",
}
_HINTS: Final = {
    "engine": "`mysql` or `singlestore`",
    "image": "name it by digest: REPOSITORY:TAG@sha256:…",
    "operatorImage": "name it by digest: REPOSITORY:TAG@sha256:…",
    "licence": "the name of a Secret in byoc-system",
    "bucket": "the name of a bucket, and its region beside it",
    "region": "a region's name",
    "role": "the ARN of a role in AWS, and `bucket` beside it",
    "suspend": "`volumes` or `detach`",
    "volumeGrowth": "a whole number from 1",
    "sizeDivisor": "a whole number from 1",
    "memoryBytes": "a whole number of bytes",
    "patienceSeconds": "a whole number of seconds",
    "nodeSelector": "an object of labels",
    "domain": "a domain name, or nothing",
}
