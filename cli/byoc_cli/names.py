"""From what a user types, a name or an id, to the thing itself."""

from typing import TYPE_CHECKING

from byoc_cli.values import is_id, pick

if TYPE_CHECKING:
    from byoc.client import Cell, Client, Group, Region, Workspace


def group(client: "Client", wanted: str) -> "Group":
    """Return the group of this name or id.

    Raises:
        NotFound: there is none.
        UsageError: there are several.
    """
    if is_id(wanted):
        return client.groups.get(wanted)
    return pick(
        wanted,
        client.groups.list(),
        lambda each: each.name,
        what="workspace group",
        hint="byoc group list",
        narrow="use the id of one of them: `byoc group list`",
    )


def workspaces(
    client: "Client", within: str | None, *, include_terminated: bool = False
) -> list[tuple["Workspace", "Group"]]:
    """Return the workspaces of one group, or of all, each with its group."""
    groups = [group(client, within)] if within else client.groups.list(include_terminated=include_terminated)
    return [
        (each, one)
        for one in groups
        for each in client.workspaces.list(one.workspace_group_id, include_terminated=include_terminated)
    ]


def workspace(client: "Client", wanted: str, within: str | None = None) -> "Workspace":
    """Return the workspace of this name or id, in one group or in any.

    Raises:
        NotFound: there is none.
        UsageError: there are several.
    """
    if is_id(wanted):
        return client.workspaces.get(wanted)
    return pick(
        wanted,
        [each for each, _ in workspaces(client, within)],
        lambda each: each.name,
        what="workspace",
        hint="byoc workspace list",
        narrow="say in which group: `--group GROUP`, or use its id",
    )


def cell(client: "Client", wanted: str) -> "Cell":
    """Return the cell of this name or id.

    Raises:
        NotFound: there is none.
        UsageError: there are several.
    """
    if is_id(wanted):
        return client.cells.get(wanted)
    return pick(
        wanted,
        client.cells.list(),
        lambda each: each.name,
        what="cell",
        hint="byoc cell list",
        narrow="use the id of one of them: `byoc cell list`",
    )


def region(client: "Client", wanted: str | None) -> "Region":
    """Return the region to make a group in: the one named, or the only one.

    Raises:
        NotFound: there is none.
        UsageError: there are several.
    """
    regions = client.regions()
    if wanted is None and len(regions) == 1:
        return regions[0]
    if wanted is None:
        return pick(
            "",
            regions,
            lambda _: "" if regions else "-",
            what="region",
            hint="a region is a cell: `byoc cell list`",
            narrow="say which with `--region`: " + ", ".join(each.region for each in regions),
        )
    matching = [each for each in regions if wanted in {each.region_id, each.region_name}]
    if len(matching) == 1:
        return matching[0]
    return pick(
        wanted,
        regions,
        lambda each: each.region,
        what="region",
        hint="a region is a cell: `byoc cell list`",
        narrow="use its id: `byoc api GET /v1/regions`",
    )
