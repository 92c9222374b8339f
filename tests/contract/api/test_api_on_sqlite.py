"""Every test of the API that holds on the fleet in memory holds on the real one too."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Final

UNIT: Final = Path(__file__).parents[2] / "unit" / "controlplane" / "api"
SUITE: Final = (
    "test_audit",
    "test_authentication",
    "test_billing",
    "test_cells",
    "test_groups",
    "test_hostile_input",
    "test_openapi",
    "test_story",
    "test_wire_rules",
    "test_workspaces",
)
# These set the twin in memory itself; the real fleet has tests of its own for them.
NOT_HERE: Final = {
    # Asks the cell, which is in reach of no gateway here: see tests/integration/fleet/test_rekeying.py.
    "test_a_cells_keys_are_replaced_by_its_own_organization",
    "test_usage_stands_under_both_names_with_text_values",
    "test_logs_are_text_if_the_cell_allows_and_403_if_not",
    "test_what_cannot_be_recorded_is_not_answered_as_done",
}


def _load(name: str) -> ModuleType:
    spec = spec_from_file_location(f"on_sqlite_{name}", UNIT / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


for _name in SUITE:
    for _key, _value in vars(_load(_name)).items():
        if (_key.startswith("test_") and _key not in NOT_HERE) or _key == "description":
            _short = _name.removeprefix("test_")
            globals()[_key if _key == "description" else f"{_key}__{_short}"] = _value
