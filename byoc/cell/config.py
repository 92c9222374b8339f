"""A cell's arguments as plain data: what a stack's configuration, a config file and a record hold. Pure.

One table of settings serves all three, and ``Pulumi.yaml`` repeats it for Pulumi; a test keeps them
equal. ``from_mapping(to_mapping(args))`` is ``args``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

from byoc.cell.args import (
    CellArgs,
    Delivery,
    Facts,
    Gateway,
    GivenRoles,
    GivenSubnet,
    GivenVpc,
    Image,
    Nat,
    NewVpc,
    Nodes,
)
from byoc.cell.engine import Engine, EngineKind
from byoc.cell.images import released_agent
from byoc.errors import UsageError


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting.

    Attributes:
        kind: ``string``, ``integer``, ``array`` (of strings) or ``object``, as Pulumi calls them.
        default: what holds where it is not set; None where it must be set.
        help: what it is, one line.
    """

    kind: str
    default: Any
    help: str


_NODES: Final = Nodes()
_VPC: Final = NewVpc()
_ENGINE: Final = Engine()

SETTINGS: Final[Mapping[str, Setting]] = {
    "name": Setting("string", None, "Name of the cell: 2 to 24 lower-case letters, digits and hyphens."),
    "account": Setting("string", None, "The AWS account, twelve digits."),
    "region": Setting("string", None, "The region, such as eu-west-1; the same as aws:region."),
    "partition": Setting("string", "aws", "aws or aws-us-gov."),
    "zones": Setting("array", None, "Three availability zones or more."),
    "kubernetes": Setting("string", None, "Minor version of Kubernetes, such as 1.34."),
    "amiRelease": Setting("string", None, "Release of the EKS-optimised image for that version."),
    "addons": Setting("object", None, "Version of each EKS add-on."),
    "gatewayUrl": Setting("string", None, "Where the Nimbus client dials: wss://host/nimbus/v1."),
    "gatewayCa": Setting("string", "", "Certificate authority of the gateway (PEM); empty for the system's."),
    "gatewayEndpointService": Setting("string", "", "PrivateLink service of the gateway."),
    "agentRepository": Setting("string", "", "Image of the Nimbus client; empty for this release's."),
    "agentDigest": Setting("string", "", "Its digest; empty for this release's."),
    "imageRegistry": Setting("string", "", "Registry that mirrors the images, by their paths."),
    "engine": Setting("string", _ENGINE.kind.value, "What workspaces run: mysql or singlestore."),
    "engineImage": Setting("string", "", "Its image, by digest; empty for MariaDB of this release."),
    "operatorImage": Setting("string", "", "Image of its operator, by digest, for singlestore."),
    "licenceSecret": Setting(
        "string", _ENGINE.licence, "Secret in byoc-system in which you keep the engine's licence."
    ),
    "suspend": Setting(
        "string", _ENGINE.suspend, "What suspended workspaces keep: volumes, or detach for the bucket alone."
    ),
    "cidr": Setting("string", _VPC.cidr, "Range of the VPC, /16 to /21."),
    "nat": Setting("string", _VPC.nat.value, "none, single or per-zone."),
    "vpc": Setting("object", {}, "An existing VPC as the preflight saw it; empty to make one."),
    "systemType": Setting("string", _NODES.system_type, "Instance type of the system group."),
    "systemCount": Setting("integer", _NODES.system_count, "Machines in it."),
    "workspaceTypes": Setting("array", list(_NODES.workspace_types), "Instance types for workspaces."),
    "workspaceMaximum": Setting("integer", _NODES.workspace_maximum, "Most machines of a type in a zone."),
    "diskGib": Setting("integer", _NODES.disk_gib, "Root disk of a machine, in GiB."),
    "roles": Setting("object", {}, "ARNs of roles that you made; empty to make them."),
    "keyArn": Setting("string", "", "Your own KMS key; empty to make one."),
    "boundaryArn": Setting("string", "", "Your own permissions boundary; empty to make one."),
    "administrators": Setting("array", [], "ARNs of your roles that may do everything in the cluster."),
    "tags": Setting("object", {}, "More tags for everything."),
    "egressProxy": Setting("string", "", "Proxy for everything that leaves the cell: http://host:port."),
    "delivery": Setting("string", Delivery.IN_VPC.value, "in-vpc; or direct, if the cluster can be reached."),
    "logDays": Setting("integer", 365, "How long logs are kept, in days."),
    "ledgerDays": Setting("integer", 365, "How long the ledger's copies are locked, in days."),
    "policy": Setting("string", "", "Your policy (TOML); empty for the default."),
}  # fmt: skip

