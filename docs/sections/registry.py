"""Every generated page and section of the docs: one row each.

Read by ``scripts/docs`` and by the test that nothing is stale. Whoever generates another table writes a
function that returns Markdown, adds a row here and, for a section, the two marks to the page.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from byoc_cli import reference
from docs.sections import access, cell, kubernetes, service, settings
from docs.sections.page import fill

WHOLE: Final = ""
"""In place of a section's name: the whole page is generated."""


@dataclass(frozen=True, slots=True)
class Generated:
    """One row.

    Attributes:
        page: path in the repository.
        section: name between the marks, or ``WHOLE``.
        render: returns it as Markdown.
    """

    page: str
    section: str
    render: Callable[[], str]


GENERATED: Final = (
    Generated("docs/cli.md", WHOLE, reference.render),
    Generated("docs/aws-cell.md", "resources", cell.resources),
    Generated("docs/aws-cell.md", "open-ports", cell.open_ports),
    Generated("docs/aws-cell.md", "public-addresses", cell.public_addresses),
    Generated("docs/aws-cell.md", "endpoints", cell.interface_endpoints),
    Generated("docs/aws-cell.md", "options", cell.options),
    Generated("docs/aws-cell.md", "settings", cell.stack_settings),
    Generated("docs/aws-cell.md", "protection", cell.protection),
    Generated("docs/aws-cell.md", "cost", cell.cost),
    Generated("docs/aws-cell.md", "sizes", cell.sizes),
    Generated("docs/aws-cell.md", "rules", cell.rules),
    Generated("docs/access.md", "bootstrap", access.bootstrap),
    Generated("docs/access.md", "roles", access.roles),
    Generated("docs/access.md", "boundary", access.limits),
    Generated("docs/access.md", "breakglass-machine", access.machine),
    Generated("docs/access.md", "in-cluster", access.in_cluster),
    Generated("docs/access.md", "admission", access.admitted),
    Generated("docs/access.md", "egress", access.ways_out),
    Generated("docs/access.md", "verbs", access.verbs),
    Generated("docs/access.md", "commands", access.commands),
    Generated("docs/access-sources.md", "sources", access.sources),
    Generated("docs/access-sources.md", "rows", access.rows),
    Generated("docs/access-sources.md", "own-calls", access.own_calls),
    Generated("docs/kubernetes-cell.md", "workspace-objects", kubernetes.objects),
    Generated("docs/kubernetes-cell.md", "engine-sizes", kubernetes.engine_sizes),
    Generated("docs/kubernetes-cell.md", "operated-objects", kubernetes.operated_objects),
    Generated("docs/kubernetes-cell.md", "operated-sizes", kubernetes.operated_sizes),
    Generated("docs/kubernetes-cell.md", "agent-rights", kubernetes.agent_rights),
    Generated("docs/workspaces.md", "changes", service.changes),
    Generated("docs/workspaces.md", "sizes", service.sizes),
    Generated("docs/metrics.md", "metrics", service.metrics),
    Generated("docs/metrics.md", "sensitivities", service.sensitivities),
    Generated("docs/settings.md", "controlplane", settings.control_plane),
    Generated("docs/settings.md", "servers", settings.servers),
    Generated("docs/settings.md", "gateway", settings.gateway),
    Generated("docs/settings.md", "agent", settings.agent),
    Generated("docs/settings.md", "agent-in-cluster", settings.agent_in_cluster),
)


def fresh(root: Path) -> dict[str, str]:
    """Return each page that has anything generated, as it should be.

    Raises:
        Misplaced: the marks on a page are not those of its rows.
    """
    found: dict[str, str] = {}
    for page in dict.fromkeys(row.page for row in GENERATED):
        made = {row.section: _rendered(row) for row in GENERATED if row.page == page}
        if WHOLE in made:
            found[page] = made[WHOLE]
        else:
            found[page] = fill((root / page).read_text(encoding="utf-8"), made)
    return found


@cache
def _rendered(row: Generated) -> str:
    return row.render()
