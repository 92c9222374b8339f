"""What the emulation's EKS lacks: add-ons, access entries, pod identity, versions, and what a cluster makes.

Installed into moto before its server first answers. Everything is kept in moto's own backend, so that its
reset forgets it. A real cluster makes a security group, a real node group an autoscaling group: so do these.
"""

import base64
import json
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from moto.autoscaling.models import autoscaling_backends
from moto.core.responses import ActionResult, EmptyResult
from moto.ec2.models import ec2_backends
from moto.eks import models, urls
from moto.eks.exceptions import (
    InvalidParameterException,
    InvalidRequestException,
    ResourceInUseException,
    ResourceNotFoundException,
)
from moto.eks.responses import EKSResponse

from byoc.cell.assume import table

Json = dict[str, Any]
VERSIONS = ("1.31", "1.32", "1.33", "1.34", "1.35")
ADDONS: dict[str, str] = dict(table()["addons"])
"""Add-ons of the emulated region and the version that it offers: what a plan assumes."""
POLICIES = tuple(
    f"arn:aws:eks::aws:cluster-access-policy/{name}"
    for name in (
        "AmazonEKSClusterAdminPolicy",
        "AmazonEKSAdminPolicy",
        "AmazonEKSEditPolicy",
        "AmazonEKSViewPolicy",
        "AmazonEKSAdminViewPolicy",
    )
)
_PEM = b"-----BEGIN CERTIFICATE-----\nemulated\n-----END CERTIFICATE-----\n"
_PATHS = (
    "{0}/addons/supported-versions$",
    "{0}/cluster-versions$",
    "{0}/access-policies$",
    "{0}/clusters/(?P<name>[^/]+)/updates$",
    *(
        f"{{0}}/clusters/(?P<name>[^/]+)/{kind}{rest}$"
        for kind in ("addons", "access-entries", "pod-identity-associations")
        for rest in ("", "/(?P<rest>.+)")
    ),
    "{0}/clusters/(?P<name>[^/]+)/node-groups/(?P<nodegroupName>[^/]+)/update-version$",
)


REACHED: dict[str, str] = {}
"""Address and authority (PEM) of the API server of the account's clusters, where there is a real one."""


@contextmanager
def reached(address: str, authority: str) -> Iterator[None]:
    """Let every cluster that is made while inside be the one that answers there."""
    REACHED.update(address=address, authority=authority)
    try:
        yield
    finally:
        REACHED.clear()


def _refused(kind: type, message: str) -> Exception:
    error: Exception = kind(message=message)
    return error


