"""Everything that somebody reviews before a cell is made: bootstrap's policies and each role's. Pure.

Printed by ``byoc cell permissions``, whose output is also what a later one is compared with. The
invariant: what is printed is what is compared, and what bootstrap asks AWS for.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from byoc import __version__
from byoc.cell import arns
from byoc.cell.args import CellArgs
from byoc.cell.boundary import boundary
from byoc.cell.foretold import UNKNOWN
from byoc.cell.grants import LABEL, USES, grants, mode
from byoc.cell.limits import regional
from byoc.cell.policies import rights
from byoc.errors import UsageError

_OLD: Final = "that is no output of `byoc cell permissions -o json`"


@dataclass(frozen=True, slots=True)
class Difference:
    """How what one holder may do has changed.

    Attributes:
        holder: ``bootstrap``, ``delete``, ``breakglass``, ``control``, ``boundary`` or ``role NAME``.
        added: actions that are new.
        removed: actions that are gone.
        limits: other resources or conditions on the actions that stayed.
    """

    holder: str
    added: tuple[str, ...]
    removed: tuple[str, ...]
    limits: bool


def report(args: CellArgs) -> dict[str, Any]:
    """Return the policies as JSON.

    Raises:
        UsageError: the arguments cannot become a cell.
    """
    return {
        "cell": args.name,
        "account": args.facts.account,
        "region": args.facts.region,
        "mode": mode(args),
        "version": __version__,
        "label": LABEL,
        "policies": [
            {
                "name": each.name,
                "purpose": each.purpose,
                "use": each.use,
                "characters": len(each.document.text()),
                "document": each.document.plain(),
            }
            for each in grants(args)
        ],
        "roles": {which: _role(args, which) for which in arns.roles(args)},
        "boundary": args.boundary_arn or boundary(args).plain(),
    }


def _role(args: CellArgs, which: arns.Role) -> dict[str, Any]:
    key = args.key_arn or f"{regional(args, 'kms')}:key/{UNKNOWN}"
    said = rights(args, which, key_arn=key, zone_id=UNKNOWN, issuer=UNKNOWN)
    return {
        "name": arns.role_name(args, which),
        "purpose": said.purpose,
        "trust": said.trust.plain(),
        "managed": list(said.managed),
        "document": said.own.plain() if said.own else None,
    }


def allowed(document: Any) -> frozenset[str]:
    """Return the actions that a policy document allows."""
    statements = document.get("Statement", []) if isinstance(document, Mapping) else []
    return frozenset(
        action
        for each in statements
        if each.get("Effect") == "Allow"
        for action in ([each["Action"]] if isinstance(each.get("Action"), str) else each.get("Action", []))
    )


def holders(said: Mapping[str, Any]) -> dict[str, tuple[frozenset[str], list[Any]]]:
    """Return for each holder the actions it is allowed, and its documents.

    Raises:
        UsageError: ``said`` is no report.
    """
    try:
        found = dict(_holders(said))
    except (KeyError, TypeError, AttributeError) as error:
        raise UsageError(_OLD, hint="byoc cell permissions -o json > FILE writes one") from error
    return found


def _holders(said: Mapping[str, Any]) -> Iterator[tuple[str, tuple[frozenset[str], list[Any]]]]:
    for name in USES:
        documents = [each["document"] for each in said["policies"] if each["use"] == name]
        yield name, (frozenset[str]().union(*map(allowed, documents)), documents)
    for which, role in said["roles"].items():
        managed = frozenset(f"policy {name}" for name in role["managed"])
        documents = [role["trust"], role["document"]]
        yield f"role {which}", (managed | allowed(role["document"]), documents)
    yield "boundary", (allowed(said["boundary"]), [said["boundary"]])


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Difference]:
    """Return what has changed between two reports, holder by holder; nothing where nothing has.

    Raises:
        UsageError: ``old`` is no report.
    """
    before, now = holders(old), holders(new)
    nothing: tuple[frozenset[str], list[Any]] = (frozenset(), [])
    found = []
    for holder in sorted(before.keys() | now.keys()):
        (had, old_documents), (has, documents) = before.get(holder, nothing), now.get(holder, nothing)
        if had != has or old_documents != documents:
            found.append(
                Difference(holder, tuple(sorted(has - had)), tuple(sorted(had - has)), limits=had == has)
            )
    return found
