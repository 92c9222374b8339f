"""What the function's package holds: the one bundle that can be applied, and whose it is.

Read at each call. The invariant: the digest is of the very bytes that are applied.
"""

import hashlib
import json
from dataclasses import dataclass
from typing import Any, Final, Self

from byoc.cell.incluster import BUNDLE_LABEL, BUNDLE_VALUE, INSTALLED, NAMESPACE

BUNDLE_FILE: Final = "bundle.json"


@dataclass(frozen=True, slots=True)
class Package:
    """The bundle of one cell.

    Attributes:
        cell: the cell's name.
        digest: SHA-256 of the bundle, 64 hexadecimal digits.
    """

    cell: str
    objects: tuple[dict[str, Any], ...]
    digest: str

    @classmethod
    def of(cls, cell: str, text: str) -> Self:
        """Return the package of ``cell`` that holds the bundle ``text``."""
        return cls(cell, tuple(json.loads(text)), hashlib.sha256(text.encode()).hexdigest())

    def mark(self) -> dict[str, Any]:
        """Return the object that is written last of all: what was installed, whole."""
        return {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": INSTALLED, "namespace": NAMESPACE, "labels": {BUNDLE_LABEL: BUNDLE_VALUE}},
            "data": {"bundle": self.digest, "cell": self.cell},
        }

    @property
    def ours(self) -> tuple[dict[str, Any], ...]:
        """Everything that the installer puts into the cluster."""
        return (*self.objects, self.mark())
