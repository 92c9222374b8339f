"""A cell up to its add-ons, as the root component puts its parts together, and what a run of it registers."""

import contextvars
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi.runtime import settings
from pulumi.runtime.stack import run_in_stack

from byoc.cell import recorder
from byoc.cell.args import CellArgs, Facts
from byoc.cell.recorder import Recording, Registered, record


def program(args: CellArgs) -> None:
    """Make the parts from the key to the add-ons."""
    from byoc.cell.addons import AddOns, NetworkAddOns  # noqa: PLC0415 - loads Pulumi's AWS types
    from byoc.cell.cluster import Cluster  # noqa: PLC0415
    from byoc.cell.dns import Dns  # noqa: PLC0415
    from byoc.cell.federation import Federation  # noqa: PLC0415
    from byoc.cell.identity import Identity  # noqa: PLC0415
    from byoc.cell.keys import Keys  # noqa: PLC0415
    from byoc.cell.network import Network  # noqa: PLC0415
    from byoc.cell.nodes import NodeGroups  # noqa: PLC0415

    key_arn = Keys(args).key_arn
    identity = Identity(args, key_arn)
    network = Network(args, key_arn, identity.flow_logs)
    cluster = Cluster(args, network, identity, key_arn)
    base = NetworkAddOns(args, cluster, identity)
    if args.unlimited and not args.roles:
        Federation(args, cluster, identity, key_arn)
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


class _Applied(recorder._Monitor):
    """Answers as if each resource had been made: what AWS alone decides gets a value too."""

    def __init__(self, facts: Facts) -> None:
        super().__init__(facts, "applied")

    def RegisterResource(self, request: Any) -> Any:  # noqa: N802 - the name in Pulumi's protocol
        answer = super().RegisterResource(request)
        if request.custom:
            answer.id = f"{request.name}-id"
            answer.object.update(_decided(request.type, request.name, self.seen[answer.urn].inputs))
        return answer


def _decided(kind: str, name: str, inputs: Mapping[str, Any]) -> dict[str, Any]:
    match kind:
        case "aws:kms/key:Key":
            return {"arn": APPLIED_KEY, "keyId": "made"}
        case "aws:route53/zone:Zone":
            return {"zoneId": "ZMADE"}
        case "aws:ec2/launchTemplate:LaunchTemplate":
            return {"latestVersion": 3}
        case "aws:eks/cluster:Cluster":
            return {
                "endpoint": "https://made.eks.example",
                "certificateAuthority": {"data": "TUFERQ=="},
                "vpcConfig": {**inputs["vpcConfig"], "clusterSecurityGroupId": "sg-made"},
                "identities": [{"oidcs": [{"issuer": APPLIED_ISSUER}]}],
            }
        case "aws:eks/nodeGroup:NodeGroup":
            return {"resources": [{"autoscalingGroups": [{"name": f"eks-{name}"}]}]}
    return {}


APPLIED_ISSUER = "https://oidc.eks.eu-west-1.amazonaws.com/id/MADE"
APPLIED_KEY = "arn:aws:kms:eu-west-1:123456789012:key/made"


def applied(args: CellArgs) -> Graph:
    """Return what the parts register when everything is made."""
    monitor = _Applied(args.facts)

    def run() -> None:
        with recorder._loop() as loop:
            settings.set_root_resource(None)
            made = recorder._settings(monitor)
            made.dry_run = False
            settings.configure(made)
            loop.run_until_complete(run_in_stack(lambda: program(args)))

    contextvars.copy_context().run(run)
    return Graph(Recording(tuple(monitor.seen[urn] for urn in sorted(monitor.seen)), monitor.outputs))


def graph(args: CellArgs) -> Graph:
    """Return what the parts register in a preview."""
    return Graph(record(lambda: program(args), args.facts))
