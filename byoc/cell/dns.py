"""The private zone in which the SQL endpoints of workspaces have their names.

Made by the root component; external-dns writes the names. The invariant: the zone answers inside the
cell's VPC only, and nothing of it is ever looked up on the internet (see ``arns.domain``).
"""

import pulumi
import pulumi_aws as aws

from byoc.cell import arns
from byoc.cell.args import CellArgs
from byoc.cell.network import Network
from byoc.cell.part import Part


class Dns(Part):
    """A private Route 53 zone for the VPC.

    Attributes:
        zone_id: hosted zone's ID.
        domain: what the names of the zone end in.
    """

    def __init__(self, args: CellArgs, network: Network, *, parent: pulumi.Resource | None = None) -> None:
        super().__init__("Dns", args, parent=parent)
        self.domain = arns.domain(args)
        zone = aws.route53.Zone(
            "zone",
            name=self.domain,
            comment=f"SQL endpoints of cell {args.name}",
            vpcs=[aws.route53.ZoneVpcArgs(vpc_id=network.vpc_id, vpc_region=args.facts.region)],
            # What is left in it is external-dns's, and names nothing once the cluster is gone.
            force_destroy=True,
            tags=self.tags("zone"),
            opts=self.options("zone"),
        )
        self.zone_id: pulumi.Output[str] = zone.zone_id
        self.register_outputs({"zoneId": self.zone_id, "domain": self.domain})
