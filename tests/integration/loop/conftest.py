from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from byoc.faults import VARIABLE, Step
from byoc.testing.instance import Instance


@dataclass
class Loop:
    """One instance shared by a module, with a switch for every step."""

    instance: Instance
    faults: Path

    def arm(self, step: Step) -> None:
        (self.faults / step).touch()

    def armed(self, step: Step) -> bool:
        return (self.faults / step).exists()

    def disarm(self) -> None:
        for file in self.faults.iterdir():
            file.unlink()

    def group(self, name: str) -> str:
        body = {"name": name, "regionID": self.instance.line["cellID"], "firewallRanges": []}
        return str(self.instance.ask("POST", "/v1/workspaceGroups", body)["workspaceGroupID"])

    def create(self, name: str, group: str, **fields: Any) -> str:
        body = {"name": name, "workspaceGroupID": group, "size": "S-00", **fields}
        return str(self.instance.ask("POST", "/v1/workspaces", body)["workspaceID"])


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loop]:
    root = tmp_path_factory.mktemp("loop")
    faults = root / "faults"
    faults.mkdir()
    with Instance(root / "data", environment={VARIABLE: str(faults)}) as instance:
        yield Loop(instance, faults)
