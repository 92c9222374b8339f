"""Endpoints of AWS's services in a VPC, and its flow logs."""

import json
import re
from collections.abc import Iterator

from tests.emulated.handlers.ec2_network import only
from tests.emulated.handlers.ec2_tags import Ec2Handler, given
from tests.emulated.handlers.handler import (
    Aws,
    Inputs,
    Properties,
    Refused,
    fixed,
    found,
    paths,
    put,
    register,
    tag_map,
)

_PRIVATE_LINK = re.compile(r"com\.amazonaws\.vpce\.[a-z0-9-]+\.vpce-svc-[0-9a-f]{8,17}")
_LISTS = {"subnetIds": "SubnetIds", "securityGroupIds": "SecurityGroupIds", "routeTableIds": "RouteTableIds"}
# The emulation's list ends in 2021; the service that gives pods their credentials is of 2023.
_NEWER = ("eks-auth", "eks")


@register("aws:ec2/vpcEndpoint:VpcEndpoint")
class VpcEndpoint(Ec2Handler):
    """A way to a service that does not leave the VPC."""

    replace = paths("vpcId serviceName vpcEndpointType")
    computed = paths("arn dnsEntries networkInterfaceIds ownerId prefixListId requesterManaged state")
    decided = paths("policy")
    unordered = paths("subnetIds securityGroupIds routeTableIds")
    documents = paths("policy")
    defaults = fixed({"vpcEndpointType": "Gateway"})

    def check(self, inputs: Inputs, region: str) -> Iterator[str]:
        kind = inputs.get("vpcEndpointType", "Gateway")
        service = inputs.get("serviceName", "")
        if not service.startswith((f"com.amazonaws.{region}.", f"com.amazonaws.vpce.{region}.")):
            yield f"InvalidServiceName: the service '{service}' does not exist in {region}"
        wrong = {"Gateway": ("subnetIds", "securityGroupIds"), "Interface": ("routeTableIds",)}.get(kind, ())
        for name in wrong:
            if inputs.get(name):
                yield f"InvalidParameter: {name} cannot be given for an endpoint of type {kind}"
        if kind == "Gateway" and inputs.get("privateDnsEnabled"):
            yield "InvalidParameter: private DNS is of interface endpoints only"
        if text := inputs.get("policy"):
            try:
                json.loads(text)
            except ValueError:
                yield "InvalidPolicyDocument: the policy is no JSON"

    def create(self, aws: Aws, inputs: Inputs) -> str:
        name = inputs["serviceName"]
        if not _PRIVATE_LINK.fullmatch(name) and name.rpartition(".")[2] not in _NEWER:
            wanted = aws("ec2").describe_vpc_endpoint_services(ServiceNames=[name])
            if name not in wanted["ServiceNames"]:
                raise Refused("InvalidServiceName", f"the Vpc Endpoint Service '{name}' does not exist")
        for group in inputs.get("securityGroupIds", ()):
            aws("ec2").describe_security_groups(GroupIds=[group])
        if inputs.get("privateDnsEnabled"):
            self._only_one(aws, inputs)
        made = aws("ec2").create_vpc_endpoint(
            VpcId=inputs["vpcId"],
            ServiceName=name,
            VpcEndpointType=inputs.get("vpcEndpointType", "Gateway"),
            PrivateDnsEnabled=bool(inputs.get("privateDnsEnabled")),
            **put({member: inputs[key] for key, member in _LISTS.items() if inputs.get(key)}),
            **put({}, PolicyDocument=inputs.get("policy")),
            **given("vpc-endpoint", inputs),
        )["VpcEndpoint"]
        return str(made["VpcEndpointId"])

    def _only_one(self, aws: Aws, inputs: Inputs) -> None:
        filters = [{"Name": "vpc-id", "Values": [inputs["vpcId"]]}]
        for one in aws("ec2").describe_vpc_endpoints(Filters=filters)["VpcEndpoints"]:
            if (
                one["ServiceName"] == inputs["serviceName"]
                and one.get("PrivateDnsEnabled")
                and one["State"] not in {"deleted", "deleting"}
            ):
                raise Refused(
                    "InvalidParameter",
                    f"private-dns-enabled cannot be set because there is already a conflicting DNS "
                    f"domain for {one['ServiceName']} in the VPC {inputs['vpcId']}",
                )

    def read(self, aws: Aws, identity: str) -> Properties | None:
        row = found(
            lambda: only(aws("ec2").describe_vpc_endpoints(VpcEndpointIds=[identity])["VpcEndpoints"])
        )
        if row is None or row["State"] in {"deleted", "deleting"}:
            return None
        return put(
            {
                "arn": aws.arn("ec2", f"vpc-endpoint/{identity}"),
                "vpcId": row["VpcId"],
                "serviceName": row["ServiceName"],
                "vpcEndpointType": row["VpcEndpointType"],
                "privateDnsEnabled": bool(row.get("PrivateDnsEnabled")),
                "state": row["State"],
            },
            subnetIds=row.get("SubnetIds"),
            routeTableIds=row.get("RouteTableIds"),
            securityGroupIds=[one["GroupId"] for one in row.get("Groups") or ()],
            policy=row.get("PolicyDocument"),
            networkInterfaceIds=row.get("NetworkInterfaceIds"),
            tags=tag_map(row.get("Tags")),
        )

    def update(self, aws: Aws, identity: str, inputs: Inputs, changed: set[str]) -> None:
        live = self.read(aws, identity) or {}
        asked: Properties = {}
        for name, member in _LISTS.items():
            before, after = set(live.get(name, ())), set(inputs.get(name, ()))
            put(asked, **{f"Add{member}": sorted(after - before), f"Remove{member}": sorted(before - after)})
        if "policy" in changed:
            asked["PolicyDocument"] = inputs["policy"]
        if "privateDnsEnabled" in changed:
            asked["PrivateDnsEnabled"] = bool(inputs.get("privateDnsEnabled"))
        if asked:
            aws("ec2").modify_vpc_endpoint(VpcEndpointId=identity, **asked)
        super().update(aws, identity, inputs, changed & {"tags"})

    def delete(self, aws: Aws, identity: str, state: Inputs) -> None:
        found(lambda: aws("ec2").delete_vpc_endpoints(VpcEndpointIds=[identity]))

    def pretend(self, inputs: Inputs, identity: str) -> Properties:
        return super().pretend(inputs, identity) | {"state": "available"}


