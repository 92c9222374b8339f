"""What the installer function is made of: its modules and the one bundle it can apply. Pure.

Read by the component that makes the function. The modules are laid out as in this tree, without
``byoc/__init__.py`` (which asks for installed metadata): Python takes folders without one as they are.
The invariant: one text for one bundle and one version of the code; Pulumi zips it with fixed dates.
"""

from importlib.resources import files
from typing import Final

from byoc.cell.installer.package import BUNDLE_FILE
from byoc.cell.manifests import Bundle

HANDLER: Final = "byoc.cell.installer.handler.handle"
_INSTALLER: Final = "byoc/cell/installer"
_FLOOR: Final = ("byoc/errors.py", "byoc/cell/incluster.py")


def package(bundle: Bundle) -> dict[str, str]:
    """Return path to text of every file of the function's package."""
    root = files("byoc")
    modules = sorted(
        each.name for each in root.joinpath("cell/installer").iterdir() if each.name.endswith(".py")
    )
    names = (*_FLOOR, *(f"{_INSTALLER}/{name}" for name in modules))
    texts = {name: root.joinpath(name.removeprefix("byoc/")).read_text(encoding="utf-8") for name in names}
    return texts | {BUNDLE_FILE: bundle.text}