_KINDS: Final[Mapping[str, type[Any]]] = {"string": str, "integer": int, "array": list, "object": dict}
_SUBNET: Final[Mapping[str, tuple[str, type, Any]]] = {
    "id": ("id", str, None),
    "cidr": ("cidr", str, None),
    "zone": ("zone", str, None),
    "routeTableID": ("route_table_id", str, None),
    "publicAddressOnLaunch": ("public_ip_on_launch", bool, False),
    "hasEgress": ("has_egress", bool, True),
    "isPublic": ("is_public", bool, False),
}
_GIVEN: Final[Mapping[str, tuple[str, type, Any]]] = {
    "id": ("id", str, None),
    "cidrs": ("cidrs", list, None),
    "owner": ("owner", str, None),
    "dnsSupport": ("dns_support", bool, True),
    "dnsHostnames": ("dns_hostnames", bool, True),
    "endpoints": ("endpoints", list, ()),
}
"""Name in data, to the attribute, its kind, and what holds where it is not said (None: it must be)."""


def from_mapping(settings: Mapping[str, Any], *, assumed: bool = False) -> CellArgs:
    """Return the arguments that ``settings`` say; what is not set has its default.

    Args:
        settings: by the names of ``SETTINGS``.
        assumed: the facts among them were not seen by a preflight.

    Raises:
        UsageError: a setting is unknown, missing or of the wrong kind, or contradicts another.
    """
    said = _checked(settings)
    return CellArgs(
        name=said["name"],
        facts=_facts(said, assumed=assumed),
        gateway=Gateway(
            url=said["gatewayUrl"], ca_pem=said["gatewayCa"], endpoint_service=said["gatewayEndpointService"]
        ),
        agent=_agent(said),
        network=_network(said),
        nodes=Nodes(
            system_type=said["systemType"],
            system_count=said["systemCount"],
            workspace_types=tuple(said["workspaceTypes"]),
            workspace_maximum=said["workspaceMaximum"],
            disk_gib=said["diskGib"],
        ),
        engine=_engine(said),
        roles=_roles(said["roles"]),
        key_arn=said["keyArn"],
        boundary_arn=said["boundaryArn"],
        administrators=tuple(said["administrators"]),
        tags=said["tags"],
        egress_proxy=said["egressProxy"],
        delivery=_choice(Delivery, said["delivery"], "delivery"),
        log_days=said["logDays"],
        ledger_days=said["ledgerDays"],
        policy=said["policy"],
        image_registry=said["imageRegistry"],
    )


def to_mapping(args: CellArgs) -> dict[str, Any]:
    """Return every setting of ``args``; what is at its default is left out.

    So is this release's own image of the client: with a newer byoc the same settings mean the newer one.
    """
    facts, nodes, network = args.facts, args.nodes, args.network
    own_image = args.agent != released_agent(args.image_registry)
    own = network if isinstance(network, NewVpc) else _VPC
    everything: dict[str, Any] = {
        "name": args.name,
        "account": facts.account,
        "region": facts.region,
        "partition": facts.partition,
        "zones": list(facts.zones),
        "kubernetes": facts.kubernetes,
        "amiRelease": facts.ami_release,
        "addons": dict(facts.addons),
        "gatewayUrl": args.gateway.url,
        "gatewayCa": args.gateway.ca_pem,
        "gatewayEndpointService": args.gateway.endpoint_service,
        "agentRepository": args.agent.repository if own_image else "",
        "agentDigest": args.agent.digest if own_image else "",
        "imageRegistry": args.image_registry,
        **_engine_mapping(args.engine),
        "cidr": own.cidr,
        "nat": own.nat.value,
        "vpc": vpc_to_mapping(network) if isinstance(network, GivenVpc) else {},
        "systemType": nodes.system_type,
        "systemCount": nodes.system_count,
        "workspaceTypes": list(nodes.workspace_types),
        "workspaceMaximum": nodes.workspace_maximum,
        "diskGib": nodes.disk_gib,
        "roles": _roles_mapping(args.roles),
        "keyArn": args.key_arn,
        "boundaryArn": args.boundary_arn,
        "administrators": list(args.administrators),
        "tags": dict(args.tags),
        "egressProxy": args.egress_proxy,
        "delivery": args.delivery.value,
        "logDays": args.log_days,
        "ledgerDays": args.ledger_days,
        "policy": args.policy,
    }
    return {name: value for name, value in everything.items() if value != SETTINGS[name].default}


def vpc_from_mapping(said: Mapping[str, Any]) -> GivenVpc:
    """Return the existing VPC that ``said`` describes.

    Raises:
        UsageError: something is missing or unknown, or a cell could not live in it.
    """
    subnets = said.get("subnets")
    if not isinstance(subnets, list):
        raise UsageError(
            "vpc: `subnets` is not a list", hint="name one private subnet in each of three zones"
        )
    rest = {name: value for name, value in said.items() if name != "subnets"}
    found: dict[str, Any] = {name: _tupled(value) for name, value in _read(rest, _GIVEN, "vpc").items()}
    return GivenVpc(
        **found,
        subnets=tuple(
            GivenSubnet(**_read(each, _SUBNET, f"vpc.subnets[{number}]"))
            for number, each in enumerate(subnets)
        ),
    )


