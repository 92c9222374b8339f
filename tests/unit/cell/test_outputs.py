"""What a stack says of its cell is read back as it was written."""

from typing import Any

import pytest

from byoc.cell.outputs import CellOutputs
from byoc.errors import PreconditionFailed

SAID: dict[str, Any] = {
    "name": "main",
    "account": "123456789012",
    "region": "eu-west-1",
    "vpcID": "vpc-1",
    "privateSubnets": {"eu-west-1a": "subnet-1"},
    "egressAddresses": ["192.0.2.1"],
    "clusterName": "byoc-main",
    "clusterEndpoint": "https://cluster.example",
    "keyArn": "arn:aws:kms:eu-west-1:123456789012:key/1",
    "dataBucket": "data",
    "ledgerBucket": "ledger",
    "zoneID": "Z1",
    "domain": "main.byoc.internal",
    "installerFunction": "byoc-main-installer",
    "gatewayUrl": "wss://gateway.example",
    "bundleDigest": "sha256:1",
    "byocVersion": "0.1.0",
}


def test_outputs_are_read_as_they_were_written() -> None:
    read = CellOutputs.from_mapping(SAID)
    assert read.egress_addresses == ("192.0.2.1",)
    assert read.vpc_id == "vpc-1"
    assert read.to_mapping() == SAID


def test_an_output_of_a_later_version_is_left_alone() -> None:
    assert CellOutputs.from_mapping(SAID | {"moreThanWeKnow": 1}).name == "main"


@pytest.mark.parametrize("gone", SAID)
def test_a_stack_that_is_no_finished_cell_is_named_as_such(gone: str) -> None:
    with pytest.raises(PreconditionFailed, match=f"`{gone}`"):
        CellOutputs.from_mapping({name: value for name, value in SAID.items() if name != gone})


def test_an_output_of_another_kind_is_refused() -> None:
    with pytest.raises(PreconditionFailed, match="`privateSubnets`"):
        CellOutputs.from_mapping(SAID | {"privateSubnets": "subnet-1"})
