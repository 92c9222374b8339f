"""Sections on who may do what: IAM, the cluster, the network, the control plane's verbs, commands."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from byoc.bootstrap.breakglass import documents
from byoc.bootstrap.breakglass.plan import begin
from byoc.cell import arns, rights
from byoc.cell.admission import admission
from byoc.cell.boundary import boundary
from byoc.cell.egress import network_policies
from byoc.cell.foretold import UNKNOWN
from byoc.cell.grants import LABEL, grants
from byoc.cell.permissions import OPERATIONS, SOURCES
from byoc.cell.permissions import table as derived
from byoc.cell.policies import rights as rights_of
from byoc.cell.statements import POLICY_LIMIT, Document, Statement
from byoc.dataplane.policy import decide, default_policy, longest_age, spell_age
from byoc.model.verbs import Verb
from byoc_cli import reference
from byoc_cli.tree import INSIDE
from docs.sections.example import args
from docs.sections.page import code, table

_USES: Final = {
    "bootstrap": "make and change a cell: attach them to whoever runs `bootstrap` and `cell upgrade`",
    "delete": "destroy a cell: attach them for a destroy only",
    "breakglass": "come into a cell in an emergency: attach them to nobody, or to those on call",
    "control": "say what the control plane may do: attach it to whoever owns that decision",
}
_IN_CLUSTER: Final = (
    ("Agent, everywhere", rights.AGENT_IN_CLUSTER),
    ("Agent, in its own namespace `byoc-system`", rights.AGENT_AT_HOME),
    ("Engine's operator and agent, in namespaces of workspaces only", rights.OPERATOR_IN_WORKSPACE),
    ("Control function, in `byoc-system`", rights.CONTROL_AT_HOME),
    ("Autoscaler, everywhere", rights.AUTOSCALER_IN_CLUSTER),
)
_ISSUER: Final = "oidc.eks.REGION.amazonaws.com/id/ID"
"""Who makes a cluster's tokens, as a page writes it."""
_EPOCH: Final = datetime(2026, 1, 1, tzinfo=UTC)


def bootstrap() -> str:
    """Return the policies of whoever makes, destroys or breaks into a cell."""
    parts = [f"All of these are {LABEL}.\n"]
    for use, purpose in _USES.items():
        parts.append(f"### To {purpose}\n")
        for grant in grants(args()):
            if grant.use == use:
                size = f"{len(grant.document.text()):,} of {POLICY_LIMIT:,} characters"
                parts.append(f"**`{grant.name}`** {grant.purpose} ({size}).\n\n{statements(grant.document)}")
    return "\n".join(parts)


def roles() -> str:
    """Return every role of a cell."""
    return "\n".join(map(_role, arns.ROLES))


def _role(which: arns.Role) -> str:
    key = f"arn:aws:kms:{args().facts.region}:{args().facts.account}:key/{UNKNOWN}"
    found = rights_of(args(), which, key_arn=key, zone_id=UNKNOWN, issuer=_ISSUER)
    (trust,) = found.trust.statements
    whom = trust.principal.name.replace(args().facts.account, "ACCOUNT") if trust.principal else ""
    said = [f"### `{arns.role_name(args(), which)}`\n", f"{found.purpose}.\n"]
    if which not in arns.roles(args()):
        said.append("Made only where workspaces run SingleStore.\n")
    said.append(f"Taken on by `{whom}`{_if(trust)}.\n")
    if found.managed:
        said.append(f"AWS's own policies: {code(found.managed)}, limited by the boundary.\n")
    said.append(statements(found.own) if found.own else "Nothing besides.\n")
    return "\n".join(said)


def _if(statement: Statement) -> str:
    return f", if {_conditions(statement)}" if statement.conditions else ""


def limits() -> str:
    """Return the boundary."""
    return statements(boundary(args()))


def machine() -> str:
    """Return what a break-glass machine may do."""
    session = begin(
        args().name, unique="0" * 12, by="you", reason="an incident", ttl=timedelta(hours=1), now=_EPOCH
    )
    return statements(documents.rights(args(), session))


def statements(document: Document) -> str:
    """Return a policy as a table."""
    rows = (
        (each.sid, each.why, _may(each), _short(each.resources), _conditions(each))
        for each in document.statements
    )
    return table(("statement", "why", "may", "on", "if"), rows)


def _may(each: Statement) -> str:
    what = code(each.actions) if each.actions else f"everything but {code(each.all_but)}"
    return f"**not** {what}" if each.effect == "Deny" else what


def _short(resources: tuple[str, ...]) -> str:
    account = args().facts.account
    return code(one.replace(account, "ACCOUNT").removeprefix("arn:aws:") for one in resources)


