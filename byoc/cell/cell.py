"""The root component: a whole cell, its parts in the order in which they need each other.

Made by the program and by nothing else. The invariants: a part gets from others only what their types
say, and the client comes last, when everything it needs stands.
"""

from importlib.metadata import version

import pulumi

from byoc.cell import arns
from byoc.cell.args import CellArgs
from byoc.cell.dns import Dns
from byoc.cell.identity import Identity
from byoc.cell.keys import Keys
from byoc.cell.network import Network
from byoc.cell.outputs import camel
from byoc.cell.part import Part
from byoc.cell.storage import Storage


class Cell(Part):
    """Everything a cell has in AWS.

    Attributes:
        outputs: what the stack says, by the names of ``CellOutputs``.
    """

    def __init__(self, args: CellArgs) -> None:
        super().__init__("Cell", args)
        self.key_arn = Keys(args, parent=self).key_arn
        identity = Identity(args, self.key_arn, parent=self)
        network = Network(args, self.key_arn, identity.flow_logs, parent=self)
        storage = Storage(args, self.key_arn, parent=self)
        dns = Dns(args, network, parent=self)
        self.outputs = self._said(network, storage, dns)
        self.register_outputs(self.outputs)

    def _said(self, network: Network, storage: Storage, dns: Dns) -> dict[str, pulumi.Input[object]]:
        said: dict[str, pulumi.Input[object]] = {
            "name": self.args.name,
            "account": self.args.facts.account,
            "region": self.args.facts.region,
            "vpc_id": network.vpc_id,
            "private_subnets": pulumi.Output.all(**{each.zone: each.id for each in network.private}),
            "egress_addresses": pulumi.Output.all(*network.egress_addresses),
            "cluster_name": arns.cluster_name(self.args),
            "key_arn": self.key_arn,
            "data_bucket": storage.data_bucket,
            "ledger_bucket": storage.ledger_bucket,
            "zone_id": dns.zone_id,
            "domain": dns.domain,
            "gateway_url": self.args.gateway.url,
            "byoc_version": version("nimbus-byoc"),
        }
        return {camel(name): value for name, value in said.items()}
