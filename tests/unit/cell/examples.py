"""Example cells that more than one test takes, and strategies that make others."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from byoc.cell.args import (
    CellArgs,
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
from byoc.cell.arns import ROLES
from byoc.cell.assume import table
from byoc.cell.engine import DETACH, Engine, EngineKind

ACCOUNT = "123456789012"
REGION = "eu-west-1"
ZONES = ("eu-west-1a", "eu-west-1b", "eu-west-1c")
FACTS = Facts(
    account=ACCOUNT,
    region=REGION,
    zones=ZONES,
    kubernetes="1.34",
    ami_release="1.34.7-20260512",
    addons=table()["addons"],
)
SERVICE = "com.amazonaws.vpce.eu-west-1.vpce-svc-0123456789abcdef0"
ROLE_ARNS = GivenRoles(
    **{
        which: f"arn:aws:iam::{ACCOUNT}:role/cells/{which.replace('_', '-')}"
        for which in ROLES
        if which != "engine"
    }
)
OWN_ENGINE = Engine(
    kind=EngineKind.SINGLESTORE,
    image=f"registry.example/singlestore/node:8.9.3@sha256:{'0' * 64}",
    operator_image=f"registry.example/singlestore/operator:4.81.0@sha256:{'0' * 64}",
)


def subnet(zone: str, number: int, **more: Any) -> GivenSubnet:
    said: dict[str, Any] = {
        "id": f"subnet-{number}",
        "cidr": f"10.80.{number}.0/24",
        "zone": zone,
        "route_table_id": "rtb-1",
    }
    return GivenSubnet(**said | more)


def given_vpc(**more: Any) -> GivenVpc:
    said: dict[str, Any] = {
        "id": "vpc-1",
        "cidrs": ("10.80.0.0/16",),
        "subnets": tuple(subnet(zone, number) for number, zone in enumerate(ZONES)),
        "owner": ACCOUNT,
        "endpoints": ("s3", "sts"),
    }
    return GivenVpc(**said | more)


def cell(**more: Any) -> CellArgs:
    said: dict[str, Any] = {
        "name": "main",
        "facts": FACTS,
        "gateway": Gateway(url="wss://gateway.example/nimbus/v1"),
        "agent": Image(repository="registry.example/byoc-agent", digest=f"sha256:{'0' * 64}"),
    }
    return CellArgs(**said | more)


EXAMPLES: Mapping[str, CellArgs] = {
    "default": cell(),
    "single-nat": cell(network=NewVpc(cidr="10.40.0.0/20", nat=Nat.SINGLE)),
    "no-internet": cell(
        network=NewVpc(nat=Nat.NONE),
        gateway=Gateway(url="wss://gateway.example/nimbus/v1", endpoint_service=SERVICE),
        image_registry=f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/mirror",
    ),
    "given": cell(
        network=given_vpc(),
        roles=ROLE_ARNS,
        key_arn=f"arn:aws:kms:{REGION}:{ACCOUNT}:key/11111111-1111-4111-8111-111111111111",
        boundary_arn=f"arn:aws:iam::{ACCOUNT}:policy/our-boundary",
        tags={"cost-centre": "42"},
        egress_proxy="http://10.80.9.9:3128",
    ),
    "unlimited": cell(engine=replace(OWN_ENGINE, suspend=DETACH)),
}
"""One cell for each way in which programs differ; each has its golden graph."""


@st.composite
def ranges(draw: st.DrawFn) -> str:
    """Return a range that a cell's VPC may have."""
    prefix = draw(st.integers(16, 21))
    step = 2 ** (32 - prefix)
    base, size = draw(st.sampled_from([(0x0A000000, 2**24), (0xC0A80000, 2**16)]))
    first = base + step * draw(st.integers(0, size // step - 1))
    return f"{first >> 24}.{first >> 16 & 255}.{first >> 8 & 255}.{first & 255}/{prefix}"


@st.composite
def cells(draw: st.DrawFn) -> CellArgs:
    """Return a cell of any region, range, number of zones and size, with any options."""
    region = draw(st.sampled_from(sorted(table()["zones"])))
    count = draw(st.integers(3, 6))
    facts = replace(
        FACTS,
        region=region,
        zones=tuple(f"{region}{letter}" for letter in "abcdef"[:count]),
        partition="aws-us-gov" if region.startswith("us-gov") else "aws",
    )
    nat = draw(st.sampled_from(Nat))
    service = draw(st.sampled_from(["", SERVICE])) if nat is not Nat.NONE else SERVICE
    return cell(
        name=draw(st.from_regex(r"[a-z][a-z0-9]{1,10}(-[a-z0-9]{1,11})?", fullmatch=True)),
        facts=facts,
        network=NewVpc(cidr=draw(ranges()), nat=nat),
        gateway=Gateway(url="wss://gateway.example:8443/nimbus/v1", endpoint_service=service),
        nodes=Nodes(
            system_count=draw(st.integers(2, 4)),
            workspace_types=tuple(
                draw(
                    st.lists(
                        st.sampled_from(["r6i.xlarge", "r7i.4xlarge", "x9.huge"]), min_size=1, unique=True
                    )
                )
            ),
            workspace_maximum=draw(st.integers(1, 50)),
            disk_gib=draw(st.integers(20, 500)),
        ),
        tags=draw(
            st.dictionaries(st.from_regex(r"team-[a-z]{1,8}", fullmatch=True), st.just("x"), max_size=3)
        ),
        log_days=draw(st.sampled_from([1, 30, 365])),
        ledger_days=draw(st.integers(1, 3650)),
    )
