"""Which ``pulumi`` to run: byoc's own installation, else the one on PATH, if it is new enough.

Bootstrap and the doctor's check ask here before anything else starts. What a user installed is
run but never changed: :func:`install` writes below byoc's own folder and nowhere else.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Final

from byoc.errors import Failed, PreconditionFailed, Unreachable

TESTED: Final = "3.259.0"
"""The version that the tests run; what :func:`install` gets."""

OLDEST: Final = (3, 205)
"""Older engines write their event log to a file only and lack what refresh and destroy need."""

_INSTALL_HINT: Final = "let byoc install its own copy: add --install-pulumi"
_VERSION: Final = re.compile(r"v?(\d+)\.(\d+)\.(\d+)\S*\Z")
_ANSWER_SECONDS: Final = 30

Version = tuple[int, int, int]


@dataclass(frozen=True)
class Pulumi:
    """An engine fit to be run; ``warning`` is empty or one sentence for the user."""

    path: Path
    version: Version
    warning: str = ""

    @property
    def text(self) -> str:
        """The version without its ``v``."""
        return ".".join(map(str, self.version))


def judge(path: Path, answer: str, sdk: str) -> Pulumi:
    """Accept or refuse the engine at ``path`` by what it answers to ``pulumi version``.

    Args:
        path: the program, for messages.
        answer: its standard output.
        sdk: version of the Python SDK that will drive it.

    Raises:
        PreconditionFailed: no version, another major version than the SDK's, or too old.
    """
    said = answer.strip()
    if not said:
        raise PreconditionFailed(f"{path} tells no version: it was built without one", hint=_INSTALL_HINT)
    found = _VERSION.match(said)
    if found is None:
        raise PreconditionFailed(f"{path} tells no version but `{said[:60]}`", hint=_INSTALL_HINT)
    version = (int(found[1]), int(found[2]), int(found[3]))
    wanted = tuple(int(part) for part in sdk.split(".")[:2])
    if version[0] != wanted[0]:
        raise PreconditionFailed(
            f"{path} is {said}; byoc works with major version {wanted[0]}", hint=_INSTALL_HINT
        )
    if version[:2] < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        raise PreconditionFailed(f"{path} is {said}; {oldest} or newer is needed", hint=_INSTALL_HINT)
    older = version[:2] < wanted
    return Pulumi(path, version, f"{path} is {said}; byoc is tested with {TESTED}" if older else "")


def own(data: Path) -> Path:
    """Where byoc's own engine lies below the data folder ``data``."""
    return data / "pulumi" / TESTED / "bin" / "pulumi"


def find(data: Path, environment: Mapping[str, str]) -> Pulumi:
    """The engine to run: byoc's own in ``data`` first, because that is the tested one, else PATH's.

    Raises:
        PreconditionFailed: none, or one that does not fit; the hint says how to get one.
    """
    path = own(data)
    if not os.access(path, os.X_OK):
        on_path = shutil.which("pulumi", path=environment.get("PATH", os.defpath))
        if on_path is None:
            raise PreconditionFailed("pulumi is not installed", hint=_INSTALL_HINT)
        path = Path(on_path)
    return judge(path, _ask(path, data, environment), metadata.version("pulumi"))


def _ask(path: Path, data: Path, environment: Mapping[str, str]) -> str:
    # A home of our own, because every call of the engine writes into the one it is given.
    quiet = {"PULUMI_SKIP_UPDATE_CHECK": "1", "PULUMI_HOME": str(data / "pulumi" / "home")}
    try:
        return subprocess.run(
            [str(path), "version"],
            env={**environment, **quiet},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_ANSWER_SECONDS,
            check=True,
        ).stdout
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError) as error:
        raise PreconditionFailed(f"{path} does not run", hint=_INSTALL_HINT) from error


def install(data: Path, environment: Mapping[str, str]) -> Pulumi:
    """Get the tested version into byoc's own folder, by Pulumi's own installer.

    Called only where the user asked for it. A download that ends half-way leaves nothing.

    Raises:
        Unreachable: the installer could not be downloaded.
        Failed: it ran and did not succeed.
    """
    # Both come with the SDK and load slowly; an engine that is there needs neither.
    from pulumi.automation import PulumiCommand  # noqa: PLC0415
    from semver import VersionInfo  # noqa: PLC0415

    path = own(data)
    root = path.parent.parent
    try:
        PulumiCommand.install(root=str(root), version=VersionInfo.parse(TESTED))
    except Exception as error:
        shutil.rmtree(root, ignore_errors=True)
        reason = getattr(error, "reason", None) or type(error).__name__
        if isinstance(error, OSError):
            raise Unreachable(
                f"cannot download pulumi {TESTED}: {reason}", hint="check the network or a proxy's variables"
            ) from error
        raise Failed(
            f"pulumi's installer failed: {reason}", hint=f"install pulumi {TESTED} by hand, onto PATH"
        ) from error
    return judge(path, _ask(path, data, environment), metadata.version("pulumi"))
