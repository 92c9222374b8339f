"""The papers of a cell in a cluster whose API the caller reaches with a kubeconfig of their own.

Used by the commands inside the cell (``--context``); the same objects as the control function's. It is not
in the function's package: there the handler does this for the caller.
"""

from collections.abc import Callable
from contextlib import closing

from byoc.cell.control import objects
from byoc.cell.installer.api import Api
from byoc.model.papers import Paper, Sheet


class ApiPapers:
    """The papers behind one API.

    Args:
        open_api: opens it; once for each call, because the time of a call is limited.
        place: what a person calls it.
    """

    def __init__(self, open_api: Callable[[], Api], place: str) -> None:
        self._open = open_api
        self._place = place

    @property
    def place(self) -> str:
        """Where they are, for a person."""
        return self._place

    def read(self, paper: Paper) -> Sheet:
        """Return a paper."""
        with closing(self._open()) as api:
            return objects.read(api, paper)

    def write(self, paper: Paper, text: str, version: str) -> None:
        """Replace one of the customer's papers."""
        with closing(self._open()) as api:
            objects.write(api, paper, text, version)

    def ring(self) -> None:
        """Nothing to do: the agent looks at the object every few seconds."""
