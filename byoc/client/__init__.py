"""The SDK: a Control Plane's Management API, typed, blocking or not. The only home of httpx2.

Used by the command line, and meant for programs of others. :class:`Client` blocks,
:class:`AsyncClient` awaits; both have the same verbs. Errors are those of ``byoc.errors``.
Requests are sent again only where that is safe; waits listen to the event stream.
"""

from byoc.client.aio import AsyncClient
from byoc.client.answers import Answer
from byoc.client.models import (
    Cell,
    CellEvent,
    Changed,
    Connection,
    Created,
    Detail,
    Enrolment,
    Event,
    Group,
    Identity,
    Metrics,
    Organization,
    Region,
    Workspace,
)
from byoc.client.sync import Client
from byoc.client.waiting import Goal, Step

__all__ = [
    "Answer",
    "AsyncClient",
    "Cell",
    "CellEvent",
    "Changed",
    "Client",
    "Connection",
    "Created",
    "Detail",
    "Enrolment",
    "Event",
    "Goal",
    "Group",
    "Identity",
    "Metrics",
    "Organization",
    "Region",
    "Step",
    "Workspace",
]
