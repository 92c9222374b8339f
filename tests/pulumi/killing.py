"""`byoc bootstrap` killed somewhere on its way, again and again, and then run to its end.

Where: at the answer to the account's so-many-th call, which is a place in the run and no moment in time, so
that a slow machine dies where a quick one does. How: byoc alone, whose engine then ends its run by itself,
or everything at once, as when the machine loses its power.
"""

import base64
import json
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

from byoc.bootstrap.engine.find import Pulumi
from byoc.testing.instance import Instance, eventually
from tests.emulated import account, kubernetes
from tests.emulated.functions import running
from tests.emulated.kubelet import machine
from tests.emulated.kubernetes import Cluster
from tests.emulated.plugins import lay_plugins
from tests.pulumi.site import Site

CELL = "sales"
IMAGE = f"registry.example/byoc-agent@sha256:{'a' * 64}"
CALLS = 900
"""A little less than a whole bootstrap makes; a run that is through before is not killed."""
_TAG, _MINE = "byoc:logical-name", "byoc:cell"
_KINDS = {
    "describe_vpcs": "Vpcs",
    "describe_subnets": "Subnets",
    "describe_internet_gateways": "InternetGateways",
    "describe_addresses": "Addresses",
    "describe_nat_gateways": "NatGateways",
    "describe_route_tables": "RouteTables",
    "describe_security_groups": "SecurityGroups",
    "describe_vpc_endpoints": "VpcEndpoints",
    "describe_flow_logs": "FlowLogs",
    "describe_launch_templates": "LaunchTemplates",
}


@contextmanager
def emulated(engine: Pulumi, folder: Path) -> Iterator[Site]:
    """Give an empty account whose functions reach a cluster, and a home."""
    home = folder / "home"
    lay_plugins(home / ".local/share/byoc-pulumi/home")
    with account.serving() as aws, kubernetes.serving(Cluster(admits=bool), folder) as cluster:
        reached = {
            "BYOC_CLUSTER_ENDPOINT": cluster.url,
            "BYOC_CLUSTER_AUTHORITY": base64.b64encode(cluster.authority.encode()).decode(),
        }
        with running(lambda _: reached), machine(cluster, folder / "pod"):
            site = Site(aws, home, str(engine.path.parent))
            try:
                yield site
            finally:
                site.lose_power()


def killed(site: Site, words: tuple[str, ...], reach: Mapping[str, str], *, at: int, all_of_it: bool) -> bool:
    """Run a command and kill it at the account's call number ``at``; return whether it was still there."""
    reached, left = threading.Event(), iter(range(at))

    def heard(_: Any) -> None:
        if next(left, None) is None:
            reached.set()

    with site.account.heard(heard):
        child = site.begun(*words, env=reach)
        while child.poll() is None and not reached.wait(0.02):
            pass
    alive = child.poll() is None
    if all_of_it:
        site.lose_power()
    child.kill()
    child.wait()
    eventually("the engine has ended its run", lambda: not site.processes(), seconds=300)
    return alive


def story(site: Site, instance: Instance, rng: Random, kills: int) -> int:
    """Kill bootstrap ``kills`` times, let it finish, prove it whole; return how many runs were cut off."""
    reach = {"BYOC_URL": instance.line["url"], "BYOC_TOKEN": instance.line["token"]}
    where = (
        "bootstrap", "--name", CELL, "--gateway", instance.line["gateway"],
        "--gateway-ca", str(instance.data / "gateway/ca.crt"), "--agent-image", IMAGE,
    )  # fmt: skip
    cut = 0
    for number in range(kills):
        at, all_of_it = rng.randrange(CALLS), bool(number % 2 == 0)
        print(f"kill {number + 1}: call {at}, {'everything' if all_of_it else 'byoc alone'}")  # noqa: T201
        cut += killed(site, (*where, "--yes"), reach, at=at, all_of_it=all_of_it)
    made = json.loads(site.byoc(*where, "--yes", "-o", "json", env=reach).stdout)
    again = json.loads(site.byoc(*where, "--dry-run", "--exit-code", "-o", "json").stdout)
    assert [op for op, count in again["changes"].items() if count] == ["same"]
    assert [one["regionID"] for one in instance.ask("GET", "/v1/regions")].count(made["cellID"]) == 1
    assert doubled(site) == []
    return cut


def doubled(site: Site) -> list[str]:
    """Return what the account holds twice, and whatever of the cell nobody has named."""
    aws = site.account.aws()
    held: Counter[tuple[str, str]] = Counter()
    for call, rows in _KINDS.items():
        for row in getattr(aws("ec2"), call)()[rows]:
            tags = {tag["Key"]: tag["Value"] for tag in row.get("Tags") or ()}
            if tags.get(_MINE) == CELL and row.get("State") not in {"deleted", "deleting"}:
                held[rows, tags.get(_TAG, "")] += 1
    assert held, "the cell is in the account"
    for key in aws("kms").list_keys()["Keys"]:
        found = aws("kms").describe_key(KeyId=key["KeyId"])["KeyMetadata"]
        if found["KeyState"] == "Enabled":
            held["Keys", found["Description"]] += 1
    return [f"{kind} {name}" for (kind, name), count in held.items() if count > 1 or not name]
