"""What is wrong with a policy document, whoever wrote it. Pure.

Read by ``rules``. A document is JSON text or what it says; what is not known before the apply is not
judged.
"""

import json
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

from byoc.cell.foretold import UNKNOWN
from byoc.cell.incluster import ENGINES_SUBJECTS, TOKENS_FOR

_OF_ACCOUNT: Final = frozenset(
    {"aws:principalaccount", "aws:sourceaccount", "kms:calleraccount", "aws:principalarn", "aws:sourcearn"}
)
"""Conditions that limit whoever is meant to an account, in lower case as IAM compares them."""
_EXACT: Final = frozenset({"StringEquals", "ArnEquals", "ArnLike", "StringLike"})
CLUSTERS: Final = re.compile(r"oidc\.eks\.[a-z0-9-]+\.amazonaws\.com/id/[0-9A-Za-z]+")
"""Who makes the tokens of a cluster in EKS, without the scheme (EKS user guide, "IAM roles for service
accounts")."""
_PROVIDER: Final = re.compile(r"arn:[^:]+:iam::(\d{12}):oidc-provider/(.+)")
_LIMITS: Final = {"aud": TOKENS_FOR, "sub": ENGINES_SUBJECTS}
"""Claims of a cluster's tokens to what a trust policy asks of them: they are for AWS, and engines' nodes'."""
_ACCOUNT: Final = re.compile(r"(?:arn:[^:]+:(?:iam|sts)::)?(\d{12})(?::.*)?")


def statements(document: Any) -> list[Mapping[str, Any]]:
    """Return the statements of a document; none where there is no document to read."""
    if isinstance(document, str):
        try:
            document = json.loads(document)
        except ValueError:
            return []
    found = document.get("Statement", []) if isinstance(document, Mapping) else []
    return [each for each in _listed(found) if isinstance(each, Mapping)]


def wildcards(document: Any) -> Iterator[str]:
    """Return what a document allows with a wildcard action on a wildcard resource."""
    for each in statements(document):
        if each.get("Effect") != "Allow" or "*" not in _listed(each.get("Resource", [])):
            continue
        if "NotAction" in each:
            yield "allows everything but a list on every resource"
        for action in _listed(each.get("Action", [])):
            if "*" in str(action):
                yield f"allows {action} on every resource"


def outsiders(document: Any, account: str, issuers: Collection[str] = ()) -> Iterator[str]:
    """Return whom a document trusts or lets in who is not of ``account``.

    Args:
        document: of a role, a key or a bucket.
        account: twelve digits; empty where nobody knows it, and then only ``*`` is judged.
        issuers: who makes the tokens of the cell's own cluster; empty where that is not known.
    """
    for each in statements(document):
        if each.get("Effect") != "Allow":
            continue
        if "NotPrincipal" in each:
            yield "lets in everybody but some"
        principal = each.get("Principal")
        if principal == "*":
            principal = {"AWS": "*"}
        for kind, names in principal.items() if isinstance(principal, Mapping) else ():
            for name in _listed(names):
                if message := _outsider(str(kind), str(name), account, each, issuers):
                    yield message


def trusted(document: Any) -> frozenset[str]:
    """Return the providers of identities whose tokens a trust policy takes."""
    named: set[str] = set()
    for each in statements(document):
        principal = each.get("Principal")
        if each.get("Effect") == "Allow" and isinstance(principal, Mapping):
            named.update(str(one) for one in _listed(principal.get("Federated", [])))
    return frozenset(named)


def _outsider(
    kind: str, name: str, account: str, statement: Mapping[str, Any], issuers: Collection[str]
) -> str:
    if kind == "Service":
        return ""
    if kind == "Federated":
        return _federated(name, account, statement, issuers)
    if name == "*":
        return "" if _within(statement.get("Condition"), account) else "lets in everybody"
    found = _ACCOUNT.fullmatch(name)
    if account and (found is None or found[1] != account):
        return f"lets in {name}, which is not of account {account}"
    return ""


def _federated(name: str, account: str, statement: Mapping[str, Any], issuers: Collection[str]) -> str:
    """Return what is wrong with trusting a provider's tokens: they are to be the cluster's, of engines."""
    found = _PROVIDER.fullmatch(name)
    issuer = found[2] if found else ""
    if found is None or not (issuer == UNKNOWN or CLUSTERS.fullmatch(issuer)):
        return f"trusts {name}, which is no service of AWS's and no cluster"
    if account and found[1] != account:
        return f"lets in {name}, which is not of account {account}"
    if issuers and issuer not in {UNKNOWN, *issuers}:
        return f"trusts {name}, which is another cluster than the cell's"
    conditions = statement.get("Condition")
    limited = {
        key: [str(value) for value in _listed(values)]
        for operator, keys in (conditions.items() if isinstance(conditions, Mapping) else ())
        if operator in _EXACT and isinstance(keys, Mapping)
        for key, values in keys.items()
    }
    for what, wanted in _LIMITS.items():
        if limited.get(f"{issuer}:{what}") != [wanted]:
            return f"trusts too many tokens of {name}: their `{what}` is not asked to be `{wanted}`"
    return ""


def _within(condition: Any, account: str) -> bool:
    """Whether a condition keeps to one account."""
    for operator, keys in condition.items() if isinstance(condition, Mapping) else ():
        if operator in _EXACT and isinstance(keys, Mapping):
            for key, values in keys.items():
                named = [str(value) for value in _listed(values)]
                if str(key).lower() in _OF_ACCOUNT and all(
                    account in value and value != "*" for value in named
                ):
                    return True
    return False


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]
