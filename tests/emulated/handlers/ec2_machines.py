"""Launch templates, single machines, and the tags of autoscaling groups."""

import base64
import binascii
from collections.abc import Iterator, Mapping
from typing import Any

from tests.emulated.handlers.ec2_network import only
from tests.emulated.handlers.ec2_tags import Ec2Handler, given, retag, tags_of
from tests.emulated.handlers.handler import (
    Aws,
    Handler,
    Inputs,
    Properties,
    Refused,
    found,
    paths,
    put,
    register,
    tag_list,
    tag_map,
)

_NO_CHANGE = {"tags", "updateDefaultVersion"}
_METADATA = {
    "httpEndpoint": "HttpEndpoint",
    "httpTokens": "HttpTokens",
    "httpPutResponseHopLimit": "HttpPutResponseHopLimit",
    "instanceMetadataTags": "InstanceMetadataTags",
    "httpProtocolIpv6": "HttpProtocolIpv6",
}
_DISK = {
    "volumeType": "VolumeType",
    "volumeSize": "VolumeSize",
    "encrypted": "Encrypted",
    "kmsKeyId": "KmsKeyId",
    "deleteOnTermination": "DeleteOnTermination",
    "iops": "Iops",
    "throughput": "Throughput",
}
_TEXTUAL = {"encrypted", "deleteOnTermination"}  # booleans that the provider takes as texts


def sent(properties: Mapping[str, Any], names: Mapping[str, str]) -> Properties:
    """Properties under the names of AWS's call."""
    made = {}
    for name, member in names.items():
        value = properties.get(name)
        if value not in (None, ""):
            made[member] = value == "true" if name in _TEXTUAL and isinstance(value, str) else value
    return made


def received(row: Mapping[str, Any], names: Mapping[str, str]) -> Properties:
    """Members of an answer under the names of the properties."""
    return {
        name: str(row[member]).lower() if name in _TEXTUAL else row[member]
        for name, member in names.items()
        if row.get(member) not in (None, "")
    }


def metadata_refusals(options: Mapping[str, Any] | None) -> Iterator[str]:
    """What is wrong with the options of the metadata service."""
    given_options = options or {}
    if given_options.get("httpTokens", "required") not in {"required", "optional"}:
        yield f"InvalidParameterValue: httpTokens {given_options['httpTokens']} is not required or optional"
    if not 1 <= int(given_options.get("httpPutResponseHopLimit", 1)) <= 64:
        yield "InvalidParameterValue: the hop limit is from 1 to 64"


