"""Sections on the settings of processes, from the tables that they read them by."""

from byoc.controlplane.settings import SETTINGS
from docs.sections.page import code, table


def control_plane() -> str:
    """Return the settings of the control plane."""
    rows = (
        (f"`{one.name}`", code([one.default] if one.default else []), one.description) for one in SETTINGS
    )
    return table(("variable", "default", "is"), rows)