def _conditions(each: Statement) -> str:
    said = (
        f"`{key}` {_VERBS.get(operator, operator)} {_values(value)}"
        for operator, keys in each.conditions.items()
        for key, value in keys.items()
    )
    return " and ".join(said)


_VERBS: Final = {
    "StringEquals": "is", "StringLike": "is like", "ArnLike": "is like", "ArnEquals": "is", "Bool": "is",
    "StringNotEquals": "is not", "Null": "is absent:", "DateGreaterThanEquals": "is not before",
    "StringEqualsIfExists": "is absent or",
}  # fmt: skip


def _values(value: str | tuple[str, ...]) -> str:
    values = (value,) if isinstance(value, str) else value
    return " or ".join(f"`{one.replace(args().facts.account, 'ACCOUNT')}`" for one in values)


# --- in the cluster -------------------------------------------------------------------------------------


def in_cluster() -> str:
    """Return every right in the cluster."""
    parts = []
    for heading, rows in _IN_CLUSTER:
        found = (
            (
                f"`{each.group or 'core'}`",
                code(each.resources),
                ", ".join(each.verbs),
                code(each.names),
                each.why,
            )
            for each in rows
        )
        parts.append(f"### {heading}\n\n{table(('group', 'objects', 'may', 'only', 'why'), found)}")
    return "\n".join(parts)


def admitted() -> str:
    """Return what the API server refuses the agent besides."""
    policy, _ = admission()
    return "".join(f"- {each['message']}\n" for each in policy["spec"]["validations"])


def ways_out() -> str:
    """Return where the pods of the client's namespace may go."""
    return table(("pods", "may reach"), ((name, "; ".join(ways) or "nothing") for name, ways in _ways()))


def _ways() -> Iterator[tuple[str, list[str]]]:
    for policy in network_policies(args()):
        pods = (
            policy["spec"]["podSelector"].get("matchLabels", {}).get("app.kubernetes.io/name", "all others")
        )
        yield (
            f"`{pods}`" if pods != "all others" else pods,
            [_way(each) for each in policy["spec"].get("egress", [])],
        )


def _way(rule: Mapping[str, Any]) -> str:
    ports = ", ".join(f"{each['protocol']} {each['port']}" for each in rule["ports"])
    return f"{', '.join(map(_peer, rule['to']))} on {ports}"


def _peer(peer: Mapping[str, Any]) -> str:
    if "ipBlock" not in peer:
        workspaces = "matchExpressions" in peer["namespaceSelector"]
        return "the engines of workspaces" if workspaces else "the cluster's DNS"
    block = peer["ipBlock"]
    without = f" without {code(block['except'])}" if block.get("except") else ""
    return f"`{block['cidr']}`{without}"


# --- the control plane, and the customer's own commands ------------------------------------------------


def verbs() -> str:
    """Return what the control plane may do in a cell whose customer has written no policy."""
    policy = default_policy()
    rows = []
    for verb in (each for each in Verb if each is not Verb.REVERT):  # of it no policy is asked
        verdict = decide(policy, verb, "anybody", _EPOCH, _EPOCH)
        answer = "refused" if not verdict.allowed else "needs approval" if verdict.approval else "allowed"
        age = spell_age(longest_age(policy, verb)) if verdict.allowed else ""
        why = (verdict.allowed and verdict.setting) or verdict.reason
        rows.append((f"`{verb}`", answer, age, why))
    return table(("verb", "by default", "asked for at most … ago", "because of"), rows)


def commands() -> str:
    """Return the commands that never pass the control plane."""
    return table(
        ("command", "does"), ((f"`byoc {words}`", says) for words, says in reference.summaries(INSIDE))
    )


# --- where each right is known from ---------------------------------------------------------------------


def sources() -> str:
    """Return what the words in the column of sources stand for."""
    return table(("source", "is"), ((f"`{name}`", says) for name, says in derived()["sources"].items()))


def rows() -> str:
    """Return each type of resource and operation with its actions and where they are known from."""
    found = (
        (f"`{kind}`", operation, code(sorted(row[operation][source])), _cited(row, operation, source))
        for kind, row in sorted(derived()["types"].items())
        for operation in OPERATIONS
        for source in SOURCES
        if row[operation].get(source)
    )
    return table(("type", "operation", "actions", "known from"), found)


def own_calls() -> str:
    """Return what byoc calls by itself, beside the engine."""
    found = (
        (name, row["where"], operation, code(sorted(row[operation])))
        for name, row in derived()["ours"].items()
        for operation in OPERATIONS
        if row[operation]
    )
    return table(("part", "calls are in", "operation", "actions"), found)


def _cited(row: Mapping[str, Any], operation: str, source: str) -> str:
    said = row[operation][source]
    if isinstance(said, Mapping):
        return "; ".join(dict.fromkeys(said.values()))
    return f"{source} `{row['provider' if source == 'provider' else 'handler']}`"
