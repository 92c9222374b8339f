"""What a survey saw, as values; made by ``look``, judged by ``byoc.bootstrap.preflight``. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from byoc.bootstrap.aws import Identity
from byoc.cell.args import GivenVpc


class Permit(StrEnum):
    """Whether AWS would let us: three-valued, because some refusals show only when it is tried."""

    ALLOWED = "allowed"
    DENIED = "denied"
    UNKNOWN = "unknown"


class Bucket(StrEnum):
    """Whose a bucket of a certain name is."""

    FREE = "free"
    OURS = "ours"
    TAKEN = "taken"
    """Somebody else's account has it: names of buckets are worldwide."""
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Quota:
    """How much of something an account may have in the region; ``None`` where AWS would not say."""

    used: int | None
    limit: int | None

    @property
    def free(self) -> int | None:
        """How many more there may be."""
        return None if self.used is None or self.limit is None else self.limit - self.used


@dataclass(frozen=True, slots=True)
class Releases:
    """What EKS offers for one Kubernetes version.

    Attributes:
        versions: minor versions EKS makes clusters of; empty where it would not say.
        ami_release: newest release of the EKS-optimised image; empty where it would not say.
        addons: default version of each add-on.
    """

    versions: tuple[str, ...] = ()
    ami_release: str = ""
    addons: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """Everything a preflight judges.

    Attributes:
        zones: availability zones of the region that are open to the account.
        other_ranges: id of each VPC of the region and its IPv4 ranges.
        quotas: by name, such as ``elastic addresses``.
        linked_roles: service-linked roles that exist, by service.
        buckets: the cell's bucket names and whose they are.
        permits: action to verdict.
        existing: the cell has been bootstrapped before: what it has does not count as taken.
    """

    identity: Identity
    region: str
    zones: tuple[str, ...]
    releases: Releases
    other_ranges: Mapping[str, tuple[str, ...]]
    quotas: Mapping[str, Quota]
    linked_roles: Mapping[str, bool | None]
    buckets: Mapping[str, Bucket]
    permits: Mapping[str, Permit] = field(default_factory=dict)
    vpc: GivenVpc | None = None
    existing: bool = False
