"""What a process of ours can ever import, read from the source: the lazy imports inside functions too."""

import ast
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from tests.architecture import tree

_OURS: Final = {"byoc": tree.ROOT / "byoc", "byoc_cli": tree.ROOT / "cli" / "byoc_cli"}

AGENT: Final = (
    "byoc.dataplane.agent",
    "byoc.dataplane.bucket",
    "byoc.dataplane.shipping",
    "byoc.dataplane.local.runtime",
    "byoc.dataplane.kubernetes.lead",
    "byoc.dataplane.kubernetes.runtime",
    "byoc.dataplane.kubernetes.settings",
    "byoc.dataplane.settings",
    "byoc.log",
)
CONTROL_PLANE: Final = (
    "byoc.controlplane.rotation",
    "byoc.controlplane.serve",
    "byoc.controlplane.settings",
    "byoc.controlplane.fleet.start",
    "byoc.store.schema",
    "byoc.store.sqlite",
    "byoc.nimbus.serve",
    "byoc.log",
)


def reachable(entries: Iterable[str]) -> tuple[set[str], set[str]]:
    """Return our modules that ``entries`` can load, and the top-level packages of others' they import."""
    left, seen, foreign = list(entries), set[str](), set[str]()
    while left:
        module = left.pop()
        if module in seen:
            continue
        seen.add(module)
        top = module.partition(".")[0]
        if top not in _OURS:
            if top not in sys.stdlib_module_names:
                foreign.add(top)
        elif path := _path(module):
            left += [*_imports(tree.parse(path)), module.rpartition(".")[0] or module]
    return {module for module in seen if _path(module)}, foreign


def lazily_imported(path: Path, function: str) -> set[str]:
    """Return our modules that ``function`` of the file imports when it is called."""
    found = [node for node in tree.functions(tree.parse(path)) if node.name == function]
    assert len(found) == 1, function
    return {name for name in _imports(found[0]) if _path(name)}


def _path(module: str) -> Path | None:
    top, _, rest = module.partition(".")
    if top not in _OURS:
        return None
    place = _OURS[top].joinpath(*rest.split(".")) if rest else _OURS[top]
    return next((path for path in (place.with_suffix(".py"), place / "__init__.py") if path.is_file()), None)


def _imports(node: ast.AST) -> Iterator[str]:
    for child in ast.walk(node):
        if isinstance(child, ast.Import):
            yield from (each.name for each in child.names)
        elif isinstance(child, ast.ImportFrom) and child.module:
            yield child.module
            yield from (f"{child.module}.{each.name}" for each in child.names)
