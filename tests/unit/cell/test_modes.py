import pytest

from byoc.cell.arns import ROLES, role_arn
from byoc.cell.assume import complete
from byoc.cell.config import vpc_to_mapping
from byoc.cell.grants import MODES, mode
from byoc.cell.modes import stand_in
from byoc.errors import UsageError
from tests.unit.cell.examples import cell, given_vpc

NAMED = {"name": "main", "account": "123456789012", "region": "eu-west-1"}


@pytest.mark.parametrize("wanted", MODES)
def test_what_stands_in_makes_the_mode(wanted: str) -> None:
    assert mode(complete(stand_in(NAMED, wanted))[0]) == wanted


def test_the_roles_that_stand_in_have_the_names_the_cell_would_give() -> None:
    args, _ = complete(stand_in(NAMED, "existing-iam"))
    assert {role_arn(args, which) for which in ROLES} == {role_arn(cell(), which) for which in ROLES}


def test_what_was_named_stays() -> None:
    vpc = vpc_to_mapping(given_vpc())
    assert stand_in({**NAMED, "vpc": vpc}, "existing-vpc")["vpc"] == vpc


def test_a_mode_that_contradicts_the_settings_is_refused() -> None:
    with pytest.raises(UsageError, match="a VPC or roles of yours"):
        stand_in({**NAMED, "vpc": vpc_to_mapping(given_vpc())}, "new-vpc")


def test_a_mode_that_does_not_exist_is_refused() -> None:
    with pytest.raises(UsageError, match="no mode `both`"):
        stand_in(NAMED, "both")
