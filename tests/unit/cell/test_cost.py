"""The estimate: dated, sourced, and a range wherever use decides."""

import json
import re
from decimal import Decimal
from itertools import pairwise

from hypothesis import given

from byoc.cell.args import CellArgs, Gateway, Nat, NewVpc, Nodes
from byoc.cell.cost import estimate, prices
from byoc.model.size import SIZES
from tests.unit.cell.examples import EXAMPLES, SERVICE, cell, cells


def _items(args: CellArgs) -> dict[str, Decimal]:
    return {line.item: line.quantity for line in estimate(args).fixed}


def test_the_table_has_a_date_a_region_and_a_source_for_each_price() -> None:
    table = prices()
    assert re.fullmatch(r"20\d\d-\d\d-\d\d", table["asOf"])
    assert table["region"] == "us-east-1"
    assert all("https://aws.amazon.com/" in one["source"] for one in table["prices"].values())
    assert re.search(r"https://\S+ \(.*20\d\d-\d\d-\d\d\)", table["machines"]["source"])
    assert all(one["why"] for one in table["ranges"].values())


def test_a_known_cell_costs_what_a_person_would_reckon() -> None:
    cost = estimate(cell())
    lines = {line.item: (line.low, line.high) for line in cost.fixed}
    assert lines["cluster's control plane"] == (Decimal(73), Decimal(73))
    assert lines["NAT gateways"] == (Decimal("98.55"), Decimal("98.55"))
    assert lines["system machines, m6i.large"][0] == Decimal("140.16")
    assert lines["interface endpoints, 7 in 3 zones"][0] == Decimal("153.30")
    assert cost.total == (
        sum((low for low, _ in lines.values()), Decimal(0)),
        sum((high for _, high in lines.values()), Decimal(0)),
    )


def test_the_way_out_is_paid_where_there_is_one() -> None:
    assert _items(cell())["NAT gateways"] == 3
    assert _items(EXAMPLES["single-nat"])["NAT gateways"] == 1
    assert "NAT gateways" not in _items(EXAMPLES["no-internet"])
    assert "NAT gateways" not in _items(EXAMPLES["given"])


def test_what_the_customer_brings_costs_nothing_more() -> None:
    assert "encryption key" in _items(cell())
    assert "encryption key" not in _items(EXAMPLES["given"])


def test_the_gateways_endpoint_is_counted() -> None:
    closed = NewVpc(nat=Nat.NONE)
    by_proxy = cell(network=closed, egress_proxy="http://10.20.9.9:3128")
    by_endpoint = cell(network=closed, gateway=Gateway(url="wss://g.example", endpoint_service=SERVICE))
    one, other = (
        next(v for k, v in _items(args).items() if k.startswith("interface"))
        for args in (by_proxy, by_endpoint)
    )
    assert other - one == 3


def test_a_larger_size_never_costs_less_and_suspending_always_saves() -> None:
    sizes = estimate(cell()).sizes
    assert [one.size for one in sizes] == list(SIZES)
    for smaller, larger in pairwise(sizes):
        assert smaller.running[0] <= larger.running[0]
        assert smaller.running[1] <= larger.running[1]
    assert all(one.suspended[1] < one.running[1] and one.suspended[0] < one.running[0] for one in sizes)


def test_a_type_without_a_price_is_named_and_never_guessed() -> None:
    cost = estimate(cell(nodes=Nodes(system_type="x9.huge", workspace_types=("x9.vast",))))
    assert cost.unpriced == ("x9.huge", "x9.vast")
    assert cost.sizes == ()
    assert not any("x9" in line.item for line in cost.fixed)


@given(args=cells())
def test_every_estimate_is_a_range_that_says_what_it_depends_on(args: CellArgs) -> None:
    cost = estimate(args)
    for line in cost.fixed:
        assert 0 <= line.low <= line.high
        assert bool(line.why) == (line.low < line.high)
    said = json.loads(json.dumps(cost.to_mapping()))
    assert said["monthly"]["low"] <= said["monthly"]["high"]
    assert said["asOf"]
    assert said["pricesOf"] == "us-east-1"
    assert said["region"] == args.facts.region
