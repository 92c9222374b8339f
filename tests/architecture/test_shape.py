"""Sizes, names and docstrings: what keeps the tree legible."""

import ast
from pathlib import Path

import pytest

from tests.architecture import tree

MAX_FILE = 600
MAX_FUNCTION = 45
NO_NAMES = {"utils", "util", "helpers", "helper", "manager", "common", "misc", "base"}


def _is_public(node: ast.AST) -> bool:
    return isinstance(
        node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    ) and not node.name.startswith("_")


def _undocumented(path: Path) -> list[str]:
    module = tree.parse(path)
    missing = [] if ast.get_docstring(module) else ["the module"]
    for node in module.body:
        if not _is_public(node):
            continue
        assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        if not ast.get_docstring(node):
            missing.append(node.name)
        if isinstance(node, ast.ClassDef):
            missing += [
                f"{node.name}.{member.name}"
                for member in node.body
                if isinstance(member, ast.FunctionDef | ast.AsyncFunctionDef)
                and _is_public(member)
                and not ast.get_docstring(member)
            ]
    return missing


@pytest.mark.parametrize("path", [*tree.product(), *tree.tests()], ids=tree.name)
def test_a_file_is_at_most_600_lines(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= MAX_FILE


@pytest.mark.parametrize("path", tree.product(), ids=tree.name)
def test_a_function_is_at_most_45_lines(path: Path) -> None:
    long = {
        node.name: length
        for node in tree.functions(tree.parse(path))
        if (length := (node.end_lineno or node.lineno) - node.lineno + 1) > MAX_FUNCTION
    }
    # A migration is one long list of columns and is never edited again.
    assert not long or "migrations" in path.parts


@pytest.mark.parametrize("path", tree.product(), ids=tree.name)
def test_a_module_is_named_after_what_it_is_about(path: Path) -> None:
    assert not NO_NAMES & {path.stem, path.parent.name}


@pytest.mark.parametrize("path", tree.product(), ids=tree.name)
def test_everything_public_says_what_it_is(path: Path) -> None:
    assert _undocumented(path) == []
