"""Whether Session Manager could reach a machine in the cell, and the machine write its log; asked first.

Called by ``glass`` before a session is on record. The invariant: where there is no way out of the VPC and
an endpoint is missing, nothing is made; a machine that nobody reaches would only look like a way in.
"""

from byoc.bootstrap.aws import translated
from byoc.bootstrap.breakglass.make import Site
from byoc.cell import endpoints
from byoc.cell.args import GivenVpc
from byoc.errors import PreconditionFailed


def check(site: Site) -> None:
    """Refuse where a session could not be opened.

    Raises:
        PreconditionFailed: the VPC leads nowhere and lacks an endpoint that a session needs.
    """
    wanted = endpoints.for_sessions(site.args)
    if not wanted:
        return
    present = _present(site)
    missing = [one for one in wanted if endpoints.service_name(site.args, one) not in present]
    if missing:
        raise PreconditionFailed(
            f"the subnets of cell {site.args.name} have no way out, and VPC {site.outputs.vpc_id} has no "
            f"endpoint for {', '.join(missing)}: Session Manager could not reach a machine there",
            hint=_remedy(site, missing),
        )


def _remedy(site: Site, missing: list[str]) -> str:
    network, name = site.args.network, site.args.name
    theirs = [one for one in missing if isinstance(network, GivenVpc) and one in network.endpoints]
    if theirs:
        return f"make {', '.join(theirs)} again in your VPC: it was there when the cell was made"
    return f"`byoc cell upgrade {name}` makes what is missing"


def _present(site: Site) -> set[str]:
    """Return the services that have an endpoint which answers."""
    filters = [
        {"Name": "vpc-id", "Values": [site.outputs.vpc_id]},
        {"Name": "vpc-endpoint-state", "Values": ["available"]},
    ]
    with translated("ec2:DescribeVpcEndpoints"):
        pages = site.account.client("ec2").get_paginator("describe_vpc_endpoints").paginate(Filters=filters)
        return {str(one["ServiceName"]) for page in pages for one in page["VpcEndpoints"]}
