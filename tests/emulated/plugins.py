"""Lays the test-only providers where the engine looks for plugins: as the very versions the SDKs ask for."""

import sys
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


_PLUGINS = {"aws": "provider.py", "kubernetes": "kubernetes_provider.py"}


def lay_plugins(home: Path) -> None:
    """Write launchers into the plugin cache of the engine's ``home``."""
    for package, program in _PLUGINS.items():
        plugin = home / "plugins" / f"resource-{package}-v{metadata.version(f'pulumi-{package}')}"
        plugin.mkdir(parents=True, exist_ok=True)
        launcher = plugin / f"pulumi-resource-{package}"
        launcher.write_text(f'#!/bin/sh\nexec "{sys.executable}" -u "{ROOT}/tests/emulated/{program}" "$@"\n')
        launcher.chmod(0o755)


def lay_language_host(beside: Path) -> None:
    """Write the launcher of the language host beside an engine's binary, where the engine looks for it."""
    launcher = beside / "pulumi-language-python"
    launcher.write_text(
        f'#!/bin/sh\nexport PYTHONPATH="{ROOT}"\n'
        f'exec "{sys.executable}" -u "{ROOT}/tests/emulated/language_host.py" "$@"\n'
    )
    launcher.chmod(0o755)
