"""Private zones of names."""

from collections.abc import Iterator
from typing import Any

from tests.emulated.handlers.handler import (
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
    tag_list,
    tag_map,
)

_OWN = {"NS", "SOA"}


@register("aws:route53/zone:Zone")
class Zone(Handler):
    """A zone that answers inside its VPCs."""

    replace = paths("name delegationSetId")
    computed = paths("arn zoneId nameServers primaryNameServer")
    unread = paths("forceDestroy")
    unordered = paths("vpcs")
    defaults = fixed({"comment": "Managed by Pulumi"})
    named = "name"

    def check(self, inputs: Inputs, region: str) -> Iterator[str]:
        labels = inputs.get("name", "").rstrip(".").split(".")
        if not all(0 < len(label) <= 63 for label in labels) or len(inputs.get("name", "")) > 255:
            yield f"InvalidDomainName: `{inputs.get('name')}` is no domain"
        if len(inputs.get("comment", "")) > 256:
            yield "InvalidInput: a comment has at most 256 characters"
        if not inputs.get("vpcs"):
            yield "a zone of a cell is private: it names a VPC"

    def create(self, aws: Aws, inputs: Inputs) -> str:
        for one in inputs["vpcs"]:
            aws("ec2").describe_vpcs(VpcIds=[one["vpcId"]])
            for row in aws("route53").list_hosted_zones_by_vpc(
                VPCId=one["vpcId"], VPCRegion=one.get("vpcRegion", aws.region)
            )["HostedZoneSummaries"]:
                if row["Name"].rstrip(".") == inputs["name"].rstrip("."):
                    raise Refused("ConflictingDomainExists", f"{one['vpcId']} has the zone {row['Name']}")
        first = inputs["vpcs"][0]
        comment = inputs.get("comment", self.defaults["comment"])
        made = aws("route53").create_hosted_zone(
            Name=inputs["name"],
            CallerReference=f"{inputs['name']}-{first['vpcId']}",
            VPC={"VPCId": first["vpcId"], "VPCRegion": first.get("vpcRegion", aws.region)},
            HostedZoneConfig={"Comment": comment, "PrivateZone": True},
        )["HostedZone"]["Id"]
        identity = str(made.rpartition("/")[2])
        for one in inputs["vpcs"][1:]:
            self._join(aws, identity, one)
        self._tag(aws, identity, inputs.get("tags") or {})
        return identity

    def _join(self, aws: Aws, identity: str, one: Any) -> None:
        where = {"VPCId": one["vpcId"], "VPCRegion": one.get("vpcRegion", aws.region)}
        aws("route53").associate_vpc_with_hosted_zone(HostedZoneId=identity, VPC=where)

    def _tags(self, aws: Aws, identity: str) -> dict[str, str]:
        answer = aws("route53").list_tags_for_resource(ResourceType="hostedzone", ResourceId=identity)
        return tag_map(answer["ResourceTagSet"]["Tags"])

    def _tag(self, aws: Aws, identity: str, wanted: dict[str, str]) -> None:
        dropped = sorted(self._tags(aws, identity).keys() - wanted.keys())
        asked = put({}, AddTags=tag_list(wanted), RemoveTagKeys=dropped)
        if asked:
            aws("route53").change_tags_for_resource(ResourceType="hostedzone", ResourceId=identity, **asked)

    def read(self, aws: Aws, identity: str) -> Properties | None:
        answer = found(lambda: aws("route53").get_hosted_zone(Id=identity))
        if answer is None:
            return None
        row = answer["HostedZone"]
        return put(
            {
                "arn": f"arn:aws:route53:::hostedzone/{identity}",
                "zoneId": identity,
                "name": row["Name"].rstrip("."),
                "comment": row["Config"].get("Comment", ""),
                "vpcs": [
                    {"vpcId": one["VPCId"], "vpcRegion": one["VPCRegion"]} for one in answer.get("VPCs", ())
                ],
            },
            tags=self._tags(aws, identity),
        )

    def update(self, aws: Aws, identity: str, inputs: Inputs, changed: set[str]) -> None:
        if "comment" in changed:
            aws("route53").update_hosted_zone_comment(Id=identity, Comment=inputs.get("comment", ""))
        if "vpcs" in changed:
            there = {one["vpcId"] for one in (self.read(aws, identity) or {}).get("vpcs", ())}
            wanted = {one["vpcId"]: one for one in inputs["vpcs"]}
            for name in sorted(wanted.keys() - there):
                self._join(aws, identity, wanted[name])
            for name in sorted(there - wanted.keys()):
                where = {"VPCId": name, "VPCRegion": aws.region}
                aws("route53").disassociate_vpc_from_hosted_zone(HostedZoneId=identity, VPC=where)
        if "tags" in changed:
            self._tag(aws, identity, inputs.get("tags") or {})

    def delete(self, aws: Aws, identity: str, state: Inputs) -> None:
        rows = found(lambda: aws("route53").list_resource_record_sets(HostedZoneId=identity))
        if rows is None:
            return
        left = [row for row in rows["ResourceRecordSets"] if row["Type"] not in _OWN]
        if left and state.get("forceDestroy"):
            changes = [{"Action": "DELETE", "ResourceRecordSet": row} for row in left]
            aws("route53").change_resource_record_sets(
                HostedZoneId=identity, ChangeBatch={"Changes": changes}
            )
        elif left:
            raise Refused("HostedZoneNotEmpty", f"the zone {identity} has {left[0]['Name']}")
        aws("route53").delete_hosted_zone(Id=identity)

    def pretend(self, inputs: Inputs, identity: str) -> Properties:
        return {"arn": f"arn:aws:route53:::hostedzone/{identity}", "zoneId": identity}
