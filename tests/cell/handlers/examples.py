"""One example of each type of resource, with what must be there before it; and how each is changed.

``Site`` makes what an example needs by the handlers themselves, once for each test.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.emulated import resources
from tests.emulated.handlers.handler import ACCOUNT, Aws

Json = dict[str, Any]
REGION = "eu-west-1"
ZONES = ("eu-west-1a", "eu-west-1b")
TAGS = {"byoc:cell": "main", "byoc:logical-name": "example"}
CLUSTER_POLICY = "arn:aws:iam::aws:policy/AmazonEKSClusterPolicy"
ADMIN_POLICY = "arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy"
VIEW_POLICY = "arn:aws:eks::aws:cluster-access-policy/AmazonEKSViewPolicy"


def trust(*services: str, actions: tuple[str, ...] = ("sts:AssumeRole",)) -> str:
    """A trust policy for services."""
    statement = {"Effect": "Allow", "Principal": {"Service": list(services)}, "Action": list(actions)}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def policy(action: str = "s3:GetObject", resource: str = "arn:aws:s3:::main/*") -> str:
    """A policy of an identity."""
    statement = {"Effect": "Allow", "Action": [action], "Resource": resource}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def closed_bucket(name: str) -> str:
    """A bucket policy that denies what is not encrypted on its way."""
    statement = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": [f"arn:aws:s3:::{name}", f"arn:aws:s3:::{name}/*"],
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def key_policy() -> str:
    """A key policy that leaves the key to its account."""
    statement = {
        "Effect": "Allow",
        "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"},
        "Action": "kms:*",
        "Resource": "*",
    }
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


@dataclass
class Site:
    """What examples need, made when the first asks for it."""

    aws: Aws
    made: dict[tuple[str, str], tuple[str, Json]] = field(default_factory=dict)

    def make(self, token: str, name: str, inputs: Mapping[str, Any] | None = None) -> tuple[str, Json]:
        """The id and outputs of a thing, which is made when it is not there."""
        if (token, name) not in self.made:
            given = EXAMPLES[token](self) if inputs is None else inputs
            ready = resources.ready(token, name, given, REGION)
            self.made[token, name] = resources.create(self.aws, token, name, ready)
        return self.made[token, name]

    @property
    def vpc(self) -> str:
        return self.make("aws:ec2/vpc:Vpc", "vpc")[0]

    def subnet(self, number: int = 0) -> str:
        inputs = {
            "vpcId": self.vpc,
            "cidrBlock": f"10.0.{16 * number}.0/20",
            "availabilityZone": ZONES[number],
        }
        return self.make("aws:ec2/subnet:Subnet", f"subnet-{number}", inputs)[0]

    def group(self, name: str = "group") -> str:
        inputs = {"name": name, "description": "of a test", "vpcId": self.vpc}
        return self.make("aws:ec2/securityGroup:SecurityGroup", name, inputs)[0]

    @property
    def table(self) -> str:
        return self.make("aws:ec2/routeTable:RouteTable", "table")[0]

    @property
    def door(self) -> str:
        return self.make("aws:ec2/internetGateway:InternetGateway", "door")[0]

    def role(self, name: str, *services: str, actions: tuple[str, ...] = ("sts:AssumeRole",)) -> str:
        """The ARN of a role for services."""
        inputs = {"name": name, "assumeRolePolicy": trust(*services, actions=actions)}
        return str(self.make("aws:iam/role:Role", name, inputs)[1]["arn"])

    @property
    def key(self) -> str:
        return str(self.make("aws:kms/key:Key", "key")[1]["arn"])

    @property
    def bucket(self) -> str:
        return self.make("aws:s3/bucket:Bucket", "bucket")[0]

    @property
    def locked(self) -> str:
        inputs = {"bucket": "main-locked", "objectLockEnabled": True}
        return self.make("aws:s3/bucket:Bucket", "locked", inputs)[0]

    @property
    def log(self) -> str:
        return str(self.make("aws:cloudwatch/logGroup:LogGroup", "log")[1]["arn"])

    @property
    def cluster(self) -> str:
        return self.make("aws:eks/cluster:Cluster", "cluster")[0]

    @property
    def pods(self) -> str:
        actions = ("sts:AssumeRole", "sts:TagSession")
        return self.role("main-pods", "pods.eks.amazonaws.com", actions=actions)

    @property
    def entry(self) -> str:
        self.make("aws:eks/accessEntry:AccessEntry", "entry")
        return self.role("main-admin", "ec2.amazonaws.com")

    @property
    def function(self) -> str:
        return self.make("aws:lambda/function:Function", "function")[0]


def _archive(text: str) -> Json:
    return {"assets": {"main.py": {"text": text}}}


def _machine(site: Site) -> Json:
    image = site.aws("ec2").describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
    return {
        "ami": image,
        "instanceType": "t3.micro",
        "subnetId": site.subnet(),
        "vpcSecurityGroupIds": [site.group()],
        "metadataOptions": {"httpTokens": "required", "httpPutResponseHopLimit": 1},
        "tags": TAGS,
    }


def _endpoint(site: Site) -> Json:
    return {
        "vpcId": site.vpc,
        "serviceName": f"com.amazonaws.{REGION}.ec2",
        "vpcEndpointType": "Interface",
        "subnetIds": [site.subnet(1), site.subnet()],
        "securityGroupIds": [site.group()],
        "privateDnsEnabled": True,
        "tags": TAGS,
    }


def _template(_: Site) -> Json:
    disk = {"volumeType": "gp3", "volumeSize": 50, "encrypted": "true", "deleteOnTermination": "true"}
    return {
        "name": "main-machines",
        "description": "Machines",
        "updateDefaultVersion": True,
        "metadataOptions": {
            "httpEndpoint": "enabled",
            "httpTokens": "required",
            "httpPutResponseHopLimit": 1,
        },
        "blockDeviceMappings": [{"deviceName": "/dev/xvda", "ebs": disk}],
        "tagSpecifications": [
            {"resourceType": kind, "tags": TAGS} for kind in ("volume", "instance", "network-interface")
        ],
        "tags": TAGS,
    }


def _cluster(site: Site) -> Json:
    return {
        "name": "main",
        "roleArn": site.role("main-cluster", "eks.amazonaws.com"),
        "version": "1.34",
        "vpcConfig": {
            "subnetIds": [site.subnet(), site.subnet(1)],
            "endpointPrivateAccess": True,
            "endpointPublicAccess": False,
        },
        "kubernetesNetworkConfig": {"ipFamily": "ipv4", "serviceIpv4Cidr": "172.20.0.0/16"},
        "accessConfig": {"authenticationMode": "API", "bootstrapClusterCreatorAdminPermissions": False},
        "encryptionConfig": {"provider": {"keyArn": site.key}, "resources": ["secrets"]},
        "enabledClusterLogTypes": ["scheduler", "api", "audit"],
        "upgradePolicy": {"supportType": "STANDARD"},
        "bootstrapSelfManagedAddons": False,
        "deletionProtection": False,
        "tags": TAGS,
    }


def _group(site: Site) -> Json:
    template, outputs = site.make("aws:ec2/launchTemplate:LaunchTemplate", "template")
    return {
        "clusterName": site.cluster,
        "nodeGroupName": "main-system",
        "nodeRoleArn": site.role("main-node", "ec2.amazonaws.com"),
        "subnetIds": [site.subnet(1), site.subnet()],
        "instanceTypes": ["m7g.large"],
        "amiType": "AL2023_ARM_64_STANDARD",
        "capacityType": "ON_DEMAND",
        "version": "1.34",
        "releaseVersion": "1.34.1-20260101",
        "scalingConfig": {"minSize": 0, "desiredSize": 0, "maxSize": 4},
        "updateConfig": {"maxUnavailable": 1},
        "labels": {"byoc.dev/group": "system"},
        "taints": [{"key": "byoc.dev/system", "value": "true", "effect": "NO_SCHEDULE"}],
        "launchTemplate": {"id": template, "version": str(outputs["latestVersion"])},
        "tags": TAGS,
    }


def _hint(site: Site) -> Json:
    _, outputs = site.make("aws:eks/nodeGroup:NodeGroup", "nodes")
    group = outputs["resources"][0]["autoscalingGroups"][0]["name"]
    tag = {"key": "k8s.io/cluster-autoscaler/x", "value": "1", "propagateAtLaunch": False}
    return {"autoscalingGroupName": group, "tag": tag}


def _function(site: Site) -> Json:
    return {
        "name": "main-installer",
        "description": "Installs",
        "runtime": "python3.13",
        "handler": "main.handler",
        "code": _archive("def handler(event, context): return event"),
        "role": site.role("main-function", "lambda.amazonaws.com"),
        "timeout": 120,
        "memorySize": 256,
        "reservedConcurrentExecutions": 1,
        "environment": {"variables": {"BYOC_CELL": "main"}},
        "vpcConfig": {"subnetIds": [site.subnet(1), site.subnet()], "securityGroupIds": [site.group()]},
        "tags": TAGS,
    }


def _rule(site: Site) -> Json:
    return {
        "securityGroupId": site.group(),
        "description": "HTTPS",
        "ipProtocol": "tcp",
        "fromPort": 443,
        "toPort": 443,
        "cidrIpv4": "10.0.0.0/16",
        "tags": TAGS,
    }


def _lifecycle(site: Site) -> Json:
    rule = {
        "id": "old",
        "status": "Enabled",
        "filter": {"prefix": ""},
        "noncurrentVersionExpiration": {"noncurrentDays": 30},
        "expiration": {"expiredObjectDeleteMarker": True},
        "abortIncompleteMultipartUpload": {"daysAfterInitiation": 7},
    }
    return {"bucket": site.bucket, "rules": [rule]}


def _encryption(site: Site) -> Json:
    way = {"sseAlgorithm": "aws:kms", "kmsMasterKeyId": site.key}
    return {
        "bucket": site.bucket,
        "rules": [{"applyServerSideEncryptionByDefault": way, "bucketKeyEnabled": True}],
    }


def _nat(site: Site) -> Json:
    address, _ = site.make("aws:ec2/eip:Eip", "address")
    return {"subnetId": site.subnet(), "allocationId": address, "tags": TAGS}


def _attachment(site: Site) -> Json:
    site.role("main-cluster", "eks.amazonaws.com")
    return {"role": "main-cluster", "policyArn": CLUSTER_POLICY}


def _own_policy(site: Site) -> Json:
    site.role("main-cluster", "eks.amazonaws.com")
    return {"role": "main-cluster", "name": "own", "policy": policy()}


def _profile(site: Site) -> Json:
    site.role("main-machine", "ec2.amazonaws.com")
    return {"name": "main-machine", "role": "main-machine", "tags": TAGS}


def _association(site: Site) -> Json:
    return {
        "clusterName": site.cluster,
        "principalArn": site.entry,
        "policyArn": ADMIN_POLICY,
        "accessScope": {"type": "cluster"},
    }


def _flow_log(site: Site) -> Json:
    return {
        "vpcId": site.vpc,
        "trafficType": "ALL",
        "logDestinationType": "cloud-watch-logs",
        "logDestination": site.log,
        "iamRoleArn": site.role("main-flow", "vpc-flow-logs.amazonaws.com"),
        "tags": TAGS,
    }


def _invocation(site: Site) -> Json:
    asked = json.dumps({"op": "install", "bundle": "one"})
    return {"functionName": site.function, "input": asked, "lifecycleScope": "CRUD"}


EXAMPLES: Mapping[str, Callable[[Site], Json]] = {
    "aws:autoscaling/tag:Tag": _hint,
    "aws:cloudwatch/logGroup:LogGroup": lambda site: {
        "name": "/byoc/main/example",
        "retentionInDays": 30,
        "kmsKeyId": site.key,
        "tags": TAGS,
    },
    "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup": lambda site: {
        "vpcId": site.vpc,
        "ingress": [],
        "egress": [],
        "tags": TAGS,
    },
    "aws:ec2/eip:Eip": lambda _: {"domain": "vpc", "tags": TAGS},
    "aws:ec2/flowLog:FlowLog": _flow_log,
    "aws:ec2/instance:Instance": _machine,
    "aws:ec2/internetGateway:InternetGateway": lambda site: {"vpcId": site.vpc, "tags": TAGS},
    "aws:ec2/launchTemplate:LaunchTemplate": _template,
    "aws:ec2/natGateway:NatGateway": _nat,
    "aws:ec2/route:Route": lambda site: {
        "routeTableId": site.table,
        "destinationCidrBlock": "0.0.0.0/0",
        "gatewayId": site.door,
    },
    "aws:ec2/routeTable:RouteTable": lambda site: {"vpcId": site.vpc, "tags": TAGS},
    "aws:ec2/routeTableAssociation:RouteTableAssociation": lambda site: {
        "routeTableId": site.table,
        "subnetId": site.subnet(),
    },
    "aws:ec2/securityGroup:SecurityGroup": lambda site: {
        "name": "main-example",
        "description": "Endpoints: HTTPS",
        "vpcId": site.vpc,
        "tags": TAGS,
    },
    "aws:ec2/subnet:Subnet": lambda site: {
        "vpcId": site.vpc,
        "cidrBlock": "10.0.64.0/20",
        "availabilityZone": ZONES[0],
        "mapPublicIpOnLaunch": False,
        "tags": TAGS,
    },
    "aws:ec2/vpc:Vpc": lambda _: {
        "cidrBlock": "10.0.0.0/16",
        "enableDnsHostnames": True,
        "enableDnsSupport": True,
        "tags": TAGS,
    },
    "aws:ec2/vpcEndpoint:VpcEndpoint": _endpoint,
    "aws:eks/accessEntry:AccessEntry": lambda site: {
        "clusterName": site.cluster,
        "principalArn": site.role("main-admin", "ec2.amazonaws.com"),
        "type": "STANDARD",
        "kubernetesGroups": ["viewers", "admins"],
        "tags": TAGS,
    },
    "aws:eks/accessPolicyAssociation:AccessPolicyAssociation": _association,
    "aws:eks/addon:Addon": lambda site: {
        "clusterName": site.cluster,
        "addonName": "vpc-cni",
        "configurationValues": '{"enableNetworkPolicy": "true"}',
        "resolveConflictsOnCreate": "OVERWRITE",
        "resolveConflictsOnUpdate": "OVERWRITE",
        "tags": TAGS,
    },
    "aws:eks/cluster:Cluster": _cluster,
    "aws:eks/nodeGroup:NodeGroup": _group,
    "aws:eks/podIdentityAssociation:PodIdentityAssociation": lambda site: {
        "clusterName": site.cluster,
        "namespace": "byoc-system",
        "serviceAccount": "agent",
        "roleArn": site.pods,
        "tags": TAGS,
    },
    "aws:iam/instanceProfile:InstanceProfile": _profile,
    "aws:iam/openIdConnectProvider:OpenIdConnectProvider": lambda _: {
        "url": f"https://oidc.eks.{REGION}.amazonaws.com/id/0123456789ABCDEF0123456789ABCDEF",
        "clientIdLists": ["sts.amazonaws.com"],
        "tags": TAGS,
    },
    "aws:iam/policy:Policy": lambda _: {
        "name": "main-boundary",
        "path": "/byoc/",
        "description": "Boundary",
        "policy": policy(),
        "tags": TAGS,
    },
    "aws:iam/role:Role": lambda site: {
        "name": "main-example",
        "assumeRolePolicy": trust("eks.amazonaws.com"),
        "permissionsBoundary": site.make("aws:iam/policy:Policy", "boundary")[0],
        "description": "Of a test",
        "tags": TAGS,
    },
    "aws:iam/rolePolicy:RolePolicy": _own_policy,
    "aws:iam/rolePolicyAttachment:RolePolicyAttachment": _attachment,
    "aws:kms/alias:Alias": lambda site: {
        "name": "alias/byoc-main",
        "targetKeyId": site.make("aws:kms/key:Key", "key")[0],
    },
    "aws:kms/key:Key": lambda _: {
        "description": "Of a test",
        "policy": key_policy(),
        "enableKeyRotation": True,
        "rotationPeriodInDays": 180,
        "deletionWindowInDays": 7,
        "tags": TAGS,
    },
    "aws:lambda/function:Function": _function,
    "aws:lambda/invocation:Invocation": _invocation,
    "aws:route53/zone:Zone": lambda site: {
        "name": "main.byoc.internal",
        "comment": "SQL endpoints",
        "vpcs": [{"vpcId": site.vpc, "vpcRegion": REGION}],
        "forceDestroy": True,
        "tags": TAGS,
    },
    "aws:s3/bucket:Bucket": lambda _: {"bucket": "main-data", "tags": TAGS},
    "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration": _lifecycle,
    "aws:s3/bucketObjectLockConfiguration:BucketObjectLockConfiguration": lambda site: {
        "bucket": site.locked,
        "rule": {"defaultRetention": {"mode": "GOVERNANCE", "days": 365}},
    },
    "aws:s3/bucketOwnershipControls:BucketOwnershipControls": lambda site: {
        "bucket": site.bucket,
        "rule": {"objectOwnership": "BucketOwnerEnforced"},
    },
    "aws:s3/bucketPolicy:BucketPolicy": lambda site: {
        "bucket": site.bucket,
        "policy": closed_bucket(site.bucket),
    },
    "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock": lambda site: {
        "bucket": site.bucket,
        "blockPublicAcls": True,
        "blockPublicPolicy": True,
        "ignorePublicAcls": True,
        "restrictPublicBuckets": True,
    },
    "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration": _encryption,
    "aws:s3/bucketVersioning:BucketVersioning": lambda site: {
        "bucket": site.bucket,
        "versioningConfiguration": {"status": "Enabled"},
    },
    "aws:ssm/parameter:Parameter": lambda _: {
        "name": "/byoc/main/record",
        "type": "SecureString",
        "value": '{"version": "0.1.0"}',
        "description": "Record",
        "tags": TAGS,
    },
    "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule": _rule,
    "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule": lambda site: {
        **{name: value for name, value in _rule(site).items() if name != "cidrIpv4"},
        "referencedSecurityGroupId": site.group("other"),
    },
}
"""Type to the inputs of an example."""

OTHER_TAGS = {"byoc:cell": "main", "owner": "somebody"}
_RETAGGED = {"tags": OTHER_TAGS}
CHANGES: Mapping[str, tuple[Json, ...]] = {
    "aws:autoscaling/tag:Tag": (
        {"tag": {"key": "k8s.io/cluster-autoscaler/x", "value": "2", "propagateAtLaunch": False}},
    ),
    "aws:cloudwatch/logGroup:LogGroup": ({"retentionInDays": 90}, {"retentionInDays": 0}, _RETAGGED),
    "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup": (_RETAGGED,),
    "aws:ec2/eip:Eip": (_RETAGGED,),
    "aws:ec2/flowLog:FlowLog": (_RETAGGED,),
    "aws:ec2/instance:Instance": (_RETAGGED,),
    "aws:ec2/internetGateway:InternetGateway": (_RETAGGED, {"tags": {}}),
    "aws:ec2/launchTemplate:LaunchTemplate": (
        {"metadataOptions": {"httpTokens": "required", "httpPutResponseHopLimit": 2}},
        _RETAGGED,
    ),
    "aws:ec2/natGateway:NatGateway": (_RETAGGED,),
    "aws:ec2/routeTable:RouteTable": (_RETAGGED,),
    "aws:ec2/securityGroup:SecurityGroup": (_RETAGGED,),
    "aws:ec2/subnet:Subnet": ({"mapPublicIpOnLaunch": True}, _RETAGGED),
    "aws:ec2/vpc:Vpc": ({"enableDnsHostnames": False}, _RETAGGED),
    "aws:ec2/vpcEndpoint:VpcEndpoint": (_RETAGGED,),
    "aws:eks/accessEntry:AccessEntry": ({"kubernetesGroups": ["viewers"]}, _RETAGGED),
    "aws:eks/addon:Addon": ({"configurationValues": '{"enableNetworkPolicy": "false"}'}, _RETAGGED),
    "aws:eks/cluster:Cluster": (
        {"version": "1.35"},
        {"enabledClusterLogTypes": ["api"]},
        {"deletionProtection": True},
        {"deletionProtection": False},
        {"upgradePolicy": {"supportType": "EXTENDED"}},
        _RETAGGED,
    ),
    "aws:eks/nodeGroup:NodeGroup": (
        {"scalingConfig": {"minSize": 1, "desiredSize": 2, "maxSize": 6}},
        {"labels": {"byoc.dev/group": "other"}},
        {"taints": []},
        {"releaseVersion": "1.34.2-20260301"},
        {"updateConfig": {"maxUnavailable": 2}},
        _RETAGGED,
    ),
    "aws:eks/podIdentityAssociation:PodIdentityAssociation": (_RETAGGED,),
    "aws:iam/instanceProfile:InstanceProfile": (_RETAGGED,),
    "aws:iam/openIdConnectProvider:OpenIdConnectProvider": ({"thumbprintLists": ["1" * 40]}, _RETAGGED),
    "aws:iam/policy:Policy": ({"policy": policy("s3:PutObject")}, _RETAGGED),
    "aws:iam/role:Role": (
        {"assumeRolePolicy": trust("ec2.amazonaws.com")},
        {"permissionsBoundary": None},
        {"maxSessionDuration": 7200, "description": "Other"},
        _RETAGGED,
    ),
    "aws:iam/rolePolicy:RolePolicy": ({"policy": policy("s3:PutObject")},),
    "aws:kms/key:Key": (
        {"rotationPeriodInDays": 365},
        {"enableKeyRotation": False, "rotationPeriodInDays": None},
        {"description": "Other"},
        _RETAGGED,
    ),
    "aws:lambda/function:Function": (
        {"code": _archive("def handler(event, context): return None")},
        {"timeout": 60, "memorySize": 512, "environment": {"variables": {"BYOC_CELL": "other"}}},
        {"reservedConcurrentExecutions": 2},
        _RETAGGED,
    ),
    "aws:lambda/invocation:Invocation": ({"input": '{"op": "install", "bundle": "two"}'},),
    "aws:route53/zone:Zone": ({"comment": "Other"}, _RETAGGED),
    "aws:s3/bucket:Bucket": (_RETAGGED, {"tags": {}}),
    "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration": (
        {"rules": [{"id": "old", "status": "Enabled", "expiration": {"days": 9}}]},
    ),
    "aws:s3/bucketObjectLockConfiguration:BucketObjectLockConfiguration": (
        {"rule": {"defaultRetention": {"mode": "COMPLIANCE", "years": 1}}},
    ),
    "aws:s3/bucketOwnershipControls:BucketOwnershipControls": (
        {"rule": {"objectOwnership": "BucketOwnerPreferred"}},
    ),
    "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock": ({"blockPublicPolicy": False},),
    "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration": (
        {"rules": [{"applyServerSideEncryptionByDefault": {"sseAlgorithm": "AES256"}}]},
    ),
    "aws:s3/bucketVersioning:BucketVersioning": ({"versioningConfiguration": {"status": "Suspended"}},),
    "aws:ssm/parameter:Parameter": ({"value": '{"version": "0.2.0"}'}, _RETAGGED),
    "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule": (
        {"fromPort": 80, "toPort": 443, "description": "Web"},
        _RETAGGED,
    ),
    "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule": ({"description": "Other"}, _RETAGGED),
}
"""Type to changes of its example that need no new thing."""