class _Held:
    """What one region's EKS keeps besides clusters: rows by kind and key."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, ...], Json] = {}

    @staticmethod
    def of(response: Any) -> "_Held":
        members: dict[str, Any] = response.eks_backend.__dict__
        held: _Held = members.setdefault("held", _Held())
        return held

    def add(self, key: tuple[str, ...], row: Json) -> Json:
        if key in self.rows:
            raise _refused(ResourceInUseException, f"The specified {key[0]} is already in use: {key[-1]}")
        now = time.time()
        self.rows[key] = {"createdAt": now, "modifiedAt": now, **row}
        return self.rows[key]

    def get(self, key: tuple[str, ...]) -> Json:
        try:
            return self.rows[key]
        except KeyError:
            raise _refused(ResourceNotFoundException, f"No {key[0]} found: {key[-1]}") from None

    def drop(self, *beginning: str) -> None:
        for key in [one for one in self.rows if one[1 : 1 + len(beginning)] == beginning]:
            del self.rows[key]

    def under(self, kind: str, cluster: str) -> list[Json]:
        return [row for key, row in self.rows.items() if key[:2] == (kind, cluster)]


def _arn(response: Any, kind: str, *parts: str) -> str:
    return f"arn:aws:eks:{response.region}:{response.current_account}:{kind}/{'/'.join(parts)}"


def _cluster(response: Any) -> Any:
    name = response.params.get("clusterName") or response.params["name"]
    return response.eks_backend.describe_cluster(name)


def _given(response: Any, *names: str) -> Json:
    return {name: response.params[name] for name in names if response.params.get(name) is not None}


def _update(response: Any, kind: str) -> ActionResult:
    row = {"id": str(uuid.uuid4()), "status": "Successful", "type": kind, "params": [], "errors": []}
    return ActionResult({"update": row})


def _params(response: Any) -> Json:
    """Everything that was said: in the path, the query and the body."""
    query = {name: values[0] for name, values in response.querystring.items()}
    body = json.loads(response.body) if response.body else {}
    return {**query, **(response.uri_match or {}), **body}


class Extension:
    """Methods that moto's responder of EKS gets; ``self`` is that responder."""

    def describe_cluster_versions(self: Any) -> ActionResult:
        """Answer every version as in standard support."""
        rows = [
            {"clusterVersion": one, "defaultVersion": one == VERSIONS[-2], "status": "STANDARD_SUPPORT"}
            for one in VERSIONS
        ]
        return ActionResult({"clusterVersions": rows})

    def describe_addon_versions(self: Any) -> ActionResult:
        """Answer the add-ons, for one version or for all."""
        wanted, minor = self.params.get("addonName"), self.params.get("kubernetesVersion", VERSIONS[-2])
        rows = []
        for name, version in ADDONS.items():
            if wanted in (None, name) and minor in VERSIONS:
                fits = [{"clusterVersion": minor, "platformVersions": ["*"], "defaultVersion": True}]
                one = {"addonVersion": version, "compatibilities": fits}
                rows.append({"addonName": name, "type": "networking", "addonVersions": [one]})
        return ActionResult({"addons": rows})

    def create_addon(self: Any) -> ActionResult:
        """Install an add-on; it is active at once."""
        cluster, name = _cluster(self), self.params["addonName"]
        if name not in ADDONS:
            raise _refused(InvalidParameterException, f"Addon {name} specified is not supported")
        newest = ADDONS[name]
        names = ("addonVersion", "configurationValues", "serviceAccountRoleArn", "tags")
        row = {
            "addonName": name,
            "clusterName": cluster.name,
            "status": "ACTIVE",
            "addonArn": _arn(self, "addon", cluster.name, name, str(uuid.uuid4())),
            "addonVersion": newest,
            "health": {"issues": []},
            **_given(self, *names),
        }
        return ActionResult({"addon": _Held.of(self).add(("addon", cluster.name, name), row)})

    def describe_addon(self: Any) -> ActionResult:
        """Answer one add-on."""
        key = ("addon", _cluster(self).name, self.params["addonName"])
        return ActionResult({"addon": _Held.of(self).get(key)})

    def update_addon(self: Any) -> ActionResult:
        """Change version or values."""
        row = _Held.of(self).get(("addon", _cluster(self).name, self.params["addonName"]))
        row.update(_given(self, "addonVersion", "configurationValues", "serviceAccountRoleArn"))
        return _update(self, "AddonUpdate")

    def delete_addon(self: Any) -> ActionResult:
        """Take an add-on out."""
        key = ("addon", _cluster(self).name, self.params["addonName"])
        row = _Held.of(self).get(key)
        del _Held.of(self).rows[key]
        return ActionResult({"addon": row | {"status": "DELETING"}})

    def list_addons(self: Any) -> ActionResult:
        """Answer the names of a cluster's add-ons."""
        rows = _Held.of(self).under("addon", _cluster(self).name)
        return ActionResult({"addons": [row["addonName"] for row in rows]})

    def list_access_policies(self: Any) -> ActionResult:
        """Answer the policies that EKS has."""
        rows = [{"name": one.rpartition("/")[2], "arn": one} for one in POLICIES]
        return ActionResult({"accessPolicies": rows})

    def create_access_entry(self: Any) -> ActionResult:
        """Let a principal in."""
        cluster, principal = _cluster(self), self.params["principalArn"]
        if getattr(cluster, "access_config", {}).get("authenticationMode") == "CONFIG_MAP":
            raise _refused(
                InvalidRequestException, "The cluster's authentication mode must be set to one of [API, ...]"
            )
        name = principal.rpartition("/")[2]
        row = {
            "clusterName": cluster.name,
            "principalArn": principal,
            "accessEntryArn": _arn(self, "access-entry", cluster.name, "role", name, str(uuid.uuid4())),
            "type": "STANDARD",
            "username": f"arn:aws:sts::{self.current_account}:assumed-role/{name}/{{{{SessionName}}}}",
            "kubernetesGroups": [],
            **_given(self, "kubernetesGroups", "type", "username", "tags"),
        }
        _Held.of(self).add(("access entry", cluster.name, principal), row)
        return ActionResult({"accessEntry": row})

    def describe_access_entry(self: Any) -> ActionResult:
        """Answer one entry."""
        key = ("access entry", _cluster(self).name, self.params["principalArn"])
        return ActionResult({"accessEntry": _Held.of(self).get(key)})

    def update_access_entry(self: Any) -> ActionResult:
        """Change an entry's groups or name."""
        row = _Held.of(self).get(("access entry", _cluster(self).name, self.params["principalArn"]))
        row.update(_given(self, "kubernetesGroups", "username"))
        return ActionResult({"accessEntry": row})

    def delete_access_entry(self: Any) -> ActionResult:
        """Let a principal in no more; its policies go with it."""
        cluster, principal = _cluster(self).name, self.params["principalArn"]
        _Held.of(self).get(("access entry", cluster, principal))
        _Held.of(self).drop(cluster, principal)
        return EmptyResult()

    def list_access_entries(self: Any) -> ActionResult:
        """Answer who may enter."""
        rows = _Held.of(self).under("access entry", _cluster(self).name)
        return ActionResult({"accessEntries": [row["principalArn"] for row in rows]})

    def associate_access_policy(self: Any) -> ActionResult:
        """Give who entered a policy; again changes its scope."""
        held, cluster, principal = _Held.of(self), _cluster(self).name, self.params["principalArn"]
        held.get(("access entry", cluster, principal))
        policy = self.params["policyArn"]
        if policy not in POLICIES:
            raise _refused(InvalidParameterException, f"The policyArn is not valid: {policy}")
        key = ("access policy", cluster, principal, policy)
        held.rows.pop(key, None)
        row = held.add(key, {"policyArn": policy, **_given(self, "accessScope")})
        row["associatedAt"] = row["createdAt"]
        about = {"clusterName": cluster, "principalArn": principal, "associatedAccessPolicy": row}
        return ActionResult(about)

    def disassociate_access_policy(self: Any) -> ActionResult:
        """Take a policy away."""
        cluster, principal = _cluster(self).name, self.params["principalArn"]
        key = ("access policy", cluster, principal, self.params["policyArn"])
        _Held.of(self).get(key)
        del _Held.of(self).rows[key]
        return EmptyResult()

    def list_associated_access_policies(self: Any) -> ActionResult:
        """Answer the policies of one principal."""
        held, cluster, principal = _Held.of(self), _cluster(self).name, self.params["principalArn"]
        held.get(("access entry", cluster, principal))
        rows = [row for key, row in held.rows.items() if key[:3] == ("access policy", cluster, principal)]
        about = {"clusterName": cluster, "principalArn": principal, "associatedAccessPolicies": rows}
        return ActionResult(about)

    def create_pod_identity_association(self: Any) -> ActionResult:
        """Give the pods of a service account a role."""
        cluster = _cluster(self).name
        whose = (self.params["namespace"], self.params["serviceAccount"])
        for row in _Held.of(self).under("pod identity association", cluster):
            if (row["namespace"], row["serviceAccount"]) == whose:
                raise _refused(ResourceInUseException, f"Association already exists: {row['associationId']}")
        identity = f"a-{uuid.uuid4().hex[:17]}"
        row = {
            "clusterName": cluster,
            "associationId": identity,
            "associationArn": _arn(self, "podidentityassociation", cluster, identity),
            **_given(self, "namespace", "serviceAccount", "roleArn", "tags"),
        }
        _Held.of(self).add(("pod identity association", cluster, identity), row)
        return ActionResult({"association": row})

    def describe_pod_identity_association(self: Any) -> ActionResult:
        """Answer one association."""
        key = ("pod identity association", _cluster(self).name, self.params["associationId"])
        return ActionResult({"association": _Held.of(self).get(key)})

    def update_pod_identity_association(self: Any) -> ActionResult:
        """Change the role."""
        key = ("pod identity association", _cluster(self).name, self.params["associationId"])
        row = _Held.of(self).get(key)
        row.update(_given(self, "roleArn"))
        return ActionResult({"association": row})

    def delete_pod_identity_association(self: Any) -> ActionResult:
        """Take the role away."""
        key = ("pod identity association", _cluster(self).name, self.params["associationId"])
        row = _Held.of(self).get(key)
        del _Held.of(self).rows[key]
        return ActionResult({"association": row})

    def list_pod_identity_associations(self: Any) -> ActionResult:
        """Answer a cluster's associations, or those of one service account."""
        wanted = _given(self, "namespace", "serviceAccount")
        rows = [
            row
            for row in _Held.of(self).under("pod identity association", _cluster(self).name)
            if wanted.items() <= row.items()
        ]
        return ActionResult({"associations": rows})

    def untag_resource(self: Any) -> ActionResult:
        """Take tags away; moto takes the first of several only."""
        self.eks_backend.untag_resource(self._extract_arn_from_path(), self.querystring.get("tagKeys", []))
        return EmptyResult()

    def update_cluster_version(self: Any) -> ActionResult:
        """Go up by one minor version, as EKS allows."""
        cluster, wanted = _cluster(self), self.params["version"]
        if wanted not in VERSIONS:
            raise _refused(InvalidParameterException, f"unsupported Kubernetes version {wanted}")
        if VERSIONS.index(wanted) != VERSIONS.index(cluster.version) + 1:
            raise _refused(
                InvalidParameterException,
                f"Unsupported Kubernetes minor version update from {cluster.version} to {wanted}",
            )
        cluster.version = wanted
        return _update(self, "VersionUpdate")

    def update_nodegroup_version(self: Any) -> ActionResult:
        """Replace the machines by newer ones."""
        group = self.eks_backend.describe_nodegroup(_cluster(self).name, self.params["nodegroupName"])
        group.version = self.params.get("version") or group.version
        group.release_version = self.params.get("releaseVersion") or group.release_version
        if template := self.params.get("launchTemplate"):
            group.launch_template = {**(group.launch_template or {}), **template}
        return _update(self, "VersionUpdate")

    def update_cluster_config(self: Any) -> ActionResult:
        """Change some of the configuration; moto puts the whole of a part in its place."""
        cluster = _cluster(self)
        vpc = self.params.get("resourcesVpcConfig") or {}
        cluster.resources_vpc_config = {**cluster.resources_vpc_config, **vpc}
        cluster.logging = self.params.get("logging") or cluster.logging
        _extra(cluster, self.params)
        return _update(self, "EndpointAccessUpdate" if vpc else "LoggingUpdate")


