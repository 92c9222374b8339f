"""Whether an object of the cluster is still what it was made as. Pure; used by the cache and by ``making``.

Defaults that the API server adds are no difference; anything else is: a field that says something else,
a member more in a list (a second container, a door), a label or an annotation of ours that is gone. What a
Secret was made with is told by its seal, so that nobody has to keep it in order to compare.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

from byoc.dataplane.kubernetes import names


def differs(wanted: Mapping[str, Any], seen: Mapping[str, Any]) -> bool:
    """Whether ``seen`` is not what ``wanted`` asks for."""
    return any(name not in seen or _other(value, seen[name]) for name, value in wanted.items())


def seal(data: Mapping[str, str]) -> str:
    """Return the annotation that says what a Secret was made with."""
    return " ".join(f"{name}={_digest(text)}" for name, text in sorted(data.items()))


def sealed(found: Mapping[str, Any]) -> bool:
    """Whether a Secret holds what its seal says; what somebody else has added to it is no matter."""
    said = str((found["metadata"].get("annotations") or {}).get(names.SEAL, ""))
    data = found.get("data") or {}
    marks = [each.partition("=") for each in said.split()]
    return bool(marks) and all(_digest(str(data.get(name, ""))) == digest for name, _, digest in marks)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _other(wanted: Any, seen: Any) -> bool:
    if isinstance(wanted, Mapping):
        # An empty one, such as a selector of everything, is no place for defaults.
        return not isinstance(seen, Mapping) or (bool(seen) if not wanted else differs(wanted, seen))
    if isinstance(wanted, list):
        return (
            not isinstance(seen, list)
            or len(wanted) != len(seen)
            or any(_other(one, other) for one, other in zip(wanted, seen, strict=True))
        )
    return bool(wanted != seen)
