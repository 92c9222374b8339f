"""What stands for the images that pods name: a program of this machine, nothing at all, or a failing pull."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from byoc.dataplane.local import template
from byoc.dataplane.local.engine import find
from tests.emulated.machines.container import PATH, Mount

_PROGRAMS: Final = "/opt/engine/bin"
_TEMPLATE: Final = "/opt/engine/template"
_INSTALL: Final = f"""#!/bin/sh
for each; do case $each in --datadir=*) folder=${{each#*=}} ;; esac; done
mkdir -p "$folder" && exec cp -R --sparse=always --reflink=auto {_TEMPLATE}/. "$folder"
"""


class NoSuchImage(Exception):
    """The registry does not have it, or does not answer."""


@dataclass(frozen=True)
class Program:
    """What an image runs.

    Attributes:
        entrypoint: taken where the pod names no command.
        mounts: what the image has beyond this machine's ``/usr``.
        environment: what the image sets.
    """

    entrypoint: Sequence[str] = ()
    mounts: Sequence[Mount] = ()
    environment: Mapping[str, str] = field(default_factory=dict)


def engine(folder: Path) -> Program:
    """Return this machine's SQL engine as an image that has it on its PATH.

    What makes a data folder copies one that was made before: that is not what tests are about.
    """
    found = find(os.environ)
    assert found is not None, "no SQL engine on this machine; get one with `byoc engine install`"
    made = template.ensure(folder / "template", found)
    for each in (made, *made.rglob("*")):
        each.chmod(0o755 if each.is_dir() else 0o644)
    programs = folder / "programs"
    programs.mkdir()
    (programs / "mariadb-install-db").write_text(_INSTALL)
    (programs / "mariadb-install-db").chmod(0o755)
    path, mounts = f"{_PROGRAMS}:{PATH}", [Mount(made, _TEMPLATE), Mount(programs, _PROGRAMS)]
    if found.root is None:
        return Program(mounts=mounts, environment={"PATH": path})
    mounts += [Mount(found.root, str(found.root)), Mount(found.share, "/usr/share/mysql")]
    environment = {
        "PATH": f"{path}:{found.program.parent}:{found.root}/usr/bin",
        "LD_LIBRARY_PATH": os.pathsep.join(map(str, found.libraries)),
    }
    return Program(mounts=mounts, environment=environment)


@dataclass
class Images:
    """The registry.

    A container runs for real where its image's repository (or a part of its name) is a key of
    ``programs``, or where it is called ``engine`` (and what comes before one in its pod); any other is
    held ready without a process.

    Attributes:
        broken: images that hold one of these texts cannot be pulled.
    """

    engine: Program
    programs: dict[str, Program] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)

    def pull(self, container: Mapping[str, object], *, of_engine: bool) -> Program | None:
        """Return what to run; None for a container that is only held ready.

        Args:
            of_engine: the container is an engine, or prepares one.
        """
        image = str(container["image"])
        if any(each in image for each in self.broken):
            raise NoSuchImage(f'failed to pull "{image}": not found')
        for part, program in self.programs.items():
            if part in image:
                return program
        return self.engine if of_engine else None