@register("aws:ec2/launchTemplate:LaunchTemplate")
class LaunchTemplate(Ec2Handler):
    """What a machine is started with; a change is a new version."""

    replace = paths("name namePrefix")
    computed = paths("arn latestVersion defaultVersion")
    unread = paths("updateDefaultVersion")
    free = paths("tags tagSpecifications.tags")
    unordered = paths("tagSpecifications vpcSecurityGroupIds")
    decided = paths("metadataOptions")
    named = "name"

    def check(self, inputs: Inputs, region: str) -> Iterator[str]:
        if not 3 <= len(inputs.get("name", "")) <= 128:
            yield f"InvalidLaunchTemplateName.MalformedException: `{inputs.get('name')}` is not 3 to 128"
        yield from metadata_refusals(inputs.get("metadataOptions"))
        if text := inputs.get("userData"):
            try:
                base64.b64decode(text, validate=True)
            except (ValueError, binascii.Error):
                yield "InvalidUserData.Malformed: user data is not base64"
        for one in inputs.get("blockDeviceMappings", ()):
            for name in _TEXTUAL & one.get("ebs", {}).keys():
                if one["ebs"][name] not in {"true", "false"}:
                    yield f"InvalidParameterValue: {name} is the text true or false"
            if one.get("ebs", {}).get("kmsKeyId") and one["ebs"].get("encrypted") != "true":
                yield "InvalidParameterDependency: the parameter KmsKeyId requires the parameter Encrypted"

    def create(self, aws: Aws, inputs: Inputs) -> str:
        made = aws("ec2").create_launch_template(
            LaunchTemplateName=inputs["name"],
            LaunchTemplateData=self._data(inputs),
            **put({}, VersionDescription=inputs.get("description")),
            **given("launch-template", inputs),
        )["LaunchTemplate"]
        return str(made["LaunchTemplateId"])

    def _data(self, inputs: Inputs) -> Properties:
        disks = [
            put({"DeviceName": one["deviceName"]}, Ebs=sent(one.get("ebs", {}), _DISK))
            for one in inputs.get("blockDeviceMappings", ())
        ]
        specified = [
            {"ResourceType": one["resourceType"], "Tags": tag_list(one.get("tags"))}
            for one in inputs.get("tagSpecifications", ())
        ]
        return put(
            {},
            MetadataOptions=sent(inputs.get("metadataOptions", {}), _METADATA),
            BlockDeviceMappings=disks,
            TagSpecifications=specified,
            UserData=inputs.get("userData"),
            ImageId=inputs.get("imageId"),
            InstanceType=inputs.get("instanceType"),
            SecurityGroupIds=inputs.get("vpcSecurityGroupIds"),
        )

    def read(self, aws: Aws, identity: str) -> Properties | None:
        row = found(
            lambda: only(
                aws("ec2").describe_launch_templates(LaunchTemplateIds=[identity])["LaunchTemplates"]
            )
        )
        if row is None:
            return None
        version = aws("ec2").describe_launch_template_versions(
            LaunchTemplateId=identity, Versions=["$Latest"]
        )["LaunchTemplateVersions"][0]
        data = version["LaunchTemplateData"]
        disks = [
            put({"deviceName": one["DeviceName"]}, ebs=received(one.get("Ebs", {}), _DISK))
            for one in data.get("BlockDeviceMappings", ())
        ]
        specified = [
            put({"resourceType": one["ResourceType"]}, tags=tag_map(one.get("Tags")))
            for one in data.get("TagSpecifications", ())
            if one["ResourceType"] != "launch-template"  # the emulation adds the template's own
        ]
        return put(
            {
                "arn": aws.arn("ec2", f"launch-template/{identity}"),
                "name": row["LaunchTemplateName"],
                "latestVersion": row["LatestVersionNumber"],
                "defaultVersion": row["DefaultVersionNumber"],
            },
            description=version.get("VersionDescription"),
            metadataOptions=received(data.get("MetadataOptions", {}), _METADATA),
            blockDeviceMappings=disks,
            tagSpecifications=specified,
            userData=data.get("UserData"),
            imageId=data.get("ImageId"),
            instanceType=data.get("InstanceType"),
            vpcSecurityGroupIds=data.get("SecurityGroupIds"),
            # The emulation's answer has the tags the template was made with.
            tags=tags_of(aws, identity),
        )

    def update(self, aws: Aws, identity: str, inputs: Inputs, changed: set[str]) -> None:
        if {path for path in changed if path.partition(".")[0] not in _NO_CHANGE}:
            made = aws("ec2").create_launch_template_version(
                LaunchTemplateId=identity,
                LaunchTemplateData=self._data(inputs),
                **put({}, VersionDescription=inputs.get("description")),
            )["LaunchTemplateVersion"]
            if inputs.get("updateDefaultVersion"):
                number = str(made["VersionNumber"])
                aws("ec2").modify_launch_template(LaunchTemplateId=identity, DefaultVersion=number)
        if "tags" in changed:
            retag(aws, identity, inputs.get("tags"))

    def delete(self, aws: Aws, identity: str, state: Inputs) -> None:
        found(lambda: aws("ec2").delete_launch_template(LaunchTemplateId=identity))

    def pretend(self, inputs: Inputs, identity: str) -> Properties:
        return super().pretend(inputs, identity) | {"latestVersion": 1, "defaultVersion": 1}


