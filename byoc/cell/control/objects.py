"""The papers as objects of the cluster: which object holds which, read and written by version.

Called by the handler. The invariants: only the customer's papers are written, each only if it is still
at the version that the caller has read; an object that is not there is an empty paper.
"""

from collections.abc import Mapping
from typing import Any, Final

from byoc.cell.incluster import NAMESPACE, PAPERS, POLICY, SHOWN
from byoc.cell.installer.api import Api
from byoc.errors import Conflict, NotFound, UsageError
from byoc.model.papers import BY_CELL, BY_CUSTOMER, LONGEST, Paper, Sheet


def object_of(paper: Paper) -> str:
    """Return the name of the ConfigMap that holds ``paper``; its key there is the paper's own name."""
    if paper is Paper.POLICY:
        return POLICY
    return SHOWN if paper in BY_CELL else PAPERS


def read(api: Api, paper: Paper) -> Sheet:
    """Return a paper."""
    found = api.get(_named(object_of(paper)))
    return Sheet() if found is None else _sheet(found, paper)


def write(api: Api, paper: Paper, text: str, version: str) -> None:
    """Replace one of the customer's papers.

    Raises:
        UsageError: it is none of theirs, or too long.
        Conflict: it is no longer at ``version``.
        NotFound: nothing is installed in this cluster.
    """
    if paper not in BY_CUSTOMER or len(text.encode()) > LONGEST:
        raise UsageError(f"{paper} is none of the customer's papers, or too long")
    name = object_of(paper)
    found = api.get(_named(name))
    if found is None:
        raise NotFound(f"there is no ConfigMap {name}", hint="byoc bootstrap installs the cell")
    if _sheet(found, paper).version != version:
        raise Conflict(f"{paper} was written by somebody else meanwhile")
    metadata = {**found["metadata"], "managedFields": None}
    whole = _named(name) | {"metadata": metadata, "data": {**(found.get("data") or {}), paper.value: text}}
    api.replace(whole, version)


def _sheet(found: Mapping[str, Any], paper: Paper) -> Sheet:
    data = found.get("data") or {}
    return Sheet(data.get(paper.value, ""), found["metadata"].get("resourceVersion", ""))


_CORE: Final = {"apiVersion": "v1", "kind": "ConfigMap"}


def _named(name: str) -> dict[str, Any]:
    return {**_CORE, "metadata": {"name": name, "namespace": NAMESPACE}}