def _extra(cluster: Any, params: Json) -> None:
    names = {
        "accessConfig": "access_config",
        "upgradePolicy": "upgrade_policy",
        "deletionProtection": "deletion_protection",
    }
    for name, member in names.items():
        if params.get(name) is not None:
            before = getattr(cluster, member, None)
            value = params[name]
            setattr(cluster, member, {**before, **value} if isinstance(before, dict) else value)


def _making_clusters(create: Callable[[Any], ActionResult]) -> Callable[[Any], ActionResult]:
    def create_cluster(self: Any) -> ActionResult:
        answer = create(self)
        cluster = self.eks_backend.clusters[self.params["name"]]
        authority = REACHED.get("authority", "").encode() or _PEM
        cluster.certificate_authority = {"data": base64.b64encode(authority).decode()}
        cluster.endpoint = REACHED.get("address", cluster.endpoint)
        cluster.access_config = {"authenticationMode": "CONFIG_MAP"}
        _extra(cluster, self.params)
        cluster.version = self.params.get("version") or VERSIONS[-2]
        cluster.resources_vpc_config = dict(cluster.resources_vpc_config)
        ec2 = ec2_backends[self.current_account][self.region]
        subnets = cluster.resources_vpc_config.get("subnetIds") or []
        known = ec2.subnets.values()
        vpc = next((one[subnets[0]].vpc_id for one in known if subnets and subnets[0] in one), None)
        if vpc:
            group = ec2.create_security_group(
                f"eks-cluster-sg-{cluster.name}-{uuid.uuid4().int % 10**9}",
                "EKS created security group applied to ENI that is attached to EKS Control Plane",
                vpc,
                tags={f"kubernetes.io/cluster/{cluster.name}": "owned", "aws:eks:cluster-name": cluster.name},
            )
            cluster.resources_vpc_config |= {"vpcId": vpc, "clusterSecurityGroupId": group.id}
        return answer

    return create_cluster


