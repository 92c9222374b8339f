"""One transaction: the verbs over every table, and the topics that its commit is about."""

from sqlalchemy import Connection

from byoc.store.audit import Audit
from byoc.store.cells import Cells
from byoc.store.groups import Groups
from byoc.store.identities import Identities
from byoc.store.retention import Retention
from byoc.store.story import Story
from byoc.store.usage import Usage
from byoc.store.workspaces import Workspaces


class Transaction:
    """Given to functions by a store; worth nothing outside of them.

    Attributes:
        topics: ids of workspaces and cells about which there is news once this is committed.
    """

    def __init__(self, connection: Connection) -> None:
        self.audit = Audit(connection)
        self.identities = Identities(connection)
        self.cells = Cells(connection)
        self.groups = Groups(connection)
        self.workspaces = Workspaces(connection)
        self.story = Story(connection)
        self.usage = Usage(connection)
        self.retention = Retention(connection)
        self.topics: set[str] = set()