@register("aws:ec2/flowLog:FlowLog")
class FlowLog(Ec2Handler):
    """A record of who talked to whom in a VPC or subnet."""

    replace = paths(
        "vpcId subnetId eniId trafficType logDestination logDestinationType iamRoleArn logFormat"
        " maxAggregationInterval"
    )
    decided = paths("logFormat")
    defaults = fixed({"logDestinationType": "cloud-watch-logs", "maxAggregationInterval": 600})
    _of = fixed({"vpcId": "VPC", "subnetId": "Subnet", "eniId": "NetworkInterface"})

    def check(self, inputs: Inputs, region: str) -> Iterator[str]:
        if len([name for name in self._of if inputs.get(name)]) != 1:
            yield "InvalidParameter: a flow log is of one VPC, subnet or interface"
        if inputs.get("trafficType") not in {"ALL", "ACCEPT", "REJECT"}:
            yield f"InvalidParameter: traffic type {inputs.get('trafficType')} is not ALL, ACCEPT or REJECT"
        to_logs = inputs.get("logDestinationType", "cloud-watch-logs") == "cloud-watch-logs"
        if to_logs and not inputs.get("iamRoleArn"):
            yield "InvalidParameter: DeliverLogsPermissionArn can't be empty for cloud-watch-logs"
        if not to_logs and inputs.get("iamRoleArn"):
            yield "InvalidParameter: DeliverLogsPermissionArn is for cloud-watch-logs only"

    def create(self, aws: Aws, inputs: Inputs) -> str:
        which = next(name for name in self._of if inputs.get(name))
        if role := inputs.get("iamRoleArn"):
            aws("iam").get_role(RoleName=role.rpartition("/")[2])
        to = inputs["logDestination"]
        # The emulation looks for the log group by its name only.
        where = (
            {"LogGroupName": to.partition(":log-group:")[2].removesuffix(":*")}
            if ":log-group:" in to
            else {"LogDestination": to}
        )
        made = aws("ec2").create_flow_logs(
            ResourceIds=[inputs[which]],
            ResourceType=self._of[which],
            TrafficType=inputs["trafficType"],
            LogDestinationType=inputs.get("logDestinationType", "cloud-watch-logs"),
            **where,
            **put({}, DeliverLogsPermissionArn=inputs.get("iamRoleArn")),
            **put({}, MaxAggregationInterval=inputs.get("maxAggregationInterval")),
            **given("vpc-flow-log", inputs),
        )
        for one in made.get("Unsuccessful", ()):
            raise Refused(one["Error"]["Code"], one["Error"]["Message"])
        return str(made["FlowLogIds"][0])

    def read(self, aws: Aws, identity: str) -> Properties | None:
        row = found(lambda: only(aws("ec2").describe_flow_logs(FlowLogIds=[identity])["FlowLogs"]))
        if row is None:
            return None
        prefixes = {"vpc-": "vpcId", "subnet-": "subnetId", "eni-": "eniId"}
        of = next(name for sign, name in prefixes.items() if row["ResourceId"].startswith(sign))
        group = row.get("LogGroupName")
        return put(
            {
                "arn": aws.arn("ec2", f"vpc-flow-log/{identity}"),
                of: row["ResourceId"],
                "trafficType": row["TrafficType"],
                "logDestinationType": row["LogDestinationType"],
                "logDestination": aws.arn("logs", f"log-group:{group}") if group else row["LogDestination"],
                "maxAggregationInterval": int(row["MaxAggregationInterval"]),
            },
            iamRoleArn=row.get("DeliverLogsPermissionArn"),
            logFormat=row.get("LogFormat"),
            tags=tag_map(row.get("Tags")),
        )

    def delete(self, aws: Aws, identity: str, state: Inputs) -> None:
        found(lambda: aws("ec2").delete_flow_logs(FlowLogIds=[identity]))