def vpc_to_mapping(vpc: GivenVpc) -> dict[str, Any]:
    """Return an existing VPC as ``vpc_from_mapping`` reads it."""
    return {
        **{name: _listed(getattr(vpc, attribute)) for name, (attribute, _, _) in _GIVEN.items()},
        "subnets": [
            {name: getattr(each, attribute) for name, (attribute, _, _) in _SUBNET.items()}
            for each in vpc.subnets
        ],
    }


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _tupled(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _read(said: Any, table: Mapping[str, tuple[str, type, Any]], where: str) -> dict[str, Any]:
    if not isinstance(said, Mapping):
        raise UsageError(f"{where} is not an object", hint=f"it has {', '.join(table)}")
    _known(said, table, where)
    found: dict[str, Any] = {}
    for name, (attribute, kind, default) in table.items():
        value = said.get(name, default)
        if not isinstance(value, (kind, tuple) if kind is list else kind):
            raise UsageError(
                f"{where}: `{name}` is missing or not a {kind.__name__}", hint=f"it has {', '.join(table)}"
            )
        found[attribute] = value
    return found


def _known(said: Mapping[str, Any], table: Mapping[str, Any], where: str) -> None:
    for name in said:
        if name not in table:
            raise UsageError(
                f"{where}: `{name}` is no setting of a cell", hint=f"there are {', '.join(table)}"
            )


def _checked(settings: Mapping[str, Any]) -> dict[str, Any]:
    _known(settings, SETTINGS, "configuration")
    found: dict[str, Any] = {}
    for name, setting in SETTINGS.items():
        value: Any = settings.get(name, setting.default)
        if value is None:
            raise UsageError(f"`{name}` is not set", hint=setting.help)
        if not isinstance(value, _KINDS[setting.kind]) or isinstance(value, bool):
            raise UsageError(f"`{name}` is not of kind {setting.kind}", hint=setting.help)
        if setting.kind == "array" and not all(isinstance(each, str) for each in value):
            raise UsageError(f"`{name}` is not a list of strings", hint=setting.help)
        found[name] = value
    for name in ("addons", "tags", "roles"):
        if not all(isinstance(each, str) for each in found[name].values()):
            raise UsageError(f"`{name}` holds something else than strings", hint=SETTINGS[name].help)
    return found


def _facts(said: Mapping[str, Any], *, assumed: bool) -> Facts:
    return Facts(
        account=said["account"],
        region=said["region"],
        zones=tuple(said["zones"]),
        kubernetes=said["kubernetes"],
        ami_release=said["amiRelease"],
        addons=said["addons"],
        partition=said["partition"],
        assumed=assumed,
    )


def _agent(said: Mapping[str, Any]) -> Image:
    if said["agentRepository"] or said["agentDigest"]:
        return Image(repository=said["agentRepository"], digest=said["agentDigest"])
    released = released_agent(said["imageRegistry"])
    if released is None:
        raise UsageError(
            "this byoc is unreleased and has no image of the Nimbus client",
            hint="in a clone `images/push agent REGISTRY/byoc-agent` builds it, pushes it and prints what"
            " --agent-image takes; in a stack that is agentRepository@agentDigest",
        )
    return released


def _engine(said: Mapping[str, Any]) -> Engine:
    return Engine(
        kind=_choice(EngineKind, said["engine"], "engine"),
        image=said["engineImage"],
        operator_image=said["operatorImage"],
        licence=said["licenceSecret"],
        suspend=said["suspend"],
    )


def _engine_mapping(engine: Engine) -> dict[str, str]:
    return {
        "engine": engine.kind.value,
        "engineImage": engine.image,
        "operatorImage": engine.operator_image,
        "licenceSecret": engine.licence,
        "suspend": engine.suspend,
    }


def _network(said: Mapping[str, Any]) -> NewVpc | GivenVpc:
    if said["vpc"]:
        return vpc_from_mapping(said["vpc"])
    return NewVpc(cidr=said["cidr"], nat=_choice(Nat, said["nat"], "nat"))


def _roles(said: Mapping[str, str]) -> GivenRoles | None:
    if not said:
        return None
    names = {_camel(each.name): each.name for each in fields(GivenRoles)}
    _known(said, names, "roles")
    missing = [name for name in names if name not in said and name != "engine"]
    if missing:
        raise UsageError(f"roles: `{missing[0]}` is missing", hint="give every role, or none")
    return GivenRoles(**{names[name]: arn for name, arn in said.items()})


def _roles_mapping(roles: GivenRoles | None) -> dict[str, str]:
    return {_camel(name): arn for name, arn in roles.named().items()} if roles else {}


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(word.capitalize() for word in rest)


def _choice(kind: Any, value: str, what: str) -> Any:
    try:
        return kind(value)
    except ValueError as error:
        choices = ", ".join(each.value for each in kind)
        raise UsageError(f"{what} `{value}` is none of {choices}", hint=f"choose one of {choices}") from error
