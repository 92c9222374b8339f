"""What stands for the customer's own network and roles where permissions are asked for and nobody named them.

Used by ``byoc cell permissions --mode``. The invariant: what stands in allows no less than what will be
named, and it is said that it stands in.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from byoc.cell import arns
from byoc.cell.args import GivenRoles
from byoc.cell.assume import complete
from byoc.cell.config import to_mapping
from byoc.cell.grants import MODES
from byoc.errors import UsageError

_RANGES: Final = ("10.0.0.0/24", "10.0.1.0/24", "10.0.2.0/24")


def stand_in(settings: Mapping[str, Any], wanted: str) -> dict[str, Any]:
    """Return ``settings`` with what ``wanted``, one of ``MODES``, needs and nobody named.

    Raises:
        UsageError: there is no such mode, or the settings say another one.
    """
    if wanted not in MODES:
        raise UsageError(f"there is no mode `{wanted}`", hint=f"take one of {', '.join(MODES)}")
    found = dict(settings)
    if wanted == MODES[0]:
        if found.get("vpc") or found.get("roles"):
            raise UsageError("the settings name a VPC or roles of yours", hint="leave out --mode")
        return found
    args, _ = complete({name: value for name, value in found.items() if name not in {"vpc", "roles"}})
    if wanted == "existing-vpc" and not found.get("vpc"):
        found["vpc"] = {
            "id": "*",
            "cidrs": ["10.0.0.0/16"],
            "owner": args.facts.account,
            "subnets": [
                {"id": "*", "cidr": cidr, "zone": zone, "routeTableID": "*"}
                for cidr, zone in zip(_RANGES, args.facts.zones, strict=False)
            ],
        }
    if wanted == "existing-iam" and not found.get("roles"):
        roles = GivenRoles(**{which: arns.role_arn(args, which) for which in arns.roles(args)})
        found["roles"] = to_mapping(replace(args, roles=roles))["roles"]
    return found
