"""The source tree as data, for the tests beside this file."""

import ast
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
Function = ast.FunctionDef | ast.AsyncFunctionDef


def product() -> list[Path]:
    """Every module that is shipped."""
    return sorted([*ROOT.glob("byoc/**/*.py"), *ROOT.glob("cli/byoc_cli/**/*.py")])


def tests() -> list[Path]:
    """Every file of tests."""
    return sorted(ROOT.glob("tests/**/test_*.py"))


def name(path: Path) -> str:
    """Return the path as it is written in this repository."""
    return path.relative_to(ROOT).as_posix()


def parse(path: Path) -> ast.Module:
    """Return the syntax tree of one file."""
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def functions(tree: ast.AST) -> Iterator[Function]:
    """Every function and method, nested ones too."""
    return (node for node in ast.walk(tree) if isinstance(node, Function))


def tracked() -> list[Path]:
    """Every text file under version control, as it is on disk now."""
    listed = subprocess.run(
        ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-z"],  # noqa: S607 - whichever git is there
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return [ROOT / line for line in listed.split("\0") if line and (ROOT / line).is_file()]
