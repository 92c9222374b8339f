"""The tests themselves: they assert, and they stand where their subject does."""

import ast
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.architecture import tree

RAISES = {"raises", "fail", "warns", "timeout", "wait_for"}


def _names(node: ast.AST) -> set[str]:
    """Every name that is used, because a function may be handed on to be called elsewhere."""
    return {
        child.attr if isinstance(child, ast.Attribute) else child.id
        for child in ast.walk(node)
        if isinstance(child, ast.Attribute | ast.Name)
    }


def _is_checker(name: str) -> bool:
    return name in RAISES or name.startswith(("check_", "assert_"))


def _asserts(node: ast.AST) -> bool:
    return any(isinstance(child, ast.Assert) for child in ast.walk(node)) or any(
        map(_is_checker, _names(node))
    )


class Function(NamedTuple):
    """What is looked at of a function; each file is walked once, and stands beside many others."""

    name: str
    asserts: bool
    names: set[str]


@cache
def _functions(path: Path) -> list[Function]:
    nodes = tree.functions(tree.parse(path))
    return [Function(node.name, _asserts(node), _names(node)) for node in nodes]


def _checkers(path: Path) -> set[str]:
    """Names of functions that check something, in the file and in the modules that stand beside it."""
    beside = [each for folder in (path.parent, path.parent.parent) for each in folder.glob("*.py")]
    functions = [each for file in {path, *beside} for each in _functions(file)]
    found: set[str] = set()
    while True:
        more = {each.name for each in functions if each.asserts or found & each.names}
        if more <= found:
            return found
        found |= more


@pytest.mark.parametrize("path", tree.tests(), ids=tree.name)
def test_every_test_can_fail(path: Path) -> None:
    checkers = _checkers(path)
    cannot = [
        each.name for each in _functions(path) if each.name.startswith("test_") and each.name not in checkers
    ]
    assert cannot == []


@pytest.mark.parametrize("path", [p for p in tree.tests() if "unit" in p.parts], ids=tree.name)
def test_a_unit_test_mirrors_the_package_it_is_about(path: Path) -> None:
    folder = path.parent.relative_to(tree.ROOT / "tests" / "unit")
    assert any((tree.ROOT / base / folder).is_dir() for base in ("byoc", ".", "cli/byoc_cli"))
