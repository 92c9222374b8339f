"""The API of a cluster that the caller reaches by a context of their own kubeconfig (``--context``)."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from byoc_cli.context import Context

if TYPE_CHECKING:
    from byoc.cell.installer.api import Api


def opener(given: Context, context: str, seconds: float) -> Callable[[], "Api"]:
    """Return what opens the API of a cluster for ``seconds``, as the customer's kubeconfig says.

    Raises:
        NotFound, PreconditionFailed: the context cannot be used; the message says why.
    """
    from byoc.cell.installer.api import Api  # noqa: PLC0415
    from byoc.cell.installer.budget import Budget  # noqa: PLC0415
    from byoc.dataplane.kubernetes.kubeconfig import open_context  # noqa: PLC0415 - loads a client library

    home = Path(given.environment.get("HOME") or "/")
    way = open_context(context, given.environment, home=home, terminal=given.interactive)

    def open_api() -> Api:
        # Before the time runs: a person may be asked who they are.
        way.token()
        budget = Budget.of(seconds, time.monotonic, time.sleep)
        return Api(way.server, "", way.token, budget, tls=way.tls, refused=way.refused)

    return open_api