def _ending_clusters(delete: Callable[[Any], ActionResult]) -> Callable[[Any], ActionResult]:
    def delete_cluster(self: Any) -> ActionResult:
        cluster = _cluster(self)
        if getattr(cluster, "deletion_protection", False):
            raise _refused(InvalidRequestException, f"Cluster {cluster.name} has deletion protection enabled")
        answer = delete(self)
        _Held.of(self).drop(cluster.name)
        if group := cluster.resources_vpc_config.get("clusterSecurityGroupId"):
            ec2_backends[self.current_account][self.region].delete_security_group(group_id=group)
        return answer

    return delete_cluster


def _making_groups(create: Callable[[Any], ActionResult]) -> Callable[[Any], ActionResult]:
    def create_nodegroup(self: Any) -> ActionResult:
        answer = create(self)
        group = self.eks_backend.describe_nodegroup(_cluster(self).name, self.params["nodegroupName"])
        group.version = self.params.get("version") or _cluster(self).version
        group.update_config = self.params.get("updateConfig") or {"maxUnavailable": 1}
        _scaling_group(self, group)
        return answer

    return create_nodegroup


def _scaling_group(response: Any, group: Any) -> None:
    """Make the group that EKS makes; of no machines, which the emulation would start."""
    scaling = autoscaling_backends[response.current_account][response.region]
    ec2 = ec2_backends[response.current_account][response.region]
    name = group.resources["autoScalingGroups"][0]["name"]
    used = ec2.create_launch_template(
        f"eks-{group.uuid}", "", {"InstanceType": "t3.medium", "ImageId": "ami-12c6146b"}, {}
    )
    scaling.create_auto_scaling_group(
        name=name,
        availability_zones=[],
        desired_capacity=0,
        max_size=int(group.scaling_config["maxSize"]),
        min_size=0,
        instance_id=None,
        launch_config_name=None,
        launch_template={"LaunchTemplateName": used.name, "Version": "1"},
        vpc_zone_identifier=",".join(group.subnets),
        default_cooldown=None,
        health_check_period=None,
        health_check_type=None,
        load_balancers=[],
        target_group_arns=[],
        placement_group=None,
        termination_policies=[],
        tags=[],
        capacity_rebalance=False,
    )


