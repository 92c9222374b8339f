"""What a stack says of its cell: written by the root component, read back by bootstrap. Pure.

The invariant: the two sides share this one list, and nothing in it is a secret.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

from byoc.errors import PreconditionFailed


@dataclass(frozen=True, slots=True, kw_only=True)
class CellOutputs:
    """A cell that stands in an account.

    Attributes:
        private_subnets: zone to ID of its private subnet.
        egress_addresses: public addresses by which others see the cell; empty without NAT.
        installer_function: empty where the client is delivered directly.
        bundle_digest: SHA-256 of what was installed in the cluster.
        byoc_version: version of byoc whose program made the cell.
    """

    name: str
    account: str
    region: str
    vpc_id: str
    private_subnets: Mapping[str, str]
    egress_addresses: tuple[str, ...]
    cluster_name: str
    cluster_endpoint: str
    key_arn: str
    data_bucket: str
    ledger_bucket: str
    zone_id: str
    domain: str
    installer_function: str
    gateway_url: str
    bundle_digest: str
    byoc_version: str

    @classmethod
    def from_mapping(cls, outputs: Mapping[str, Any]) -> Self:
        """Return the cell that a stack's outputs tell of; outputs it does not know are left alone.

        Raises:
            PreconditionFailed: an output is missing or of another kind: the stack is no finished cell.
        """
        values: dict[str, Any] = {}
        for each in fields(cls):
            value = outputs.get(camel(each.name))
            if isinstance(value, list):
                value = tuple(value)
            if not isinstance(value, _KINDS.get(each.name, str)):
                raise PreconditionFailed(
                    f"the stack says nothing of `{camel(each.name)}`: it is no finished cell",
                    hint="run `byoc bootstrap` again, it goes on where it stopped",
                )
            values[each.name] = value
        return cls(**values)

    def to_mapping(self) -> dict[str, Any]:
        """Return the stack's outputs, by the names they have there."""
        said = {each.name: getattr(self, each.name) for each in fields(self)}
        return {
            camel(name): list(value) if isinstance(value, tuple) else value for name, value in said.items()
        }


_KINDS: Mapping[str, type | tuple[type, ...]] = {"private_subnets": Mapping, "egress_addresses": tuple}


def camel(name: str) -> str:
    """Return a name of ours as JSON and stacks write it: ``vpc_id`` as ``vpcID``."""
    head, *rest = name.split("_")
    return head + "".join("ID" if word == "id" else word.capitalize() for word in rest)
