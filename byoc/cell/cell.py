"""The root component: a whole cell, its parts in the order in which they need each other.

Made by the program and by nothing else. The invariants: a part gets from others only what their types
say, and the client comes last, when everything it needs stands.
"""

from importlib.metadata import version

import pulumi

from byoc.cell import arns
from byoc.cell.addons import AddOns, NetworkAddOns
from byoc.cell.args import CellArgs, Delivery
from byoc.cell.cluster import Cluster
from byoc.cell.dns import Dns
from byoc.cell.federation import Federation
from byoc.cell.function import Control, Door, Installer
from byoc.cell.identity import Identity
from byoc.cell.keys import Keys
from byoc.cell.manifests import bundle
from byoc.cell.network import Network
from byoc.cell.nimbus import Nimbus
from byoc.cell.nodes import NodeGroups
from byoc.cell.outputs import camel
from byoc.cell.part import Part
from byoc.cell.storage import Storage


class Cell(Part):
    """Everything a cell has in AWS, and the client in its cluster.

    Attributes:
        outputs: what the stack says, by the names of ``CellOutputs``.
    """

    def __init__(self, args: CellArgs) -> None:
        super().__init__("Cell", args)
        self.key_arn = Keys(args, parent=self).key_arn
        self.identity = Identity(args, self.key_arn, parent=self)
        self.network = Network(args, self.key_arn, self.identity.flow_logs, parent=self)
        self.storage = Storage(args, self.key_arn, parent=self)
        self.dns = Dns(args, self.network, parent=self)
        self.cluster = Cluster(args, self.network, self.identity, self.key_arn, parent=self)
        self.nimbus = self._nimbus((*self._machines(), *self._engines()))
        self.outputs = self._said()
        self.register_outputs(self.outputs)

    def _machines(self) -> tuple[pulumi.Resource, ...]:
        """Make machines and add-ons; return what the client waits for."""
        args, cluster, identity = self.args, self.cluster, self.identity
        base = NetworkAddOns(args, cluster, identity, parent=self)
        nodes = NodeGroups(
            args,
            cluster,
            self.network,
            identity,
            self.key_arn,
            after=(*self.network.ready, *base.ready),
            parent=self,
        )
        addons = AddOns(args, cluster, identity, self.dns, after=(nodes.system,), parent=self)
        return (*self.network.ready, *cluster.ready, *base.ready, *nodes.ready, *addons.ready)

    def _engines(self) -> tuple[pulumi.Resource, ...]:
        """Let engines use the bucket, where they do and their role is not the customer's."""
        if not self.args.unlimited or self.args.roles:
            return ()
        return Federation(self.args, self.cluster, self.identity, self.key_arn, parent=self).ready

    def _nimbus(self, after: tuple[pulumi.Resource, ...]) -> Nimbus:
        args, cluster, objects = self.args, self.cluster, bundle(self.args)
        installer = None
        if args.delivery is Delivery.IN_VPC:
            door = Door(
                endpoint=cluster.endpoint,
                authority=cluster.certificate,
                security_group_id=cluster.security_group_id,
                key_arn=self.key_arn,
            )
            installer = Installer(
                args, objects, self.network, role=self.identity.installer, cluster=door, parent=self
            )
            Control(args, self.network, role=self.identity.control, cluster=door, parent=self)
        return Nimbus(
            args,
            objects,
            installer,
            cluster_endpoint=cluster.endpoint,
            cluster_authority=cluster.certificate,
            after=after,
            parent=self,
        )

    def _said(self) -> dict[str, pulumi.Input[object]]:
        args, subnets = self.args, {each.zone: each.id for each in self.network.private}
        function = arns.function_name(args, "installer") if args.delivery is Delivery.IN_VPC else ""
        said: dict[str, pulumi.Input[object]] = {
            "name": args.name,
            "account": args.facts.account,
            "region": args.facts.region,
            "vpc_id": self.network.vpc_id,
            "private_subnets": pulumi.Output.all(**subnets),
            "egress_addresses": pulumi.Output.all(*self.network.egress_addresses),
            "cluster_name": self.cluster.name,
            "cluster_endpoint": self.cluster.endpoint,
            "key_arn": self.key_arn,
            "data_bucket": self.storage.data_bucket,
            "ledger_bucket": self.storage.ledger_bucket,
            "zone_id": self.dns.zone_id,
            "domain": self.dns.domain,
            "installer_function": function,
            "gateway_url": args.gateway.url,
            "bundle_digest": self.nimbus.digest,
            "byoc_version": version("nimbus-byoc"),
        }
        return {camel(name): value for name, value in said.items()}
