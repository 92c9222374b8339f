"""The papers of a cell in AWS, through the control function in its VPC and with the customer's credentials.

Used by the commands inside the cell. Whoever may invoke this one function may read and write the papers,
and needs no other right: not one on the cluster, and not that of installing.
"""

from collections.abc import Mapping
from typing import Any, Final

from byoc import errors
from byoc.bootstrap.aws import Account
from byoc.bootstrap.function import Function
from byoc.cell.naming import physical
from byoc.errors import ByocError, Failed
from byoc.model.papers import Paper, Sheet

_ERRORS: Final[Mapping[str, type[ByocError]]] = {
    kind.code: kind
    for kind in (
        errors.UsageError,
        errors.NotFound,
        errors.Conflict,
        errors.Forbidden,
        errors.Unreachable,
        errors.StillPending,
    )
}


class FunctionPapers:
    """The papers of the cell ``cell`` of an account and region."""

    def __init__(self, account: Account, cell: str) -> None:
        self._cell = cell
        self._account = account
        self._function = Function(account, physical("lambda", cell, "control"))

    @property
    def place(self) -> str:
        """Where they are, for a person."""
        return f"{self._account.identity.account}/{self._account.region}/{self._cell}"

    def read(self, paper: Paper) -> Sheet:
        """Return a paper."""
        found = self._ask("read", paper)
        return Sheet(str(found.get("text", "")), str(found.get("version", "")))

    def write(self, paper: Paper, text: str, version: str) -> None:
        """Replace one of the customer's papers."""
        self._ask("write", paper, text=text, version=version)

    def ring(self) -> None:
        """Nothing to do: the agent hears of a changed object from the cluster."""

    def _ask(self, op: str, paper: Paper, **values: str) -> dict[str, Any]:
        found = self._function.ask(op, cell=self._cell, paper=paper.value, **values)
        wrong = found.get("error")
        if wrong is None:
            return found
        kind = _ERRORS.get(wrong.get("code", ""), Failed)
        raise kind(str(wrong.get("message", "")), hint=str(wrong.get("hint", "")))
