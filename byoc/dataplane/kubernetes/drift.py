"""Whether an object of the cluster is still what it was made as. Pure; used by the cache.

Defaults that the API server adds are no difference; anything else is: a field that says something else,
a member more in a list (a second container, a door), a label or an annotation of ours that is gone.
"""

from collections.abc import Mapping
from typing import Any


def differs(wanted: Mapping[str, Any], seen: Mapping[str, Any]) -> bool:
    """Whether ``seen`` is not what ``wanted`` asks for."""
    return any(name not in seen or _other(value, seen[name]) for name, value in wanted.items())


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
