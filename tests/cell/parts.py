"""A cell up to its add-ons, as the root component puts its parts together, and what a run of it registers."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pulumi

from byoc.cell.args import CellArgs
from byoc.cell.recorder import Recording, Registered, record


def program(args: CellArgs) -> None:
    """Make the parts from the key to the add-ons."""
    from byoc.cell.addons import AddOns, NetworkAddOns  # noqa: PLC0415 - loads Pulumi's AWS types
    from byoc.cell.cluster import Cluster  # noqa: PLC0415
    from byoc.cell.dns import Dns  # noqa: PLC0415
    from byoc.cell.identity import Identity  # noqa: PLC0415
    from byoc.cell.keys import Keys  # noqa: PLC0415
    from byoc.cell.network import Network  # noqa: PLC0415
    from byoc.cell.nodes import NodeGroups  # noqa: PLC0415

    key_arn = Keys(args).key_arn
    identity = Identity(args, key_arn)
    network = Network(args, key_arn, identity.flow_logs)
    cluster = Cluster(args, network, identity, key_arn)
    base = NetworkAddOns(args, cluster, identity)
    nodes = NodeGroups(args, cluster, network, identity, key_arn, after=(*network.ready, *base.ready))
    AddOns(args, cluster, identity, Dns(args, network), after=(nodes.system,))
    pulumi.export("keyARN", key_arn)
    pulumi.export("securityGroupID", cluster.security_group_id)
    pulumi.export("certificate", cluster.certificate)
    pulumi.export("endpoint", cluster.endpoint)


@dataclass(frozen=True)
class Graph:
    """What was registered, by type and logical name."""

    recording: Recording

    def names(self, kind: str) -> set[str]:
        return {each.name for each in self.recording.of(kind)}

    def one(self, kind: str, name: str) -> Registered:
        (found,) = (each for each in self.recording.of(kind) if each.name == name)
        return found

    def inputs(self, kind: str, name: str) -> Mapping[str, Any]:
        return self.one(kind, name).inputs

    def waits_for(self, kind: str, name: str) -> set[str]:
        """Return ``type::name`` of everything a resource waits for, itself or through others."""
        known = {each.urn: each for each in self.recording.resources}
        seen: set[str] = set()
        todo = [self.one(kind, name).urn]
        while todo:
            for urn in known[todo.pop()].depends_on:
                if urn in known and urn not in seen:
                    seen.add(urn)
                    todo.append(urn)
        return {f"{known[urn].kind}::{known[urn].name}" for urn in seen}

    def policy(self, name: str) -> dict[str, Any]:
        """Return a role's own policy."""
        found: dict[str, Any] = json.loads(self.inputs("aws:iam/rolePolicy:RolePolicy", name)["policy"])
        return found


def graph(args: CellArgs) -> Graph:
    """Return what the parts register in a preview."""
    return Graph(record(lambda: program(args), args.facts))
