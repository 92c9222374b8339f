"""Clusters and node groups."""

import ipaddress
import re
from collections.abc import Iterator, Mapping

from tests.emulated.handlers.handler import (
    ACCOUNT,
    REGION,
    Aws,
    Handler,
    Inputs,
    Properties,
    Refused,
    fixed,
    found,
    paths,
    put,
    register,
)
from tests.emulated.handlers.iam import trusts

INVALID = "InvalidParameterException"
_NAME = re.compile(r"[0-9A-Za-z][A-Za-z0-9_-]{0,99}")
_GROUP_NAME = re.compile(r"[0-9A-Za-z][A-Za-z0-9_-]{0,62}")
_LOGS = {"api", "audit", "authenticator", "controllerManager", "scheduler"}
_SERVICES = [ipaddress.IPv4Network(text) for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")]
_EFFECTS = {"NO_SCHEDULE", "NO_EXECUTE", "PREFER_NO_SCHEDULE"}


def retag(aws: Aws, arn: str, before: Mapping[str, str], wanted: Mapping[str, str] | None) -> None:
    """Leave exactly ``wanted`` on something of EKS."""
    after = wanted or {}
    if dropped := sorted(before.keys() - after.keys()):
        aws("eks").untag_resource(resourceArn=arn, tagKeys=dropped)
    if after:
        aws("eks").tag_resource(resourceArn=arn, tags=dict(after))


def _logging(types: list[str]) -> Properties:
    on, off = sorted(types), sorted(_LOGS - set(types))
    rows = [{"types": names, "enabled": enabled} for names, enabled in ((on, True), (off, False)) if names]
    return {"clusterLogging": rows}


@register("aws:eks/cluster:Cluster")
class Cluster(Handler):
    """A control plane of Kubernetes."""

    replace = paths(
        "name roleArn encryptionConfig kubernetesNetworkConfig bootstrapSelfManagedAddons"
        " accessConfig.bootstrapClusterCreatorAdminPermissions"
    )
    computed = paths(
        "arn endpoint certificateAuthority certificateAuthorities identities status platformVersion createdAt"
        " clusterId vpcConfig.clusterSecurityGroupId vpcConfig.vpcId kubernetesNetworkConfig.serviceIpv6Cidr"
    )
    decided = paths("version accessConfig kubernetesNetworkConfig upgradePolicy vpcConfig.publicAccessCidrs")
    unread = paths(
        "bootstrapSelfManagedAddons defaultAddonsToRemoves forceUpdateVersion"
        " accessConfig.bootstrapClusterCreatorAdminPermissions"
    )
    unordered = paths(
        "enabledClusterLogTypes vpcConfig.subnetIds vpcConfig.securityGroupIds vpcConfig.publicAccessCidrs"
        " encryptionConfig.resources"
    )
    defaults = fixed(
        {
            "bootstrapSelfManagedAddons": True,
            "vpcConfig": {"endpointPublicAccess": True},
            "kubernetesNetworkConfig": {"ipFamily": "ipv4"},
            "accessConfig": {"bootstrapClusterCreatorAdminPermissions": True},
        }
    )
    named = "name"

    def check(self, inputs: Inputs, region: str) -> Iterator[str]:
        if not _NAME.fullmatch(inputs.get("name", "")):
            yield f"{INVALID}: `{inputs.get('name')}` is no name of a cluster"
        at = inputs["vpcConfig"]
        if not at.get("endpointPublicAccess", True) and not at.get("endpointPrivateAccess"):
            yield f"{INVALID}: Private and public endpoint access cannot be false at the same time"
        if wrong := sorted(set(inputs.get("enabledClusterLogTypes", ())) - _LOGS):
            yield f"{INVALID}: {wrong[0]} is no type of log"
        text = inputs.get("kubernetesNetworkConfig", {}).get("serviceIpv4Cidr")
        if text and not _serves(text):
            yield f"{INVALID}: serviceIpv4Cidr {text} is no private range from /12 to /24"
        encrypted = inputs.get("encryptionConfig", {}).get("resources", ["secrets"])
        if list(encrypted) != ["secrets"]:
            yield f"{INVALID}: only secrets can be encrypted"

    def create(self, aws: Aws, inputs: Inputs) -> str:
        if not trusts(aws, inputs["roleArn"], "eks.amazonaws.com"):
            raise Refused(
                INVALID, f"Role {inputs['roleArn']} cannot be assumed by principal eks.amazonaws.com"
            )
        at = inputs["vpcConfig"]
        self._fits(aws, inputs)
        offered = {one["clusterVersion"] for one in aws("eks").describe_cluster_versions()["clusterVersions"]}
        if inputs.get("version") and inputs["version"] not in offered:
            raise Refused(INVALID, f"unsupported Kubernetes version {inputs['version']}")
        config = put(
            {
                "subnetIds": list(at["subnetIds"]),
                "endpointPublicAccess": bool(at.get("endpointPublicAccess", True)),
                "endpointPrivateAccess": bool(at.get("endpointPrivateAccess")),
            },
            securityGroupIds=at.get("securityGroupIds"),
            publicAccessCidrs=at.get("publicAccessCidrs"),
        )
        encryption = inputs.get("encryptionConfig")
        if encryption:
            aws("kms").describe_key(KeyId=encryption["provider"]["keyArn"])
        about = put(
            {},
            version=inputs.get("version"),
            kubernetesNetworkConfig=inputs.get("kubernetesNetworkConfig"),
            accessConfig=inputs.get("accessConfig"),
            upgradePolicy=inputs.get("upgradePolicy"),
            encryptionConfig=[encryption] if encryption else None,
            deletionProtection=inputs.get("deletionProtection"),
            bootstrapSelfManagedAddons=inputs.get("bootstrapSelfManagedAddons"),
            tags=inputs.get("tags"),
        )
        made = aws("eks").create_cluster(
            name=inputs["name"],
            roleArn=inputs["roleArn"],
            resourcesVpcConfig=config,
            logging=_logging(inputs.get("enabledClusterLogTypes", [])),
            **about,
        )
        return str(made["cluster"]["name"])

    def _fits(self, aws: Aws, inputs: Inputs) -> None:
        """The emulation takes any subnets and any range of services."""
        at = inputs["vpcConfig"]
        subnets = aws("ec2").describe_subnets(SubnetIds=list(at["subnetIds"]))["Subnets"]
        if len({one["AvailabilityZone"] for one in subnets}) < 2:
            raise Refused(INVALID, "Subnets specified must be in at least two different AZs")
        if len({one["VpcId"] for one in subnets}) > 1:
            raise Refused(INVALID, "Subnets specified must belong to the same VPC")
        text = inputs.get("kubernetesNetworkConfig", {}).get("serviceIpv4Cidr")
        vpc = aws("ec2").describe_vpcs(VpcIds=[subnets[0]["VpcId"]])["Vpcs"][0]["CidrBlock"]
        if text and ipaddress.IPv4Network(text).overlaps(ipaddress.IPv4Network(vpc)):
            raise Refused(INVALID, f"serviceIpv4Cidr {text} overlaps with the VPC's {vpc}")

    def read(self, aws: Aws, identity: str) -> Properties | None:
        row = found(lambda: aws("eks").describe_cluster(name=identity)["cluster"])
        if row is None or row["status"] == "DELETING":
            return None
        at, network = row["resourcesVpcConfig"], row.get("kubernetesNetworkConfig", {})
        vpc = put(
            {
                "subnetIds": at["subnetIds"],
                "endpointPublicAccess": at["endpointPublicAccess"],
                "endpointPrivateAccess": at["endpointPrivateAccess"],
                "clusterSecurityGroupId": at.get("clusterSecurityGroupId", ""),
                "vpcId": at.get("vpcId", ""),
            },
            securityGroupIds=at.get("securityGroupIds"),
            publicAccessCidrs=at.get("publicAccessCidrs"),
        )
        logs = [
            name
            for one in row.get("logging", {}).get("clusterLogging", ())
            if one["enabled"]
            for name in one["types"]
        ]
        encryption = row.get("encryptionConfig") or [None]
        access = row.get("accessConfig", {})
        return put(
            {
                "name": row["name"],
                "arn": row["arn"],
                "roleArn": row["roleArn"],
                "version": row["version"],
                "status": row["status"],
                "endpoint": row["endpoint"],
                "certificateAuthority": {"data": row["certificateAuthority"]["data"]},
                "identities": [{"oidcs": [{"issuer": row["identity"]["oidc"]["issuer"]}]}],
                "vpcConfig": vpc,
                "deletionProtection": bool(row.get("deletionProtection")),
            },
            accessConfig=put({}, authenticationMode=access.get("authenticationMode")),
            kubernetesNetworkConfig=put(
                {}, ipFamily=network.get("ipFamily"), serviceIpv4Cidr=network.get("serviceIpv4Cidr")
            ),
            enabledClusterLogTypes=logs,
            encryptionConfig=encryption[0],
            upgradePolicy=row.get("upgradePolicy"),
            tags=row.get("tags"),
        )

    def update(self, aws: Aws, identity: str, inputs: Inputs, changed: set[str]) -> None:
        eks = aws("eks")
        first = {path.partition(".")[0] for path in changed}
        if "version" in first:
            eks.update_cluster_version(name=identity, version=inputs["version"])
        asked: list[Properties] = []
        if "vpcConfig" in first:
            at = inputs["vpcConfig"]
            names = ("subnetIds", "endpointPublicAccess", "endpointPrivateAccess", "securityGroupIds")
            config = {name: at[name] for name in names if name in at}
            asked.append({"resourcesVpcConfig": config})
        if "enabledClusterLogTypes" in first:
            asked.append({"logging": _logging(inputs.get("enabledClusterLogTypes", []))})
        if "accessConfig" in first:
            mode = inputs["accessConfig"]["authenticationMode"]
            asked.append({"accessConfig": {"authenticationMode": mode}})
        if "upgradePolicy" in first:
            asked.append({"upgradePolicy": inputs["upgradePolicy"]})
        if "deletionProtection" in first:
            asked.append({"deletionProtection": bool(inputs.get("deletionProtection"))})
        for one in asked:  # AWS takes one kind of change a call
            eks.update_cluster_config(name=identity, **one)
        if "tags" in first:
            row = eks.describe_cluster(name=identity)["cluster"]
            retag(aws, row["arn"], row.get("tags", {}), inputs.get("tags"))

    def delete(self, aws: Aws, identity: str, state: Inputs) -> None:
        found(lambda: aws("eks").delete_cluster(name=identity))

    def pretend(self, inputs: Inputs, identity: str) -> Properties:
        name = inputs.get("name", "")
        return {
            "arn": f"arn:aws:eks:{REGION}:{ACCOUNT}:cluster/{name}",
            "endpoint": f"https://{name}.gr7.{REGION}.eks.amazonaws.com",
            "status": "ACTIVE",
            "certificateAuthority": {"data": "TUFERQ=="},
            "identities": [{"oidcs": [{"issuer": f"https://oidc.eks.{REGION}.amazonaws.com/id/{name}"}]}],
            "vpcConfig": {"clusterSecurityGroupId": f"sg-{name}", "vpcId": "vpc-made"},
        }


def _serves(text: str) -> bool:
    try:
        network = ipaddress.IPv4Network(text)
    except ValueError:
        return False
    return 12 <= network.prefixlen <= 24 and any(network.subnet_of(each) for each in _SERVICES)


@register("aws:eks/nodeGroup:NodeGroup")
class NodeGroup(Handler):
    """Machines that EKS starts and replaces."""

    replace = paths(
        "clusterName nodeGroupName nodeGroupNamePrefix nodeRoleArn subnetIds amiType capacityType diskSize"
        " instanceTypes remoteAccess launchTemplate.id launchTemplate.name"
    )
    computed = paths("arn resources status launchTemplate.name")
    decided = paths("version releaseVersion amiType capacityType diskSize instanceTypes updateConfig")
    unread = paths("forceUpdateVersion")
    unordered = paths("subnetIds taints")
    free = paths("tags labels")
    delete_before_replace = True
    named = "nodeGroupName"

    def key(self, inputs: Inputs) -> str:
        return f"{inputs['clusterName']}:{inputs['nodeGroupName']}"

    def check(self, inputs: Inputs, region: str) -> Iterator[str]:
        if not _GROUP_NAME.fullmatch(inputs.get("nodeGroupName", "")):
            yield f"{INVALID}: `{inputs.get('nodeGroupName')}` is no name of a node group: at most 63"
        size = {name: int(number) for name, number in inputs["scalingConfig"].items()}
        least, wanted, most = (size.get(name, 0) for name in ("minSize", "desiredSize", "maxSize"))
        if not 0 <= least <= wanted <= most:
            yield f"{INVALID}: Minimum capacity {least} <= desired {wanted} <= maximum {most} does not hold"
        if most < 1:
            yield f"{INVALID}: maxSize is at least 1"
        for one in inputs.get("taints", ()):
            if one.get("effect") not in _EFFECTS:
                yield f"{INVALID}: {one.get('effect')} is no effect of a taint"
        if inputs.get("launchTemplate") and (inputs.get("diskSize") or inputs.get("remoteAccess")):
            yield f"{INVALID}: Disk size must be specified within the launch template"
        together = inputs.get("updateConfig", {})
        if together.get("maxUnavailable") and together.get("maxUnavailablePercentage"):
            yield f"{INVALID}: maxUnavailable and maxUnavailablePercentage exclude each other"

    def create(self, aws: Aws, inputs: Inputs) -> str:
        if not trusts(aws, inputs["nodeRoleArn"], "ec2.amazonaws.com"):
            raise Refused(
                INVALID, f"The node role {inputs['nodeRoleArn']} cannot be assumed by ec2.amazonaws.com"
            )
        cluster = aws("eks").describe_cluster(name=inputs["clusterName"])["cluster"]
        rows = aws("ec2").describe_subnets(SubnetIds=list(inputs["subnetIds"]))["Subnets"]
        if {one["VpcId"] for one in rows} != {cluster["resourcesVpcConfig"].get("vpcId")}:
            raise Refused(INVALID, "the subnets of a node group are in the VPC of its cluster")
        if inputs.get("version") and inputs["version"] != cluster["version"]:
            raise Refused(
                INVALID,
                f"Requested Nodegroup kubernetes version {inputs['version']} is not {cluster['version']}",
            )
        template = inputs.get("launchTemplate")
        if template:
            aws("ec2").describe_launch_template_versions(
                LaunchTemplateId=template["id"], Versions=[str(template["version"])]
            )
        about = put(
            {name: inputs[name] for name in ("version", "releaseVersion", "amiType") if inputs.get(name)},
            instanceTypes=inputs.get("instanceTypes"),
            capacityType=inputs.get("capacityType"),
            diskSize=inputs.get("diskSize"),
            labels=inputs.get("labels"),
            taints=inputs.get("taints"),
            launchTemplate=template and {"id": template["id"], "version": str(template["version"])},
            updateConfig=inputs.get("updateConfig"),
            tags=inputs.get("tags"),
        )
        aws("eks").create_nodegroup(
            clusterName=inputs["clusterName"],
            nodegroupName=inputs["nodeGroupName"],
            nodeRole=inputs["nodeRoleArn"],
            subnets=list(inputs["subnetIds"]),
            scalingConfig={name: int(number) for name, number in inputs["scalingConfig"].items()},
            **about,
        )
        return self.key(inputs)

    def read(self, aws: Aws, identity: str) -> Properties | None:
        cluster, _, name = identity.partition(":")
        row = found(
            lambda: aws("eks").describe_nodegroup(clusterName=cluster, nodegroupName=name)["nodegroup"]
        )
        if row is None:
            return None
        template = row.get("launchTemplate")
        groups = [{"name": one["name"]} for one in row.get("resources", {}).get("autoScalingGroups", ())]
        return put(
            {
                "arn": row["nodegroupArn"],
                "clusterName": cluster,
                "nodeGroupName": name,
                "nodeRoleArn": row["nodeRole"],
                "subnetIds": row["subnets"],
                "scalingConfig": {
                    size: int(row["scalingConfig"][size]) for size in ("minSize", "maxSize", "desiredSize")
                },
                "status": row["status"],
                "version": row["version"],
                "releaseVersion": row["releaseVersion"],
                "amiType": row["amiType"],
                "capacityType": row["capacityType"],
                "instanceTypes": row["instanceTypes"],
                "resources": [{"autoscalingGroups": groups}],
            },
            diskSize=None if template else row.get("diskSize"),
            launchTemplate=template
            and {name: template[name] for name in ("id", "version", "name") if name in template},
            labels=row.get("labels"),
            taints=[put({}, **one) for one in row.get("taints", ())],
            updateConfig=row.get("updateConfig"),
            tags=row.get("tags"),
        )

    def update(self, aws: Aws, identity: str, inputs: Inputs, changed: set[str]) -> None:
        cluster, _, name = identity.partition(":")
        which = {"clusterName": cluster, "nodegroupName": name}
        live = self.read(aws, identity) or {}
        first = {path.partition(".")[0] for path in changed}
        if first & {"version", "releaseVersion", "launchTemplate"}:
            template = inputs.get("launchTemplate")
            asked = put(
                {},
                version=inputs.get("version"),
                releaseVersion=inputs.get("releaseVersion"),
                launchTemplate=template and {"id": template["id"], "version": str(template["version"])},
                force=bool(inputs.get("forceUpdateVersion")) or None,
            )
            aws("eks").update_nodegroup_version(**which, **asked)
        asked = {}
        if "scalingConfig" in first:
            asked["scalingConfig"] = {size: int(number) for size, number in inputs["scalingConfig"].items()}
        if "updateConfig" in first:
            asked["updateConfig"] = inputs["updateConfig"]
        if "labels" in first:
            wanted, before = inputs.get("labels") or {}, live.get("labels", {})
            asked["labels"] = put(
                {}, addOrUpdateLabels=wanted, removeLabels=sorted(before.keys() - wanted.keys())
            )
        if "taints" in first:
            wanted_taints = list(inputs.get("taints", ()))
            dropped = [one for one in live.get("taints", ()) if one not in wanted_taints]
            asked["taints"] = put({}, addOrUpdateTaints=wanted_taints, removeTaints=dropped)
        if asked:
            aws("eks").update_nodegroup_config(**which, **asked)
        if "tags" in first:
            retag(aws, live["arn"], live.get("tags", {}), inputs.get("tags"))

    def delete(self, aws: Aws, identity: str, state: Inputs) -> None:
        cluster, _, name = identity.partition(":")
        found(lambda: aws("eks").delete_nodegroup(clusterName=cluster, nodegroupName=name))

    def pretend(self, inputs: Inputs, identity: str) -> Properties:
        where = f"{inputs.get('clusterName')}/{inputs.get('nodeGroupName')}"
        group = {"name": f"eks-{inputs.get('nodeGroupName')}"}
        return {
            "arn": f"arn:aws:eks:{REGION}:{ACCOUNT}:nodegroup/{where}/made",
            "status": "ACTIVE",
            "resources": [{"autoscalingGroups": [group]}],
        }
