"""Which instances run on this machine for this user: one small file each.

Written by the supervisor, read by the command line to find the only running instance. A file whose
process is gone means nothing and is removed by whoever reads it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from byoc.durable import make_folder
from byoc.embedded import processes
from byoc.embedded.files import read_json, write_json
from byoc.embedded.places import Places, instances_folder
from byoc.embedded.processes import Identity


@dataclass(frozen=True, slots=True)
class Instance:
    """One running instance.

    Args:
        url: of its Management API.
        data: its data folder.
        supervisor: the process that answers for it.
        organization_id: the organization its owner belongs to.
        cell_id: its local cell.
        gateway: the gateway's URL.
    """

    url: str
    data: Path
    supervisor: Identity
    organization_id: str
    cell_id: str
    gateway: str

    @property
    def token_file(self) -> Path:
        """Where the owner's key is."""
        return Places(self.data).owner_token


def register(instance: Instance, environment: Mapping[str, str]) -> None:
    """Make ``instance`` known."""
    folder = instances_folder(environment)
    make_folder(folder)
    value = {
        "url": instance.url,
        "data": str(instance.data),
        "pid": instance.supervisor.pid,
        "started": instance.supervisor.started,
        "organizationID": instance.organization_id,
        "cellID": instance.cell_id,
        "gateway": instance.gateway,
    }
    write_json(Places(instance.data).registration(folder), value)


def unregister(data: Path, environment: Mapping[str, str]) -> None:
    """Forget the instance on ``data``; no error where it was not known."""
    Places(data).registration(instances_folder(environment)).unlink(missing_ok=True)


def instances(environment: Mapping[str, str]) -> list[Instance]:
    """Return the instances that run, oldest first; files of dead ones are removed."""
    found = []
    for path in sorted(instances_folder(environment).glob("*.json")):
        instance = _parse(read_json(path) or {})
        if instance is not None and processes.is_alive(instance.supervisor):
            found.append(instance)
        else:
            path.unlink(missing_ok=True)
    return sorted(found, key=lambda instance: instance.supervisor.started)


def _parse(value: dict[str, Any]) -> Instance | None:
    try:
        return Instance(
            url=str(value["url"]),
            data=Path(value["data"]),
            supervisor=Identity(int(value["pid"]), float(value["started"])),
            organization_id=str(value["organizationID"]),
            cell_id=str(value["cellID"]),
            gateway=str(value["gateway"]),
        )
    except (KeyError, TypeError, ValueError):
        return None
