"""What the functions in the private subnets are made of: their modules and, for one, the bundle. Pure.

Read by the components that make the functions. The modules are laid out as in this tree, without
``byoc/__init__.py`` (which asks for installed metadata): Python takes folders without one as they are.
The invariant: one text for one bundle and one version of the code; Pulumi zips it with fixed dates.
"""

from importlib.resources import files
from typing import Final

from byoc.cell.installer.package import BUNDLE_FILE
from byoc.cell.manifests import Bundle

INSTALLER: Final = "byoc.cell.installer.handler.handle"
CONTROL: Final = "byoc.cell.control.handler.handle"
_FLOOR: Final = ("byoc/errors.py", "byoc/cell/incluster.py")
_CONTROL: Final = tuple(f"byoc/cell/control/{name}.py" for name in ("__init__", "handler", "objects"))
_API: Final = tuple(
    f"byoc/cell/installer/{name}.py" for name in ("__init__", "api", "budget", "kinds", "token")
)


def package(bundle: Bundle) -> dict[str, str]:
    """Return path to text of every file of the installer's package."""
    return _texts(*_FLOOR, *_folder("cell/installer")) | {BUNDLE_FILE: bundle.text}


def control_package() -> dict[str, str]:
    """Return path to text of every file of the control function's package."""
    return _texts(*_FLOOR, "byoc/model/papers.py", *_API, *_CONTROL)


def _folder(name: str) -> list[str]:
    found = files("byoc").joinpath(name).iterdir()
    return sorted(f"byoc/{name}/{each.name}" for each in found if each.name.endswith(".py"))


def _texts(*names: str) -> dict[str, str]:
    root = files("byoc")
    return {name: root.joinpath(name.removeprefix("byoc/")).read_text(encoding="utf-8") for name in names}
