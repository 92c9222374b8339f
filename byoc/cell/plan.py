"""A whole cell before it exists: resources, policies, open ports, public addresses and cost.

Made from a recording of the very program that the engine runs, so that what is shown is what will be
made; no credentials, no engine and no network. Read by the command line and by bootstrap.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from byoc.cell.args import CellArgs
from byoc.cell.cost import Cost, estimate
from byoc.cell.foretold import UNKNOWN
from byoc.cell.program import program
from byoc.cell.recorder import Recording, Registered, record

_CLUSTER: Final = "aws:eks/cluster:Cluster"
_ANYWHERE: Final = ("0.0.0.0/0", "::/0")
_NAMES: Final = ("serviceAccount", "principalArn", "policyArn", "functionName", "clusterName")


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy that the cell makes, attaches or sets.

    Attributes:
        on: kind and name of what has it.
        use: ``grants`` (identity), ``trust`` (who may be it), ``resource`` (who may touch it) or ``managed``.
        document: the policy; for one that AWS manages its ARN; text where it is not known yet.
    """

    on: str
    use: str
    document: Any


@dataclass(frozen=True, slots=True)
class OpenPort:
    """A rule that lets something in.

    Attributes:
        group: the security group's name.
        ports: such as ``443`` or ``all``.
        source: a range, or another group.
        public: the whole internet.
    """

    group: str
    protocol: str
    ports: str
    source: str
    why: str
    public: bool


