"""What nobody said is assumed from a dated table, and named."""

import re

import pytest

from byoc.cell.assume import complete, table
from byoc.cell.config import SETTINGS, to_mapping
from byoc.errors import UsageError
from tests.unit.cell.examples import cell


def test_everything_can_be_assumed_and_is_named() -> None:
    args, assumed = complete({})
    assert args.facts.assumed
    required = {name for name, setting in SETTINGS.items() if setting.default is None}
    assert required <= set(assumed)


def test_what_is_said_is_not_assumed() -> None:
    args, assumed = complete({"region": "eu-west-1", "name": "orders"})
    assert args.name == "orders"
    assert args.facts.zones == ("eu-west-1a", "eu-west-1b", "eu-west-1c")
    assert {"name", "region"}.isdisjoint(assumed)


def test_a_whole_configuration_assumes_nothing() -> None:
    args, assumed = complete(to_mapping(cell()))
    assert assumed == ()
    assert not args.facts.assumed
    assert args == cell()


@pytest.mark.parametrize("region", sorted(table()["zones"]))
def test_every_region_of_the_table_makes_a_cell(region: str) -> None:
    facts = complete({"region": region})[0].facts
    assert facts.region == region
    assert len(facts.zones) == 3
    assert (facts.partition == "aws-us-gov") == region.startswith("us-gov")


def test_a_region_that_does_not_exist_is_refused() -> None:
    with pytest.raises(UsageError, match="region `eu-west-9` is none") as refused:
        complete({"region": "eu-west-9"})
    assert "eu-west-1" in refused.value.hint


def test_the_table_has_a_date_and_sources() -> None:
    assert re.fullmatch(r"20\d\d-\d\d-\d\d", table()["asOf"])
    assert table()["sources"].keys() == {"amiRelease", "addons", "zones"}
    assert table()["amiRelease"].startswith(f"{table()['kubernetes']}.")
