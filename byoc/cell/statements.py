"""IAM policy documents as values: what is allowed or denied, to whom, and why. Pure.

Read by ``policies``, ``boundary`` and ``keypolicy``, which say what the documents hold. The invariants:
the same document gives the same text; each statement has its reason; none is longer than IAM takes.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

POLICY_LIMIT: Final = 6144
"""Characters of a policy without spaces (IAM user guide, "IAM and AWS STS quotas": managed policies)."""
TRUST_LIMIT: Final = 2048
"""Characters of a role's trust policy (the same page, the default)."""
KEY_POLICY_LIMIT: Final = 32768
"""Bytes of a key policy (KMS developer guide, "Resource quotas")."""

_VERSION: Final = "2012-10-17"

Values = tuple[str, ...]
Conditions = Mapping[str, Mapping[str, str | Values]]
"""Operator to condition key to value or values, as in a policy's ``Condition``."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Who a statement of a trust or key policy is about.

    Attributes:
        kind: ``Service``, ``AWS`` or ``Federated``.
        name: a service's principal, an ARN (of a provider of identities, where federated), or ``*``, which
            conditions then limit to the account.
    """

    kind: Literal["Service", "AWS", "Federated"]
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """One statement.

    Attributes:
        sid: its name, letters and digits.
        why: the reason, for the docs; AWS does not see it.
        actions: what it is about; empty where ``all_but`` says it.
        all_but: every action but these.
        resources: empty in a trust policy, which is about the role itself.
    """

    sid: str
    why: str
    actions: Values = ()
    all_but: Values = ()
    resources: Values = ()
    conditions: Conditions = field(default_factory=dict)
    principal: Principal | None = None
    effect: Literal["Allow", "Deny"] = "Allow"

    def plain(self) -> dict[str, Any]:
        """Return the statement as IAM reads it."""
        text: dict[str, Any] = {"Sid": self.sid, "Effect": self.effect}
        if self.principal:
            text["Principal"] = {self.principal.kind: self.principal.name}
        if self.all_but:
            text["NotAction"] = _one_or_more(self.all_but)
        else:
            text["Action"] = _one_or_more(self.actions)
        if self.resources:
            text["Resource"] = _one_or_more(self.resources)
        if self.conditions:
            text["Condition"] = {
                operator: {key: _one_or_more(value) for key, value in keys.items()}
                for operator, keys in self.conditions.items()
            }
        return text


@dataclass(frozen=True, slots=True)
class Document:
    """A policy document.

    Attributes:
        limit: most characters AWS takes.
    """

    statements: tuple[Statement, ...]
    limit: int = POLICY_LIMIT

    def plain(self) -> dict[str, Any]:
        """Return the document as IAM reads it."""
        return {"Version": _VERSION, "Statement": [each.plain() for each in self.statements]}

    def text(self) -> str:
        """Return the document as it is sent: JSON without spaces.

        Raises:
            ValueError: AWS would refuse it as too long.
        """
        text = json.dumps(self.plain(), separators=(",", ":"))
        if len(text) > self.limit:
            raise ValueError(f"a policy of {len(text)} characters, AWS takes {self.limit}")
        return text


def _one_or_more(values: str | Values) -> str | list[str]:
    if isinstance(values, str):
        return values
    return values[0] if len(values) == 1 else list(values)
