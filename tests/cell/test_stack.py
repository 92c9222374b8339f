"""The program under plain Pulumi: settings from the stack, and no work where the cell is not to be."""

import json
from collections.abc import Mapping
from typing import Any

import pulumi
import pytest
from pulumi.runtime import set_all_config

from byoc.cell.plan import make_plan
from byoc.cell.program import from_config, stack_config
from byoc.cell.recorder import Recording, record
from tests.unit.cell.examples import EXAMPLES, FACTS, cell


def _text(value: Any) -> str:
    """Return a setting as Pulumi hands it to a program."""
    return value if isinstance(value, str) else json.dumps(value)


def _run(config: Mapping[str, Any]) -> Recording:
    set_all_config({name: _text(value) for name, value in config.items()})
    try:
        return record(from_config, FACTS, stack="main")
    finally:
        set_all_config({})


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_stacks_settings_make_the_same_cell_as_a_plan(name: str) -> None:
    assert _run(stack_config(EXAMPLES[name])) == make_plan(EXAMPLES[name]).recording


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "another region": ({"aws:region": "us-east-1"}, "pulumi config set aws:region eu-west-1"),
    "no region": ({"aws:region": ""}, "aws:region is not set"),
    "another account": ({"aws:allowedAccountIds": ["999999999999"]}, "aws:allowedAccountIds is not account"),
    "accounts besides": ({"aws:allowedAccountIds": ["123456789012", "999999999999"]}, "alone"),
    "no range": ({"byoc:cidr": "10.0.0.0/8"}, "does not fit a cell"),
    "a plain gateway": ({"byoc:gatewayUrl": "nowhere"}, "no wss:// address"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_stack_that_could_work_elsewhere_or_is_no_cells_is_refused_without_a_traceback(what: str) -> None:
    more, sentence = WRONG[what]
    with pytest.raises(pulumi.RunError) as refused:
        _run(stack_config(cell()) | more)
    assert sentence in str(refused.value)
