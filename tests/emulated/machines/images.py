"""What stands for the images that pods name: a program of this machine, nothing at all, or a failing pull."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from byoc.dataplane.local.engine import find
from tests.emulated.machines.container import PATH, Mount


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


def engine() -> Program:
    """Return this machine's SQL engine, wherever it is, as an image that has it on its PATH."""
    found = find(os.environ)
    assert found is not None, "no SQL engine on this machine; get one with `byoc engine install`"
    if found.root is None:
        return Program()
    environment = {
        "PATH": f"{found.program.parent}:{found.root}/usr/bin:{PATH}",
        "LD_LIBRARY_PATH": os.pathsep.join(map(str, found.libraries)),
    }
    mounts = [Mount(found.root, str(found.root)), Mount(found.share, "/usr/share/mysql")]
    return Program(mounts=mounts, environment=environment)


@dataclass
class Images:
    """The registry.

    A container runs for real where its image's repository (or a part of its name) is a key of
    ``programs``, or where it is called ``engine``; any other is held ready without a process.

    Attributes:
        broken: images that hold one of these texts cannot be pulled.
    """

    engine: Program = field(default_factory=engine)
    programs: dict[str, Program] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)

    def pull(self, container: Mapping[str, object]) -> Program | None:
        """Return what to run; None for a container that is only held ready."""
        image = str(container["image"])
        if any(each in image for each in self.broken):
            raise NoSuchImage(f'failed to pull "{image}": not found')
        for part, program in self.programs.items():
            if part in image:
                return program
        return self.engine if container["name"] == "engine" else None
