"""The objects of example workspaces as files: what a change of the builders does, a review shows.

A few examples are there whole; of every size, what it has otherwise than S-1.
Written anew by ``python -m tests.unit.dataplane.kubernetes.goldens``.
"""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

import yaml  # type: ignore[import-untyped]  # a part of what the Kubernetes client brings along

from byoc.dataplane.kubernetes import manifests, sizing
from byoc.dataplane.kubernetes.chosen import chosen
from byoc.dataplane.kubernetes.intended import Intended
from byoc.dataplane.kubernetes.kinds import Json
from byoc.dataplane.kubernetes.settings import SINGLESTORE, ClusterSettings
from byoc.dataplane.kubernetes.singlestore import manifests as operated
from byoc.dataplane.kubernetes.singlestore.order import Secret, memsql_cluster
from byoc.dataplane.kubernetes.singlestore.shape import disk_gib
from byoc.dataplane.runtime import Doors, Limits
from byoc.ids import GroupID, WorkspaceID
from byoc.model.size import LADDER

FOLDER = Path(__file__).with_name("golden")
HOW = "objects changed; if they were meant to: python -m tests.unit.dataplane.kubernetes.goldens"

WORKSPACE: Final = WorkspaceID("11111111-2222-4333-8444-555555555555")
GROUP: Final = GroupID("99999999-2222-4333-8444-555555555555")
SETTINGS: Final = ClusterSettings(domain="prod.byoc.internal")
_DIGEST: Final = "sha256:" + 64 * "0"
OPERATED_SETTINGS: Final = ClusterSettings(
    engine=SINGLESTORE,
    domain="prod.byoc.internal",
    image=f"registry.example/singlestore/node:8.9.3@{_DIGEST}",
    operator_image=f"registry.example/singlestore/operator:4.81.0@{_DIGEST}",
    bucket="data-of-prod",
    region="eu-central-1",
    role="arn:aws:iam::123456789012:role/byoc-prod-engine",
)
ORDER: Final = Secret("LICENCE", "*HASH")
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


def of_nodes(limits: Limits, *, running: bool = True, doors: Doors = Doors(("203.0.113.0/24",))) -> Intended:
    """Return the input of the builders for an example with several nodes."""
    return Intended(WORKSPACE, GROUP, limits, doors, disk_gib(limits, 1), running=running)


OPERATED: Final = {
    "singlestore-S-00": of_nodes(Limits("S-00")),
    "singlestore-S-0": of_nodes(Limits("S-0")),
    "singlestore-S-1": of_nodes(Limits("S-1")),
    "singlestore-S-1-scaled-4-cache-2": of_nodes(Limits("S-1", 4, 2)),
    "singlestore-S-4-suspended": of_nodes(Limits("S-4"), running=False),
    "singlestore-S-8-open": of_nodes(Limits("S-8"), doors=Doors(everybody=True)),
}
ALL: Final = {
    **{name: (each, SETTINGS) for name, each in EXAMPLES.items()},
    **{name: (each, OPERATED_SETTINGS) for name, each in OPERATED.items()},
}
"""Every example, with the settings of its cell."""


def objects(of: Intended, settings: ClusterSettings = SETTINGS) -> list[Json]:
    """Return every object of a workspace, in the order in which they are applied."""
    engine = chosen(settings)
    last = [manifests.engine(of, settings)] if settings.engine != SINGLESTORE else _ordered(of, settings)
    return [
        manifests.space(of),
        manifests.binding(of),
        *engine.surroundings(of),
        *engine.claims(of),
        engine.secret(of, SECRETS),
        *last,
    ]


def _ordered(of: Intended, settings: ClusterSettings) -> list[Json]:
    return [memsql_cluster(of, settings, ORDER), *operated.operator(of, settings)]


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]
    def ignore_aliases(self, data: object) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def text(of: Intended, settings: ClusterSettings) -> str:
    """Return what the golden file of an example should hold."""
    return str(yaml.dump_all(objects(of, settings), Dumper=_Dumper, sort_keys=False, width=100))


def sizes(of: Callable[[Limits], Intended], settings: ClusterSettings) -> str:
    """Return what every size has otherwise than S-1, a line for each value."""
    base = dict(_values(of(Limits("S-1")), settings))
    told = []
    for size in LADDER:
        found = _values(of(Limits(size)), settings)
        told.append(f"{size}:\n")
        told += [f"  {path}: {value}\n" for path, value in found if base.get(path) != value]
    return "".join(told)


def _values(of: Intended, settings: ClusterSettings) -> Iterator[tuple[str, object]]:
    """Yield each value of a workspace's objects by its path; of a large size's many claims, their number."""
    found = objects(of, settings)[1:]
    claims = [each["metadata"]["name"] for each in found if each["kind"] == "PersistentVolumeClaim"]
    yield "claims", len(claims)
    for each in found:
        if each["metadata"]["name"] not in claims or each["metadata"]["name"].endswith(("data", "-0")):
            yield from _leaves(f"{each['kind']} {each['metadata']['name']}", each)


def _leaves(path: str, value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, str):
        # A file within is told line by line.
        value = value.splitlines() if "\n" in value else value
    if isinstance(value, dict):
        parts: Iterable[tuple[object, object]] = value.items()
    elif isinstance(value, list):
        parts = enumerate(value)
    else:
        yield path, value
        return
    for name, part in parts:
        yield from _leaves(f"{path}.{name}", part)


def files() -> Iterator[tuple[Path, str]]:
    """Yield every golden file, and what it should hold."""
    for name, example in ALL.items():
        yield FOLDER / f"{name}.yaml", text(*example)
    yield FOLDER / "mysql-sizes.txt", sizes(intended, SETTINGS)
    yield FOLDER / "singlestore-sizes.txt", sizes(of_nodes, OPERATED_SETTINGS)


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for path, content in files():
        path.write_text(content, encoding="utf-8")
