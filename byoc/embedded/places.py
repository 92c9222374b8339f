"""Where an embedded instance keeps its things: names of folders and files, and nothing else.

Used by everything in this package, and by the command line to find the default instance.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from byoc.homes import base


def default_data(environment: Mapping[str, str]) -> Path:
    """Return the data folder of an instance that was not told where to live."""
    return base(environment, "XDG_DATA_HOME", ".local/share") / "byoc"


def instances_folder(environment: Mapping[str, str]) -> Path:
    """Return the folder in which running instances are registered."""
    return base(environment, "XDG_STATE_HOME", ".local/state") / "byoc" / "instances"


@dataclass(frozen=True, slots=True)
class Places:
    """The files of one instance.

    Args:
        data: the data folder, absolute.
    """

    data: Path

    @property
    def layout(self) -> Path:
        """Versions and ports; its presence says that the folder is ours."""
        return self.data / "layout.json"

    @property
    def run(self) -> Path:
        """What is true only while the instance runs."""
        return self.data / "run"

    @property
    def lock(self) -> Path:
        """Held by the supervisor as long as it lives."""
        return self.run / "lock"

    @property
    def pids(self) -> Path:
        """The processes of the instance, each with its start time."""
        return self.run / "pids.json"

    @property
    def log(self) -> Path:
        """One log per process."""
        return self.data / "log"

    @property
    def backups(self) -> Path:
        """What was kept before a migration."""
        return self.data / "backups"

    @property
    def controlplane(self) -> Path:
        """What belongs to the provider's side."""
        return self.data / "controlplane"

    @property
    def owner_token(self) -> Path:
        """The owner's Management API key, 0600."""
        return self.controlplane / "owner.token"

    @property
    def gateway(self) -> Path:
        """Certificate and key of the gateway, and the public root key it trusts."""
        return self.data / "gateway"

    @property
    def cell(self) -> Path:
        """What belongs to the customer's side."""
        return self.data / "cell"

    @property
    def thumbprint(self) -> Path:
        """What the cell shows of its keys before it is enrolled."""
        return self.cell / "thumbprint"

    @property
    def enrolment(self) -> Path:
        """What is handed over to the cell, outside the tunnel."""
        return self.cell / "enrolment.json"

    @property
    def identity(self) -> Path:
        """What the cell wrote once it was enrolled."""
        return self.cell / "identity.json"

    @property
    def volumes(self) -> Path:
        """The workspaces' data, one folder each."""
        return self.cell / "volumes"

    @property
    def workspaces(self) -> Path:
        """What the cell holds of each workspace, one file each."""
        return self.cell / "state" / "workspaces"

    def registration(self, instances: Path) -> Path:
        """Return the file that registers this instance in ``instances``."""
        return instances / (hashlib.sha256(str(self.data).encode()).hexdigest()[:16] + ".json")