def _ending_groups(delete: Callable[[Any], ActionResult]) -> Callable[[Any], ActionResult]:
    def delete_nodegroup(self: Any) -> ActionResult:
        group = self.eks_backend.describe_nodegroup(_cluster(self).name, self.params["nodegroupName"])
        answer = delete(self)
        scaling = autoscaling_backends[self.current_account][self.region]
        scaling.delete_auto_scaling_group(group.resources["autoScalingGroups"][0]["name"])
        ec2_backends[self.current_account][self.region].delete_launch_template(f"eks-{group.uuid}", None)
        return answer

    return delete_nodegroup


def _tagged(backend: Any, arn: str) -> Json:
    """The tags of anything that EKS keeps; moto knows those of clusters only."""
    made = [*backend.clusters.values()]
    made += [group for cluster in backend.clusters.values() for group in cluster.nodegroups.values()]
    tags: Json | None = next((one.tags for one in made if one.arn == arn), None)
    for row in backend.__dict__.setdefault("held", _Held()).rows.values():
        if arn in (row.get("addonArn"), row.get("accessEntryArn"), row.get("associationArn")):
            tags = row.setdefault("tags", {})
    if tags is None:
        raise _refused(ResourceNotFoundException, "Resource was not found")
    return tags


def _tag(self: Any, resource_arn: str, tags: Json) -> None:
    _tagged(self, resource_arn).update(tags)


def _untag(self: Any, resource_arn: str, tag_keys: list[str]) -> None:
    for key in tag_keys:
        _tagged(self, resource_arn).pop(key, None)


_installed: list[bool] = []


def install() -> None:
    """Give moto what it lacks; a second time does nothing."""
    if _installed:
        return
    _installed.append(True)
    for name, method in vars(Extension).items():
        if not name.startswith("_"):
            setattr(EKSResponse, name, method)
    responder: Any = EKSResponse
    responder.params = property(_params)
    responder.create_cluster = _making_clusters(EKSResponse.create_cluster)
    responder.delete_cluster = _ending_clusters(EKSResponse.delete_cluster)
    responder.create_nodegroup = _making_groups(EKSResponse.create_nodegroup)
    responder.delete_nodegroup = _ending_groups(EKSResponse.delete_nodegroup)
    module: Any = models
    # It makes a session of boto3, a tenth of a second, to ask for the names of three partitions.
    module.validate_role_arn = cache(models.validate_role_arn)
    backend: Any = models.EKSBackend
    backend.tag_resource, backend.untag_resource = _tag, _untag
    backend.list_tags_for_resource = _tagged
    for path in _PATHS:
        urls.url_paths[path] = EKSResponse.dispatch
