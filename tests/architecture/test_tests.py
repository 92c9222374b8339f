"""The tests themselves: they assert, and they stand where their subject does."""

import ast
from pathlib import Path

import pytest
import tree

RAISES = {"raises", "fail", "warns"}


def _checks(node: ast.AST) -> bool:
    """Whether ``node`` can fail: an assert, ``pytest.raises``, or a call of something named ``assert_…``."""
    for child in ast.walk(node):
        if isinstance(child, ast.Assert):
            return True
        if isinstance(child, ast.Call):
            called = child.func
            name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
            if name in RAISES or name.startswith(("assert_", "check_", "expect_")):
                return True
    return False


@pytest.mark.parametrize("path", tree.tests(), ids=tree.name)
def test_every_test_can_fail(path: Path) -> None:
    cannot = [
        node.name
        for node in tree.functions(tree.parse(path))
        if node.name.startswith("test_") and not _checks(node)
    ]
    assert cannot == []


@pytest.mark.parametrize("path", [p for p in tree.tests() if "unit" in p.parts], ids=tree.name)
def test_a_unit_test_mirrors_the_package_it_is_about(path: Path) -> None:
    folder = path.parent.relative_to(tree.ROOT / "tests" / "unit")
    assert any((tree.ROOT / base / folder).is_dir() for base in ("byoc", "cli", "cli/byoc_cli"))
