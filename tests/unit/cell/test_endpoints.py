"""Endpoints: those a cell needs and the VPC has not; S3's lets data into no foreign bucket."""

import json

from byoc.cell import endpoints
from byoc.cell.args import Gateway, Nat, NewVpc
from tests.unit.cell.examples import ACCOUNT, SERVICE, cell, given_vpc


def test_what_the_vpc_has_is_not_made_again() -> None:
    args = cell(network=given_vpc(endpoints=("s3", "sts", "ec2")))
    assert set(endpoints.missing(args)) == endpoints.INTERFACE.keys() - {"sts", "ec2"}
    assert not endpoints.makes_gateway(args)
    assert endpoints.makes_gateway(cell(network=given_vpc(endpoints=())))


def test_a_cell_without_a_way_out_reaches_session_manager_by_endpoints() -> None:
    closed = cell(
        network=NewVpc(nat=Nat.NONE), gateway=Gateway(url="wss://g.example", endpoint_service=SERVICE)
    )
    assert set(endpoints.missing(closed)) - set(endpoints.missing(cell())) == {"logs", "ssm", "ssmmessages"}


def test_every_endpoint_says_who_needs_it() -> None:
    assert all({**endpoints.INTERFACE, **endpoints.WITHOUT_NAT}.values())


def test_the_way_to_s3_leads_to_the_accounts_own_buckets_and_to_layers_of_images_only() -> None:
    own, layers = json.loads(endpoints.bucket_policy(cell()))["Statement"]
    assert own["Condition"] == {"StringEquals": {"aws:ResourceAccount": ACCOUNT}}
    assert layers["Action"] == "s3:GetObject"
    assert "*" not in layers["Resource"]
    assert all(arn.startswith("arn:aws:s3:::prod-") for arn in layers["Resource"])
