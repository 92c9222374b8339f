"""Sections on what a workspace can be, from the tables that the control plane decides by."""

from datetime import timedelta

from byoc.model.metrics import EXPLANATIONS, Metric
from byoc.model.scaling import RULES
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


def metrics() -> str:
    """Return every metric of a workspace."""
    return table(("name", "is"), ((f"`{metric.public_name}`", EXPLANATIONS[metric]) for metric in Metric))


def sensitivities() -> str:
    """Return what each sensitivity of auto-scaling means."""
    rows = (
        (
            f"`{sensitivity}`",
            f"{rules.up:.0%} of the processors or more for {_minutes(rules.up_after)}",
            f"{rules.down:.0%} or less, counted at the lower factor, for {_minutes(rules.down_after)}",
        )
        for sensitivity, rules in RULES.items()
    )
    return table(("sensitivity", "up after", "down after"), rows)


def _minutes(time: timedelta) -> str:
    minutes = int(time.total_seconds()) // 60
    return f"{minutes} minute" if minutes == 1 else f"{minutes} minutes"
