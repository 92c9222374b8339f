"""The figures of the AWS cell: the plan, a deploy into the emulated account, the engine's whole life cycle.

Needs what the tests of the real engine need: ``scripts/tools pulumi``. The account is emulated in this
process, so its time is in the figures; a real one's minutes are not.
"""

import base64
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from figures import Figure, middle, timed

from byoc.bootstrap import state
from byoc.bootstrap.aws import open_account
from byoc.bootstrap.engine.command import OwnedCommand
from byoc.bootstrap.engine.find import judge
from byoc.bootstrap.engine.session import Run, Session
from byoc.bootstrap.engine.stack import Stack
from byoc.bootstrap.flow import Asked, Bootstrap, Tools
from byoc.cell.assume import complete
from byoc.cell.permissions import needed
from byoc.cell.program import program
from byoc.clock import SystemClock
from byoc.model.check import Check, Result
from tests.emulated import kubernetes
from tests.emulated.account import Account, serving
from tests.emulated.functions import running
from tests.emulated.kubernetes import Cluster
from tests.emulated.monitor import AccountMocks, PlainMocks, Registration, deploy
from tests.emulated.plugins import lay_plugins

ROOT = Path(__file__).resolve().parents[1]
_SECONDS = 1000


def measure(runs: int) -> list[Figure]:
    """Return every figure; each median is of ``runs`` or fewer repetitions."""
    with serving() as account, _environment(account.environment), _cluster():
        return [_plan(min(runs, 5)), *_deploys(account, min(runs, 5)), _life(account), _bootstrap(account)]


def _plan(runs: int) -> Figure:
    command = [sys.executable, "-m", "byoc", "cell", "plan", "-o", "json"]
    bare = [sys.executable, "-c", "import pulumi_aws as a; a.ec2.Vpc; a.eks.Cluster; a.iam.Role; a.s3.Bucket"]
    (ours, cpu), (theirs, _) = (_middle(runs, partial(_run, words)) for words in (command, bare))
    return Figure("byoc cell plan", "s", ours, 3, theirs,
                  note=f"{cpu:.1f} s of CPU; baseline: Python loads the provider's library")  # fmt: skip


def _middle(runs: int, work: Callable[[], object]) -> tuple[float, float]:
    """Return the median of the seconds that ``work`` takes, and of those that processors work for it."""
    took, worked = [], []
    for _ in range(runs):
        before = sum(os.times()[:4])
        took.append(timed(work) / _SECONDS)
        worked.append(sum(os.times()[:4]) - before)
    return middle(took), middle(worked)


def _run(words: list[str]) -> None:
    subprocess.run(words, check=True, capture_output=True)


def _deploys(account: Account, runs: int) -> list[Figure]:
    args, _ = complete({"account": "123456789012"})
    make = program(args)

    def applied() -> None:
        account.reset()
        deploy(make, AccountMocks(account.aws(invoke=lambda _name, _payload: {})))

    applied()
    count = sum(one.custom for one in deploy(make, PlainMocks()).resources.values())
    (bare, _), (plain, plainly), (moto, worked) = (
        _middle(runs, work)
        for work in (lambda: deploy(_bare(count), Nothing()), lambda: deploy(make, PlainMocks()), applied)
    )
    return [
        Figure("deploy of a cell, plain mocks", "s", plain, 0.3, bare,
               note=f"{plainly:.2f} s of CPU; baseline: {count} resources of no inputs"),
        Figure("deploy of a cell, emulated account", "s", moto, 2.5, plain,
               note=f"{worked:.1f} s of CPU; baseline: plain mocks"),
    ]  # fmt: skip


class Nothing:
    """Mocks of resources that have nothing."""

    def resource(self, asked: Registration, *, preview: bool) -> tuple[str, dict[str, object]]:
        """A name for an id."""
        return ("" if preview else asked.name), {}


def _bare(count: int) -> Callable[[], None]:
    def make() -> None:
        import pulumi  # noqa: PLC0415 - as in the programs it stands for

        for number in range(count):
            pulumi.CustomResource("bare:index:Thing", f"n{number}", {})

    return make


