"""A Control Plane's signing side for tests: keys, key sets, tokens, receipts, as a cell meets them.

Given to tests of a cell; what they send is signed for real, or wrong in exactly one way.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from byoc.clock import Clock
from byoc.ids import new_id
from byoc.model.report import CellReport
from byoc.model.spec import GroupSpec, Spec
from byoc.model.verbs import Verb, between
from byoc.wire.cell import Delivery, encode
from byoc.wire.keys import SigningKey
from byoc.wire.tokens import (
    Change,
    certify_key_set_key,
    issue_key_set,
    issue_request,
    name_report,
    sign_receipt,
)


@dataclass(frozen=True, slots=True)
class Signed:
    """A request and its token."""

    token: str
    method: str
    target: str
    body: bytes


@dataclass
class MemoryProvider:
    """The keys of a provider and what it signs for one cell."""

    clock: Clock
    cell: str
    root: SigningKey = field(default_factory=SigningKey.generate)
    set_key: SigningKey = field(default_factory=SigningKey.generate)
    signing: SigningKey = field(default_factory=SigningKey.generate)
    version: int = 1

    def key_set(self) -> str:
        """Return the signed key set, issued now."""
        now = self.clock.now()
        certificate = certify_key_set_key(self.root, self.set_key.public, now=now)
        return issue_key_set(self.set_key, certificate, [self.signing.public], version=self.version, now=now)

    def token(self, method: str, target: str, body: bytes, **changes: Any) -> str:
        """Return the token of a request; ``changes`` are arguments of ``issue_request``, and ``key``."""
        asked: dict[str, Any] = {"issuer": "provider", "cell": self.cell, "sub": "ann@example.com"}
        asked |= {"jti": new_id(), "method": method, "target": target, "body": body}
        key = changes.pop("key", self.signing)
        return issue_request(key, **(asked | {"now": self.clock.now()} | changes))

    def read(self, target: str, verb: Verb, **changes: Any) -> Signed:
        """Sign a read."""
        return Signed(self.token("GET", target, b"", verbs=[verb], **changes), "GET", target, b"")

    def delivery(
        self,
        spec: Spec,
        held: Spec | None,
        *,
        base: int | None = None,
        verbs: Sequence[Sequence[Verb]] | None = None,
        sealed: str | None = None,
    ) -> Signed:
        """Sign a delivery of ``spec`` to a cell that holds ``held``.

        ``verbs`` lists what each generation after ``base`` did; by default each did all there is to do.
        """
        start = (held.generation if held else 0) if base is None else base
        if verbs is None:
            verbs = [sorted(between(held, spec))] * (spec.generation - start)
        now = self.clock.now()
        changes = [
            Change(generation, verb, "ann@example.com", now)
            for generation, some in enumerate(verbs, start + 1)
            for verb in some
        ]
        kind = "group" if isinstance(spec, GroupSpec) else "workspace"
        value = encode(Delivery(sealed_password=sealed)) | {kind: encode(spec)}
        body = json.dumps(value).encode()
        target = f"/cell/v1/{kind}s/{spec.id}"
        token = self.token("PUT", target, body, base=start, changes=changes)
        return Signed(token, "PUT", target, body)

    def receipt(self, report: CellReport, text: str, **changes: Any) -> str:
        """Countersign a report that came as ``text``; ``changes`` make it wrong."""
        head = report.ledger
        if head is None:
            raise ValueError("a report without a ledger head")
        claims: dict[str, Any] = {
            "cell": report.cell,
            "chain": head.chain,
            "seq": head.seq,
            "hash": head.hash,
            "report": name_report(report.incarnation, report.seq, text),
        }
        return sign_receipt(self.signing, at=self.clock.now(), **(claims | changes))
