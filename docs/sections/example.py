"""The cell that the docs show: nobody's, in Ireland, with every setting at its default."""

from functools import cache
from typing import Any, Final

from byoc.cell.args import CellArgs
from byoc.cell.assume import complete
from byoc.cell.modes import stand_in
from byoc.cell.plan import Plan, make_plan

SETTINGS: Final = {"name": "main", "account": "123456789012", "region": "eu-west-1"}
_CLOSED: Final = {
    "nat": "none",
    "gatewayEndpointService": "com.amazonaws.vpce.eu-west-1.vpce-svc-0123456789abcdef0",
    "imageRegistry": "123456789012.dkr.ecr.eu-west-1.amazonaws.com/mirror",
}
VARIANTS: Final[dict[str, dict[str, Any]]] = {
    "the default: a VPC of its own, a NAT gateway in each zone": {},
    "`nat: single`: one NAT gateway for all zones": {"nat": "single"},
    "`nat: none`: no way to the internet; gateway by PrivateLink, images mirrored": _CLOSED,
    "`vpc`: in your own VPC": {"mode": "existing-vpc"},
    "`roles`: with your own IAM roles": {"mode": "existing-iam"},
    "`keyArn`: with your own key": {"keyArn": "arn:aws:kms:eu-west-1:123456789012:key/yours"},
}
"""What each choice is called, to the settings that make it."""


@cache
def args() -> CellArgs:
    """Return the arguments of the default cell."""
    return complete(SETTINGS)[0]


@cache
def plan() -> Plan:
    """Return the plan of the default cell."""
    return make_plan(args())


def variant(settings: dict[str, Any]) -> Plan:
    """Return the plan of another cell."""
    wanted = dict(settings)
    mode = wanted.pop("mode", "")
    found = SETTINGS | wanted
    return make_plan(complete(stand_in(found, mode) if mode else found)[0]) if settings else plan()
