"""The base of every component of a cell: parents, tags and protection in one place.

A resource's *logical name* (``vpc``, ``private-eu-west-1a``) is unique within its type and is written
into the tag ``byoc:logical-name``: a resource whose creation was interrupted has no name of its own in
AWS, and this tag is how ``byoc cell repair`` finds it again.
"""

from collections.abc import Mapping, Sequence

import pulumi

from byoc.cell.args import CellArgs
from byoc.cell.naming import CELL_TAG, LOGICAL_NAME_TAG
from byoc.cell.protection import protection


class Part(pulumi.ComponentResource):
    """One concern of a cell.

    Args:
        kind: type of the component, such as ``Network``; ``byoc:cell:Network`` in the state.
        args: what the cell is made from.
    """

    def __init__(self, kind: str, args: CellArgs, *, parent: pulumi.Resource | None = None) -> None:
        super().__init__(f"byoc:cell:{kind}", kind.lower(), None, pulumi.ResourceOptions(parent=parent))
        self.args = args

    def options(
        self,
        name: str,
        *,
        depends_on: Sequence[pulumi.Resource] = (),
        within: pulumi.Resource | None = None,
        delete_before_replace: bool = False,
    ) -> pulumi.ResourceOptions:
        """Return the options of the resource called ``name``: this component's child, by the table.

        ``within`` is the resource that the table says it is deleted with.

        Raises:
            ValueError: the table and the call disagree on whether it is deleted with another.
        """
        row = protection(name)
        if bool(row.within) != (within is not None):
            raise ValueError(f"`{name}` is deleted with `{row.within or 'nothing'}` says the table")
        return pulumi.ResourceOptions(
            parent=self,
            depends_on=list(depends_on),
            protect=row.protect,
            retain_on_delete=row.retain,
            deleted_with=within,
            ignore_changes=list(row.ignore),
            delete_before_replace=delete_before_replace,
        )

    def tags(self, name: str, **more: str) -> Mapping[str, str]:
        """Return the tags of the resource called ``name``; the customer's own come first, ours win."""
        return tags(self.args, name, **more)


def tags(args: CellArgs, name: str, **more: str) -> dict[str, str]:
    """Return the tags of one resource of the cell ``args`` describes."""
    return {
        **args.tags,
        "Name": f"byoc-{args.name}-{name}",
        CELL_TAG: args.name,
        LOGICAL_NAME_TAG: name,
        **more,
    }
