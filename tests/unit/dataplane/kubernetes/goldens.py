"""The objects of example workspaces as files: what a change of the builders does, a review shows.

Written anew by ``python -m tests.unit.dataplane.kubernetes.goldens``.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import yaml  # type: ignore[import-untyped]  # a part of what the Kubernetes client brings along

from byoc.dataplane.kubernetes import manifests, sizing
from byoc.dataplane.kubernetes.intended import Intended
from byoc.dataplane.kubernetes.kinds import Json
from byoc.dataplane.kubernetes.settings import ClusterSettings
from byoc.dataplane.runtime import Doors, Limits
from byoc.ids import GroupID, WorkspaceID

FOLDER = Path(__file__).with_name("golden")
HOW = "objects changed; if they were meant to: python -m tests.unit.dataplane.kubernetes.goldens"

WORKSPACE: Final = WorkspaceID("11111111-2222-4333-8444-555555555555")
GROUP: Final = GroupID("99999999-2222-4333-8444-555555555555")
SETTINGS: Final = ClusterSettings(domain="prod.byoc.internal")
SECRETS: Final = manifests.Secrets("-- accounts\n", "certificate\n", "key\n", "authority\n")


def intended(
    limits: Limits, *, running: bool = True, kept: bool = True, doors: Doors | None = None
) -> Intended:
    """Return the input of the builders for an example."""
    open_to = doors or Doors(("203.0.113.0/24", "198.51.100.7"))
    disk = sizing.disk_gib(limits, SETTINGS.size_divisor)
    return Intended(WORKSPACE, GROUP, limits, open_to, disk, running=running, kept=kept)


EXAMPLES: Final = {
    "mysql-S-00": intended(Limits("S-00"), kept=False),
    "mysql-S-0": intended(Limits("S-0")),
    "mysql-S-1": intended(Limits("S-1")),
    "mysql-S-1-scaled-4-cache-2": intended(Limits("S-1", 4, 2)),
    "mysql-S-4-suspended": intended(Limits("S-4"), running=False),
    "mysql-S-8-open": intended(Limits("S-8"), doors=Doors(everybody=True)),
}


def objects(of: Intended, settings: ClusterSettings = SETTINGS) -> list[Json]:
    """Return every object of a workspace, in the order in which they are applied."""
    return [
        manifests.space(of),
        manifests.binding(of),
        *manifests.surroundings(of, settings),
        manifests.claim(of, settings),
        manifests.secret(of, SECRETS),
        manifests.engine(of, settings),
    ]


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]
    def ignore_aliases(self, data: object) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def text(of: Intended) -> str:
    """Return what the golden file of an example should hold."""
    return str(yaml.dump_all(objects(of), Dumper=_Dumper, sort_keys=False, width=100))


def files() -> Iterator[tuple[Path, str]]:
    """Yield every golden file, and what it should hold."""
    for name, example in EXAMPLES.items():
        yield FOLDER / f"{name}.yaml", text(example)


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for path, content in files():
        path.write_text(content, encoding="utf-8")