@dataclass(frozen=True, slots=True)
class PublicAddress:
    """Something that the internet could see."""

    what: str
    name: str
    why: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What would be made."""

    args: CellArgs
    recording: Recording
    policies: tuple[Policy, ...]
    open_ports: tuple[OpenPort, ...]
    public_addresses: tuple[PublicAddress, ...]
    cost: Cost

    @property
    def resources(self) -> tuple[Registered, ...]:
        """What is made in AWS; parts of ours are left out."""
        return tuple(each for each in self.recording.resources if each.custom)

    @property
    def counts(self) -> dict[str, int]:
        """Part of the cell to how many resources it has."""
        return dict(sorted(Counter(part(each) for each in self.resources).items()))

    def to_mapping(self, *, assumed: tuple[str, ...] = ()) -> dict[str, Any]:
        """Return the plan as JSON.

        Args:
            assumed: names of settings that nobody gave and no preflight found.
        """
        return {
            "cell": self.args.name,
            "account": self.args.facts.account,
            "region": self.args.facts.region,
            "assumed": list(assumed),
            "counts": self.counts,
            "resources": [_resource(each) for each in self.resources],
            "policies": [{"on": one.on, "use": one.use, "document": one.document} for one in self.policies],
            "openPorts": [
                {
                    "group": one.group,
                    "protocol": one.protocol,
                    "ports": one.ports,
                    "source": one.source,
                    "why": one.why,
                    "public": one.public,
                }
                for one in self.open_ports
            ],
            "publicAddresses": [
                {"what": one.what, "name": one.name, "why": one.why} for one in self.public_addresses
            ],
            "cost": self.cost.to_mapping(),
            "outputs": dict(self.recording.outputs),
        }


def make_plan(args: CellArgs) -> Plan:
    """Return what the program would make of ``args``.

    Raises:
        UsageError: the arguments cannot become a cell.
    """
    recording = record(program(args), args.facts, stack=args.name)
    return Plan(
        args=args,
        recording=recording,
        policies=tuple(_policies(recording)),
        open_ports=tuple(_open_ports(recording)),
        public_addresses=tuple(_public_addresses(recording)),
        cost=estimate(args),
    )


def part(resource: Registered) -> str:
    """Return the part of the cell that ``resource`` belongs to, such as ``network``."""
    return resource.parent.rpartition("::")[2]


def physical_name(resource: Registered) -> str:
    """Return the name of ``resource`` in AWS, or what shows best which one it is."""
    inputs = resource.inputs
    tags = inputs.get("tags")
    tagged = tags.get("Name") if isinstance(tags, Mapping) else None
    return str(inputs.get("name") or inputs.get("bucket") or tagged or _shown(inputs) or resource.name)


def _shown(inputs: Mapping[str, Any]) -> Any:
    return next((inputs[key] for key in _NAMES if inputs.get(key)), None)


def _resource(each: Registered) -> dict[str, Any]:
    said: dict[str, Any] = {
        "type": each.kind,
        "name": each.name,
        "part": part(each),
        "physicalName": physical_name(each),
        "urn": each.urn,
        "protect": each.protect,
        "retain": each.retain,
        "deletedWith": each.within,
        "ignoreChanges": list(each.ignore),
        "dependsOn": list(each.depends_on),
        "inputs": dict(each.inputs),
    }
    return said


def _policies(recording: Recording) -> Iterator[Policy]:
    for kind, use, on, document in _POLICIES:
        for each in recording.of(kind):
            if each.inputs.get(document):
                name = on(each) if callable(on) else on
                yield Policy(name, use, _document(each.inputs[document]))


def _role_of(each: Registered) -> str:
    return f"role {each.inputs.get('role', UNKNOWN)}"


def _named(kind: str) -> Callable[[Registered], str]:
    return lambda each: f"{kind} {physical_name(each)}"


_POLICIES: Final[tuple[tuple[str, str, Callable[[Registered], str], str], ...]] = (
    ("aws:iam/role:Role", "trust", _named("role"), "assumeRolePolicy"),
    ("aws:iam/policy:Policy", "grants", _named("policy"), "policy"),
    ("aws:iam/rolePolicy:RolePolicy", "grants", _role_of, "policy"),
    ("aws:iam/rolePolicyAttachment:RolePolicyAttachment", "managed", _role_of, "policyArn"),
    ("aws:kms/key:Key", "resource", _named("key"), "policy"),
    ("aws:s3/bucketPolicy:BucketPolicy", "resource", _named("bucket"), "policy"),
    ("aws:ec2/vpcEndpoint:VpcEndpoint", "resource", _named("endpoint"), "policy"),
)
"""Type of a resource, what its policy is for, whose it is, and the input that holds it."""


def _document(text: Any) -> Any:
    if not isinstance(text, str):
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def _open_ports(recording: Recording) -> Iterator[OpenPort]:
    groups = {each.urn: str(each.inputs.get("name", each.name)) for each in _groups(recording)}
    groups |= {each.urn: f"{physical_name(each)}'s own" for each in recording.of(_CLUSTER)}

    def group(rule: Registered, key: str) -> str:
        return next((groups.get(urn, urn) for urn in rule.refers.get(key, ())), str(rule.inputs.get(key)))

    for rule in recording.of("aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule"):
        ranges = (rule.inputs.get(key) for key in ("cidrIpv4", "cidrIpv6", "prefixListId"))
        source = next(filter(None, ranges), None) or f"group {group(rule, 'referencedSecurityGroupId')}"
        yield _port(group(rule, "securityGroupId"), rule.inputs, str(source))
    for each in _groups(recording):
        for inline in each.inputs.get("ingress") or []:
            for source in [*inline.get("cidrBlocks", []), *inline.get("securityGroups", [])]:
                yield _port(groups[each.urn], inline, str(source))


def _groups(recording: Recording) -> Iterator[Registered]:
    yield from recording.of("aws:ec2/securityGroup:SecurityGroup")
    yield from recording.of("aws:ec2/defaultSecurityGroup:DefaultSecurityGroup")


def _port(group: str, inputs: Mapping[str, Any], source: str) -> OpenPort:
    low, high = inputs.get("fromPort"), inputs.get("toPort")
    protocol = str(inputs.get("ipProtocol", inputs.get("protocol", UNKNOWN)))
    ports = "all" if low is None or protocol == "-1" else str(low) if low == high else f"{low}-{high}"
    return OpenPort(group, protocol, ports, source, str(inputs.get("description", "")), source in _ANYWHERE)


def _public_addresses(recording: Recording) -> Iterator[PublicAddress]:
    for kind, what, is_public, why in _PUBLIC:
        for each in recording.of(kind):
            if is_public(each.inputs):
                yield PublicAddress(what, physical_name(each), why)


def _has_public_port(inputs: Mapping[str, Any]) -> bool:
    ports = inputs.get("networkInterfaces") or []
    return any(str(port.get("associatePublicIpAddress", "false")).lower() != "false" for port in ports)


_PUBLIC: Final[tuple[tuple[str, str, Callable[[Mapping[str, Any]], bool], str], ...]] = (
    ("aws:ec2/eip:Eip", "address", lambda _: True, "NAT gateway: outgoing connections only"),
    (
        "aws:ec2/subnet:Subnet",
        "subnet",
        lambda inputs: bool(inputs.get("mapPublicIpOnLaunch")),
        "gives its machines public addresses",
    ),
    (
        _CLUSTER,
        "cluster",
        # EKS opens the endpoint unless it is told not to.
        lambda inputs: bool((inputs.get("vpcConfig") or {}).get("endpointPublicAccess", True)),
        "its API has a public endpoint",
    ),
    (
        "aws:lb/loadBalancer:LoadBalancer",
        "load balancer",
        lambda inputs: not inputs.get("internal"),
        "faces the internet",
    ),
    ("aws:ec2/launchTemplate:LaunchTemplate", "machines", _has_public_port, "have public addresses"),
)
"""Type of a resource, what it is called, whether its inputs make it public, and what for."""