def _life(account: Account) -> Figure:
    args, _ = complete({"account": "123456789012"})
    account.reset()
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        aws = open_account("us-east-1")
        state.make(aws)
        backend = state.backend(aws, endpoint=account.endpoint)
        session = Session(_run_of(Path(folder)), SystemClock())
        stack = Stack.open(session, "byoc", args.name, program(args), backend)
        seconds = timed(lambda: _live(stack)) / _SECONDS
    return Figure("engine: preview, up, preview, drift, refresh, destroy", "s", seconds, 60,
                  note="state in a bucket with a key, both emulated")  # fmt: skip


def _live(stack: Stack) -> None:
    stack.preview()
    stack.up()
    stack.preview()
    stack.drift()
    stack.refresh()
    stack.unprotect()
    stack.destroy()


def _bootstrap(account: Account) -> Figure:
    """What a bootstrap does besides waiting for the engine and, at its end, for the cell."""
    settings = {
        "name": "bench", "region": "us-east-1", "gatewayUrl": "wss://gateway.example/nimbus/v1",
        "agentRepository": "registry.example/agent", "agentDigest": f"sha256:{'a' * 64}",
    }  # fmt: skip
    account.reset()
    with tempfile.TemporaryDirectory(dir="/tmp") as folder, _commands() as engine:
        tools = Tools(
            run=lambda: _run_of(Path(folder)),
            hostname="bench",
            clock=SystemClock(),
            actions=needed,
            endpoint=account.endpoint,
            reach=lambda _: Check("gateway", Result.PASS, "not asked"),
        )
        flow = Bootstrap(open_account("us-east-1"), Asked(settings=settings), tools)
        seconds = timed(lambda: _make(flow)) / _SECONDS
    baseline = sum(engine) / _SECONDS
    return Figure("bootstrap, without the wait for the cell", "s", seconds, 5, baseline, "above",
                  note="baseline: the engine's own commands")  # fmt: skip


def _make(flow: Bootstrap) -> None:
    prepared = flow.prepare()
    flow.refuse(prepared)
    flow.download(prepared)
    flow.apply(prepared, total=flow.foresee(prepared).total)


@contextmanager
def _commands() -> Iterator[list[float]]:
    """Collect the milliseconds of each command of the engine."""
    spent: list[float] = []
    run = OwnedCommand.run

    def clocked(*args: Any, **named: Any) -> Any:
        began = time.perf_counter()
        try:
            return run(*args, **named)
        finally:
            spent.append((time.perf_counter() - began) * _SECONDS)

    OwnedCommand.run = clocked  # type: ignore[method-assign]
    try:
        yield spent
    finally:
        OwnedCommand.run = run  # type: ignore[method-assign]


@contextmanager
def _cluster() -> Iterator[None]:
    """Let the account's functions run and reach a cluster, as the last resource of a cell needs it."""
    with (
        tempfile.TemporaryDirectory(dir="/tmp") as folder,
        kubernetes.serving(Cluster(admits=bool), Path(folder)) as cluster,
    ):
        reached = {
            "BYOC_CLUSTER_ENDPOINT": cluster.url,
            "BYOC_CLUSTER_AUTHORITY": base64.b64encode(cluster.authority.encode()).decode(),
        }
        with running(lambda _: reached):
            yield


def _run_of(folder: Path) -> Run:
    lay_plugins(folder / "home")
    return Run(
        pulumi=judge(_engine(), "v3.259.0", "3.259.0"),
        home=folder / "home",
        folder=folder / "run",
        hostname="benchmark",
        tell=lambda _: None,
        env={"PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "1", "PULUMI_DISABLE_REGISTRY_RESOLVE": "1"},
    )


def _engine() -> Path:
    built = subprocess.run([ROOT / "scripts/tools", "pulumi"], check=True, capture_output=True, text=True)
    return Path(built.stdout.strip())


@contextmanager
def _environment(more: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in more}
    os.environ.update(more)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
