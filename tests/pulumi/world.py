"""One stack on one emulated account: folders, environment, the engine, and what the account holds."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import boto3

from byoc.bootstrap import state
from byoc.bootstrap.aws import Account
from byoc.bootstrap.engine.events import Progress
from byoc.bootstrap.engine.find import Pulumi
from byoc.bootstrap.engine.interrupts import Interrupts, Patience
from byoc.bootstrap.engine.locks import Lock, held
from byoc.bootstrap.engine.objects import FolderObjects
from byoc.bootstrap.engine.session import Backend, Run, Session
from byoc.bootstrap.engine.stack import Stack
from byoc.bootstrap.finder import AccountFinder
from byoc.clock import SystemClock
from tests.emulated.plugins import lay_plugins
from tests.pulumi.program import CELL, Shape, cell

ROOT = Path(__file__).resolve().parents[2]
PROJECT, NAME, HOST = "byoc", "prod", os.uname().nodename
FAULT = "BYOC_TEST_FAULT"


@dataclass
class World:
    """A test's folders and the account behind ``endpoint``."""

    folder: Path
    pulumi: Pulumi
    endpoint: str
    shape: Shape = field(default_factory=Shape)
    told: list[str] = field(default_factory=list)
    seen: list[Progress] = field(default_factory=list)
    fault: Mapping[str, Any] = field(default_factory=dict)
    interrupts: Interrupts = field(default_factory=Interrupts)
    patience: Patience = field(default_factory=Patience)
    runs: int = 0
    loops: list[asyncio.AbstractEventLoop] = field(default_factory=list)

    def __post_init__(self) -> None:
        (self.folder / "state").mkdir(parents=True)
        (self.folder / "passphrase").write_text("of a test")
        lay_plugins(self.home)

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def url(self) -> str:
        return f"file://{self.folder}/state"

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PULUMI_CONFIG_PASSPHRASE_FILE": str(self.folder / "passphrase"),
            "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "1",
            "PULUMI_DISABLE_REGISTRY_RESOLVE": "1",
            FAULT: json.dumps(self.fault),
        }

    @cached_property
    def backend(self) -> Backend:
        return Backend(self.url, FolderObjects.of(self.url), "passphrase")

    @cached_property
    def account(self) -> Account:
        """The account as bootstrap sees it; the conftest's environment says where it is."""
        return Account(boto3.Session(), "us-east-1")

    def aws(self, service: str) -> Any:
        return self.account.client(service)

    @property
    def finder(self) -> AccountFinder:
        return AccountFinder(self.account, CELL)

    def move_to_bucket(self) -> None:
        """Keep the state in a bucket of the account from now on, its secrets under a key of it."""
        state.make(self.account)
        self.backend = state.backend(self.account, endpoint=self.endpoint)

    def session(self) -> Session:
        self.runs += 1
        run = Run(
            pulumi=self.pulumi,
            home=self.home,
            folder=self.folder / f"run-{self.runs}",
            hostname=HOST,
            tell=self.told.append,
            env=self.environment,
            patience=self.patience,
            interrupts=self.interrupts,
        )
        return Session(run, SystemClock())

    def program(self) -> None:
        self.loops.append(asyncio.get_running_loop())
        cell(self.shape)

    def close_loops(self) -> None:
        """Close what the SDK's server for inline programs forgets after a run that failed."""
        for loop in self.loops:
            eventually(lambda loop=loop: not loop.is_running())
            loop.close()

    def stack(self) -> Stack:
        """The stack as another run of byoc would open it: nothing is shared but the state."""
        return Stack.open(self.session(), PROJECT, NAME, self.program, self.backend)

    def open_existing(self) -> Stack:
        """The stack, if there is one."""
        return Stack.open(self.session(), PROJECT, NAME, self.program, self.backend, create=False)

    def locks(self) -> list[Lock]:
        return held(self.backend.objects, PROJECT, NAME)

    def disable_rotation(self) -> str:
        """Change the cell's key by hand and return its id."""
        kms = self.aws("kms")
        key: str = next(
            row["KeyId"]
            for row in kms.list_keys()["Keys"]
            if kms.describe_key(KeyId=row["KeyId"])["KeyMetadata"]["Description"] == "cell key"
        )
        kms.disable_key_rotation(KeyId=key)
        return key

    def plugins(self) -> list[int]:
        """Processes of this world's provider that live."""
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            try:
                if str(self.home).encode() in path.read_bytes():
                    found.append(int(path.parent.name))
            except OSError:
                continue
        return found

    def leftovers(self) -> dict[str, int]:
        """What the account holds of the small cell."""
        ec2 = self.aws("ec2")
        own = [{"Name": "is-default", "Values": ["false"]}]
        endpoints = ec2.describe_vpc_endpoints()["VpcEndpoints"]
        return {
            "vpcs": len(ec2.describe_vpcs(Filters=own)["Vpcs"]),
            "endpoints": len([row for row in endpoints if row["State"] != "deleted"]),
            "clusters": len(self.aws("eks").list_clusters()["clusters"]),
            "roles": len(self.aws("iam").list_roles()["Roles"]),
            "log groups": len(self.aws("logs").describe_log_groups()["logGroups"]),
        }

    def tool(self, **more: str) -> "Tool":
        """Run ``up`` in a process of its own, to be interrupted."""
        self.runs += 1
        facts = {
            "binary": str(self.pulumi.path),
            "home": str(self.home),
            "folder": str(self.folder / f"run-{self.runs}"),
            "url": self.url,
            "env": self.environment,
        }
        child = subprocess.Popen(
            [sys.executable, "-m", "tests.pulumi.tool", json.dumps(facts)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), **more},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        return Tool(child)


class Tool:
    """A run of byoc in another process, told line by line."""

    def __init__(self, child: "subprocess.Popen[str]") -> None:
        self.child = child
        self.lines: list[str] = []

    def until(self, text: str) -> str:
        """Read on until a line holds ``text``."""
        assert self.child.stdout is not None
        for line in self.child.stdout:
            self.lines.append(line.rstrip())
            if text in line:
                return line.rstrip()
        raise AssertionError(f"{text!r} never came:\n" + "\n".join(self.lines))

    def end(self) -> list[str]:
        """Wait for the end and return every line."""
        assert self.child.stdout is not None
        self.lines += [line.rstrip() for line in self.child.stdout]
        self.child.wait(60)
        self.child.stdout.close()
        return self.lines


def eventually(check: Callable[[], object], seconds: float = 30) -> None:
    """Wait until ``check`` holds: for what happens in processes that are not ours any more."""
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.1)
