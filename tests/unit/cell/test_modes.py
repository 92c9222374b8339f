import pytest

from byoc.cell.arns import role_arn, roles
from byoc.cell.assume import complete
from byoc.cell.config import to_mapping, vpc_to_mapping
from byoc.cell.grants import MODES, mode
from byoc.cell.modes import stand_in
from byoc.errors import UsageError
from tests.unit.cell.examples import EXAMPLES, cell, given_vpc

NAMED = {"name": "main", "account": "123456789012", "region": "eu-west-1"}


@pytest.mark.parametrize("wanted", MODES)
def test_what_stands_in_makes_the_mode(wanted: str) -> None:
    assert mode(complete(stand_in(NAMED, wanted))[0]) == wanted


def test_the_roles_that_stand_in_have_the_names_the_cell_would_give() -> None:
    args, _ = complete(stand_in(NAMED, "existing-iam"))
    assert {role_arn(args, which) for which in roles(args)} == {role_arn(cell(), w) for w in roles(cell())}


def test_the_engines_role_stands_in_where_engines_use_the_bucket() -> None:
    engine = {
        name: to_mapping(EXAMPLES["unlimited"])[name] for name in ("engine", "engineImage", "operatorImage")
    }
    args, _ = complete(stand_in(NAMED | engine, "existing-iam"))
    assert args.unlimited
    assert role_arn(args, "engine") == role_arn(cell(), "engine")


def test_what_was_named_stays() -> None:
    vpc = vpc_to_mapping(given_vpc())
    assert stand_in({**NAMED, "vpc": vpc}, "existing-vpc")["vpc"] == vpc


def test_a_mode_that_contradicts_the_settings_is_refused() -> None:
    with pytest.raises(UsageError, match="a VPC or roles of yours"):
        stand_in({**NAMED, "vpc": vpc_to_mapping(given_vpc())}, "new-vpc")


def test_a_mode_that_does_not_exist_is_refused() -> None:
    with pytest.raises(UsageError, match="no mode `both`"):
        stand_in(NAMED, "both")
