"""What a cell is made from: frozen, typed, refused early with the sentence that says what to change.

Read from a stack's configuration or from ``byoc bootstrap``; handed to the components. Facts about the
account and the region (zones, machine image, add-on versions, a given VPC) are arguments too: they are
found by the preflight and recorded, so that plan, preview and up agree and a plan needs no network.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Network
from typing import Final

from byoc.cell.engine import DETACH, ROLE_ARN, VOLUMES, Engine, EngineKind
from byoc.cell.naming import check_cell_name
from byoc.errors import UsageError

MINIMUM_ZONES: Final = 3
"""A cell spans three availability zones: two agents, a quorum, one zone may fall."""
SMALLEST_SUBNET: Final = 27
"""The longest prefix of a private subnet: at least 30 hosts (the vendor's published prerequisite)."""

PARTITIONS: Final = ("aws", "aws-us-gov")
"""Where service names and endpoints have the form that the cell writes."""

_REGION = re.compile(r"[a-z]{2}(-[a-z]+)+-\d")
_ACCOUNT = re.compile(r"\d{12}")
_KUBERNETES = re.compile(r"1\.\d{2}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_POLICY_ARN = re.compile(r"arn:aws[a-z-]*:iam::(\d{12}):policy/.+")
_PROXY = re.compile(r"https?://[A-Za-z0-9.-]+:\d{1,5}/?")
_KEY_ARN = re.compile(r"arn:aws[a-z-]*:kms:([a-z0-9-]+):(\d{12}):key/.+")
RESERVED_TAGS: Final = ("byoc:", "aws:", "kubernetes.io/", "k8s.io/")
"""Prefixes of tags that a customer's own tags may not use."""


class Nat(StrEnum):
    """How private subnets reach the internet."""

    NONE = "none"
    SINGLE = "single"
    PER_ZONE = "per-zone"


class Delivery(StrEnum):
    """How objects come into a cluster whose API has no public address."""

    IN_VPC = "in-vpc"
    """A function in the private subnets applies the manifests that its own package holds."""
    DIRECT = "direct"
    """pulumi-kubernetes, from where the API can be reached."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the account and the region are like; found by the preflight, assumed by an offline plan.

    Attributes:
        zones: names of the availability zones to use, such as ``eu-west-1a``.
        ami_release: release version of the EKS-optimised image for ``kubernetes``.
        addons: version of each EKS add-on.
        assumed: no preflight has confirmed these.
    """

    account: str
    region: str
    zones: tuple[str, ...]
    kubernetes: str
    ami_release: str
    addons: Mapping[str, str]
    partition: str = "aws"
    assumed: bool = False

    def __post_init__(self) -> None:
        """Refuse what AWS does not have.

        Raises:
            UsageError: a value has not the form AWS gives it, or there are fewer than three zones.
        """
        _match(_ACCOUNT, self.account, "account", "twelve digits")
        _match(_REGION, self.region, "region", "a region's code such as eu-west-1")
        _match(_KUBERNETES, self.kubernetes, "Kubernetes version", "a minor version such as 1.34")
        if self.partition not in PARTITIONS:
            raise UsageError(
                f"partition `{self.partition}` is not supported", hint=f"take one of {', '.join(PARTITIONS)}"
            )
        if len(set(self.zones)) < MINIMUM_ZONES:
            raise UsageError(
                f"a cell needs {MINIMUM_ZONES} availability zones, {self.region} was given "
                f"{len(set(self.zones))}",
                hint="name three zones, or take a region that has them",
            )
        if len(set(self.zones)) != len(self.zones):
            raise UsageError("an availability zone is named twice", hint="name each zone once")
        foreign = [zone for zone in self.zones if not zone.startswith(self.region)]
        if foreign:
            raise UsageError(
                f"zone `{foreign[0]}` is not in region {self.region}", hint="name zones of the cell's region"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class NewVpc:
    """A VPC that the cell makes for itself.

    Attributes:
        cidr: IPv4 range, /16 to /21: three zones with a public and a private subnet each.
    """

    cidr: str = "10.20.0.0/16"
    nat: Nat = Nat.PER_ZONE

    def __post_init__(self) -> None:
        """Refuse a range that AWS or Kubernetes could not work with (checked by ``byoc.cell.subnets``)."""
        from byoc.cell.subnets import check_vpc_range  # noqa: PLC0415 - subnets reads this module's limits

        check_vpc_range(self.cidr)


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenSubnet:
    """A private subnet of the customer's VPC, as the preflight saw it."""

    id: str
    cidr: str
    zone: str
    route_table_id: str
    public_ip_on_launch: bool = False
    has_egress: bool = True
    """Its route table leads out by a NAT gateway, a transit gateway or an appliance."""
    is_public: bool = False
    """Its default route leads to an internet gateway."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenVpc:
    """The customer's own VPC, as the preflight saw it.

    Attributes:
        cidrs: its IPv4 ranges.
        endpoints: services that already have an endpoint in it, such as ``s3`` or ``ecr.api``.
    """

    id: str
    cidrs: tuple[str, ...]
    subnets: tuple[GivenSubnet, ...]
    owner: str
    dns_support: bool = True
    dns_hostnames: bool = True
    endpoints: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse a VPC in which a cell could not live.

        Raises:
            UsageError: too few zones, a subnet too small or open, or DNS switched off.
        """
        if not (self.dns_support and self.dns_hostnames):
            raise UsageError(
                f"VPC {self.id} has DNS support or DNS hostnames switched off",
                hint=f"aws ec2 modify-vpc-attribute --vpc-id {self.id} --enable-dns-hostnames",
            )
        zones = {subnet.zone for subnet in self.subnets}
        if len(zones) < MINIMUM_ZONES:
            raise UsageError(
                f"VPC {self.id} was given with private subnets in {len(zones)} zones, "
                f"a cell needs {MINIMUM_ZONES}",
                hint="name one private subnet in each of three zones",
            )
        if len(zones) < len(self.subnets):
            raise UsageError(
                f"VPC {self.id} was given with two subnets in one zone", hint="name one subnet in each zone"
            )
        ranges = [_network(cidr, f"VPC {self.id}") for cidr in self.cidrs]
        _check_services(self.id, ranges)
        for subnet in self.subnets:
            _check_given(subnet, ranges)


def _network(cidr: str, whose: str) -> IPv4Network:
    try:
        return IPv4Network(cidr)
    except ValueError as error:
        raise UsageError(
            f"{whose} has the range `{cidr}`, which is not IPv4", hint="a cell needs IPv4"
        ) from error


def _check_services(vpc: str, ranges: list[IPv4Network]) -> None:
    from byoc.cell.subnets import SERVICE_RANGES  # noqa: PLC0415 - subnets is read by this module's users

    for services in SERVICE_RANGES:
        if any(services.overlaps(each) for each in ranges):
            raise UsageError(
                f"VPC {vpc} overlaps {services}, which the cluster uses inside",
                hint="give a VPC without that range",
            )


def _check_given(subnet: GivenSubnet, ranges: list[IPv4Network]) -> None:
    network = _network(subnet.cidr, f"subnet {subnet.id}")
    if not any(network.subnet_of(each) for each in ranges):
        raise UsageError(
            f"subnet {subnet.id} ({subnet.cidr}) is not in the VPC's ranges", hint="give subnets of one VPC"
        )
    if network.prefixlen > SMALLEST_SUBNET:
        raise UsageError(
            f"subnet {subnet.id} ({subnet.cidr}) has fewer than 30 addresses for hosts",
            hint=f"give a private subnet of /{SMALLEST_SUBNET} or larger",
        )
    if subnet.public_ip_on_launch:
        raise UsageError(
            f"subnet {subnet.id} gives its machines public addresses",
            hint="give private subnets: nothing of a cell has a public address",
        )
    if subnet.is_public:
        raise UsageError(
            f"subnet {subnet.id} is public: its default route leads to an internet gateway",
            hint="give private subnets, whose way out is a NAT gateway, a transit gateway or an egress proxy",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenRoles:
    """Roles that the customer made; the cell makes none then. Each is a role's ARN.

    What each must be allowed is what ``byoc cell permissions`` prints for the roles the cell would make.

    Attributes:
        engine: trusts the cluster's own identity provider, which is there only after the cluster; without
            it databases are kept on volumes, and no bucket is used.
    """

    cluster: str
    node: str
    agent: str
    storage_driver: str
    network_driver: str
    dns: str
    autoscaler: str
    installer: str
    control: str
    flow_logs: str
    engine: str = ""

    def __post_init__(self) -> None:
        """Refuse what is no ARN of a role.

        Raises:
            UsageError: naming the role.
        """
        for name, arn in self.named().items():
            _match(ROLE_ARN, arn, f"role for {name.replace('_', ' ')}", "the ARN of an IAM role")

    def named(self) -> Mapping[str, str]:
        """Return the roles that there are, each with its ARN."""
        every = {name: str(getattr(self, name)) for name in self.__slots__}
        return {name: arn for name, arn in every.items() if arn or name != "engine"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Nodes:
    """The machines of a cell.

    Attributes:
        system_type: instance type of the system group (agent, autoscaler, CoreDNS, storage driver).
        workspace_types: instance types of the workspace groups; there is one group a type and zone.
        workspace_maximum: most machines of one type in one zone.
        disk_gib: root disk of a machine, in GiB.
    """

    system_type: str = "m6i.large"
    system_count: int = 2
    workspace_types: tuple[str, ...] = ("r6i.xlarge", "r6i.2xlarge")
    workspace_maximum: int = 10
    disk_gib: int = 50

    def __post_init__(self) -> None:
        """Refuse groups that could not hold the cell.

        Raises:
            UsageError: fewer than two system machines, or no workspace machine at all.
        """
        if self.system_count < 2:  # noqa: PLR2004 - the agent is a pair
            raise UsageError("the system group needs 2 machines", hint="the agent runs as a pair, apart")
        if not self.workspace_types or self.workspace_maximum < 1:
            raise UsageError("the cell has no machines for workspaces", hint="name an instance type")


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """A container image, by digest.

    Attributes:
        repository: registry and path, without tag.
    """

    repository: str
    digest: str

    def __post_init__(self) -> None:
        """Refuse a tag.

        Raises:
            UsageError: the digest has not the form ``sha256:`` and 64 hexadecimal digits.
        """
        _match(_DIGEST, self.digest, f"digest of {self.repository}", "sha256: and 64 hexadecimal digits")

    @property
    def reference(self) -> str:
        """What a pod names: ``repository@digest``."""
        return f"{self.repository}@{self.digest}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """Where the Nimbus client dials.

    Attributes:
        url: ``wss://host[:port]/nimbus/v1``.
        ca_pem: certificate authority to trust besides the system's; empty for the system's alone.
        endpoint_service: PrivateLink service of the gateway, for a cell without internet.
    """

    url: str
    ca_pem: str = ""
    endpoint_service: str = ""

    def __post_init__(self) -> None:
        """Refuse an address that is not TLS.

        Raises:
            UsageError: the URL does not start with ``wss://``.
        """
        if not re.fullmatch(r"wss://[A-Za-z0-9.-]+(:\d{1,5})?(/\S*)?", self.url):
            raise UsageError(
                f"gateway `{self.url}` is no wss:// address", hint="wss://gateway.example/nimbus/v1"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class CellArgs:
    """Everything the cell's program needs; the same in plan, preview and up.

    Attributes:
        key_arn: the customer's own KMS key; empty where the cell makes one.
        boundary_arn: permissions boundary of every role; empty where the cell makes one.
        egress_proxy: ``http://host:port`` for everything that leaves the cell; empty for none.
        log_days: how long flow logs and cluster logs are kept.
        ledger_days: how long Object Lock keeps the ledger's copies.
        policy: the customer's policy file (TOML); empty for the default.
        image_registry: host, and path if any, of a registry that mirrors the images whose repository
            nobody named; empty where they are pulled from their makers' registries.
        administrators: ARNs of the customer's own roles that administer the cluster with ``kubectl``:
            whoever creates a cluster is no administrator of it here.
    """

    name: str
    facts: Facts
    gateway: Gateway
    agent: Image
    network: NewVpc | GivenVpc = field(default_factory=NewVpc)
    nodes: Nodes = field(default_factory=Nodes)
    engine: Engine = field(default_factory=Engine)
    roles: GivenRoles | None = None
    key_arn: str = ""
    boundary_arn: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    egress_proxy: str = ""
    delivery: Delivery = Delivery.IN_VPC
    log_days: int = 365
    ledger_days: int = 365
    policy: str = ""
    image_registry: str = ""
    administrators: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what contradicts itself or AWS.

        Raises:
            UsageError: with the sentence that says what to change.
        """
        check_cell_name(self.name)
        _check_arns(self)
        _check_tags(self.tags)
        _check_reach(self)
        _check_suspension(self)
        if self.delivery is Delivery.DIRECT and not self.administrators:
            raise UsageError(
                "nobody could apply the cell's objects to its cluster",
                hint="name your own role among the administrators, or let them be delivered in the VPC",
            )
        if self.log_days not in RETENTIONS:
            raise UsageError(
                f"CloudWatch Logs cannot keep logs for {self.log_days} days",
                hint=f"choose one of {', '.join(map(str, RETENTIONS))}",
            )

    @property
    def unlimited(self) -> bool:
        """Whether engines keep databases in the cell's bucket."""
        mine = self.roles is None or bool(self.roles.engine)
        return self.engine.kind is EngineKind.SINGLESTORE and mine


RETENTIONS: Final = (
    1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653,
)  # fmt: skip
"""Days CloudWatch Logs accepts (its API reference, PutRetentionPolicy)."""


def _check_arns(args: CellArgs) -> None:
    account = args.facts.account
    if args.boundary_arn:
        _same_account(
            _POLICY_ARN, args.boundary_arn, account, "permissions boundary", "the ARN of an IAM policy"
        )
    if args.key_arn:
        found = _match(_KEY_ARN, args.key_arn, "key", "the ARN of a KMS key")
        if (found[1], found[2]) != (args.facts.region, account):
            raise UsageError(
                f"key {args.key_arn} is not in account {account}, region {args.facts.region}",
                hint="give a key of the cell's own account and region",
            )
    if args.roles:
        for name, arn in args.roles.named().items():
            _same_account(ROLE_ARN, arn, account, f"role for {name}", "the ARN of a role")
    for arn in args.administrators:
        _same_account(ROLE_ARN, arn, account, "administrators' role", "the ARN of a role")
    if isinstance(args.network, GivenVpc):
        _check_home(args.network, args.facts)


def _check_home(vpc: GivenVpc, facts: Facts) -> None:
    if vpc.owner != facts.account:
        raise UsageError(
            f"VPC {vpc.id} belongs to account {vpc.owner}, the cell is made in {facts.account}",
            hint="give a VPC of the same account",
        )
    for subnet in vpc.subnets:
        if not subnet.zone.startswith(facts.region):
            raise UsageError(
                f"subnet {subnet.id} is in zone `{subnet.zone}`, the cell is made in {facts.region}",
                hint="give subnets of the cell's region",
            )


def check_egress_proxy(address: str) -> None:
    """Refuse what is no proxy's address, or has a password in it: it is written where many may read it.

    Raises:
        UsageError: without the address, for the same reason.
    """
    if address and _PROXY.fullmatch(address) is None:
        raise UsageError(
            "the egress proxy is not an address such as http://10.0.0.9:3128",
            hint="give host and port, and no user or password: let the proxy know the cell by its addresses",
        )


def _check_reach(args: CellArgs) -> None:
    check_egress_proxy(args.egress_proxy)
    if args.egress_proxy or args.gateway.endpoint_service:
        return
    if isinstance(args.network, NewVpc):
        if args.network.nat is Nat.NONE:
            raise UsageError(
                "without NAT the cell cannot reach its gateway",
                hint="give an egress proxy or the gateway's endpoint service, or NAT `single` or `per-zone`",
            )
        return
    closed = [subnet.id for subnet in args.network.subnets if not subnet.has_egress]
    if closed:
        raise UsageError(
            f"subnet {closed[0]} has no route out, the cell cannot reach its gateway",
            hint="route it to a NAT gateway, or give an egress proxy or the gateway's endpoint service",
        )


def _check_suspension(args: CellArgs) -> None:
    if args.engine.suspend == DETACH and not args.unlimited:
        raise UsageError(
            "databases cannot be detached to the cell's bucket: `engine` is none of the given roles",
            hint=f"leave suspend at {VOLUMES} until the cluster is there; then make the role that trusts it,"
            " and name it (docs/aws-cell.md)",
        )


def _check_tags(tags: Mapping[str, str]) -> None:
    for name in tags:
        if name.lower().startswith(RESERVED_TAGS):
            raise UsageError(
                f"tag `{name}` is reserved", hint=f"tags may not start with {', '.join(RESERVED_TAGS)}"
            )


def _same_account(form: re.Pattern[str], arn: str, account: str, what: str, wanted: str) -> None:
    if _match(form, arn, what, wanted)[1] != account:
        raise UsageError(
            f"{what} {arn} is not in account {account}", hint="give one of the cell's own account"
        )


def _match(form: re.Pattern[str], value: str, what: str, wanted: str) -> re.Match[str]:
    found = form.fullmatch(value)
    if found is None:
        raise UsageError(f"{what} `{value}` is not {wanted}", hint=f"give {wanted}")
    return found
