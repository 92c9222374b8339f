"""Sections on what a workspace can be, from the tables that the control plane decides by."""

from byoc.model.size import SIZES
from byoc.model.workspace import LEGAL, Change
from docs.sections.page import table


def changes() -> str:
    """Return which change each state allows."""
    rows = ((f"`{state}`", *(each[change].value for change in Change)) for state, each in LEGAL.items())
    return table(("state", *Change), rows)


def sizes() -> str:
    """Return the sizes of a workspace."""
    rows = (
        (f"`{size.name}`", f"{size.vcpus:g}", f"{size.memory_bytes / 2**30:g}", f"{size.units:g}")
        for size in SIZES.values()
    )
    return table(("size", "vCPUs", "memory (GiB)", "credits an hour"), rows)