@register("aws:ec2/instance:Instance")
class Instance(Ec2Handler):
    """One machine."""

    replace = paths("ami subnetId userData userDataBase64 iamInstanceProfile availabilityZone keyName")
    computed = paths("arn privateIp privateDns publicIp publicDns instanceState primaryNetworkInterfaceId")
    decided = paths("availabilityZone vpcSecurityGroupIds rootBlockDevice instanceInitiatedShutdownBehavior")
    # The emulation keeps none of these; AWS gives user data back by a call of its own.
    unread = paths(
        "userData userDataBase64 userDataReplaceOnChange metadataOptions rootBlockDevice iamInstanceProfile"
        " instanceInitiatedShutdownBehavior associatePublicIpAddress ebsOptimized monitoring volumeTags"
    )
    free = paths("tags volumeTags rootBlockDevice.tags")
    unordered = paths("vpcSecurityGroupIds")

    def check(self, inputs: Inputs, region: str) -> Iterator[str]:
        yield from metadata_refusals(inputs.get("metadataOptions"))
        if not str(inputs.get("ami", "")).startswith("ami-"):
            yield f"InvalidAMIID.Malformed: {inputs.get('ami')} is no image"

    def create(self, aws: Aws, inputs: Inputs) -> str:
        if profile := inputs.get("iamInstanceProfile"):
            aws("iam").get_instance_profile(InstanceProfileName=profile)
        asked = put(
            {},
            SubnetId=inputs.get("subnetId"),
            SecurityGroupIds=inputs.get("vpcSecurityGroupIds"),
            UserData=inputs.get("userData"),
            IamInstanceProfile={"Name": profile} if profile else None,
            MetadataOptions=sent(inputs.get("metadataOptions", {}), _METADATA),
            InstanceInitiatedShutdownBehavior=inputs.get("instanceInitiatedShutdownBehavior"),
        )
        made = aws("ec2").run_instances(
            ImageId=inputs["ami"],
            InstanceType=inputs["instanceType"],
            MinCount=1,
            MaxCount=1,
            **asked,
            **given("instance", inputs),
        )
        return str(made["Instances"][0]["InstanceId"])

    def read(self, aws: Aws, identity: str) -> Properties | None:
        rows = found(lambda: aws("ec2").describe_instances(InstanceIds=[identity])["Reservations"])
        row = only([each for one in rows or () for each in one["Instances"]])
        if row is None or row["State"]["Name"] in {"terminated", "shutting-down"}:
            return None
        interface = only(row.get("NetworkInterfaces")) or {}
        groups = row.get("SecurityGroups") or interface.get("Groups", ())
        return put(
            {
                "arn": aws.arn("ec2", f"instance/{identity}"),
                "ami": row["ImageId"],
                "instanceType": row["InstanceType"],
                "instanceState": row["State"]["Name"],
                "availabilityZone": row["Placement"]["AvailabilityZone"],
                "privateIp": row.get("PrivateIpAddress", ""),
            },
            subnetId=row.get("SubnetId"),
            vpcSecurityGroupIds=[one["GroupId"] for one in groups],
            tags=tag_map(row.get("Tags")),
        )

    def delete(self, aws: Aws, identity: str, state: Inputs) -> None:
        found(lambda: aws("ec2").terminate_instances(InstanceIds=[identity]))

    def pretend(self, inputs: Inputs, identity: str) -> Properties:
        return super().pretend(inputs, identity) | {"privateIp": "10.0.0.9", "instanceState": "running"}


@register("aws:autoscaling/tag:Tag")
class AutoscalingTag(Handler):
    """One tag of a group that somebody else made; the id is group and key."""

    replace = paths("autoscalingGroupName tag.key")
    computed = frozenset()
    free = frozenset()

    def key(self, inputs: Inputs) -> str:
        return f"{inputs['autoscalingGroupName']},{inputs['tag']['key']}"

    def create(self, aws: Aws, inputs: Inputs) -> str:
        group, tag = inputs["autoscalingGroupName"], inputs["tag"]
        rows = aws("autoscaling").describe_auto_scaling_groups(AutoScalingGroupNames=[group])
        if not rows["AutoScalingGroups"]:
            raise Refused("ValidationError", f"No AutoScalingGroup exists with name {group}")
        wanted = {
            "Key": tag["key"],
            "Value": tag["value"],
            "PropagateAtLaunch": bool(tag["propagateAtLaunch"]),
        }
        aws("autoscaling").create_or_update_tags(
            Tags=[{"ResourceId": group, "ResourceType": "auto-scaling-group", **wanted}]
        )
        return f"{group},{tag['key']}"

    def read(self, aws: Aws, identity: str) -> Properties | None:
        group, _, key = identity.partition(",")
        rows = aws("autoscaling").describe_auto_scaling_groups(AutoScalingGroupNames=[group])
        for one in rows["AutoScalingGroups"]:
            for tag in one["Tags"]:
                if tag["Key"] == key:
                    about = {"propagateAtLaunch": bool(tag.get("PropagateAtLaunch"))}
                    return {
                        "autoscalingGroupName": group,
                        "tag": {"key": key, "value": tag["Value"], **about},
                    }
        return None

    def update(self, aws: Aws, identity: str, inputs: Inputs, changed: set[str]) -> None:
        self.create(aws, inputs)

    def delete(self, aws: Aws, identity: str, state: Inputs) -> None:
        group, _, key = identity.partition(",")
        if self.read(aws, identity):
            one = {"ResourceId": group, "ResourceType": "auto-scaling-group", "Key": key}
            aws("autoscaling").delete_tags(Tags=[one])
