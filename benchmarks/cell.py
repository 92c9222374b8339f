"""The figures of the AWS cell: the plan, a deploy into the emulated account, the engine's whole life cycle.

Needs what the tests of the real engine need: ``scripts/tools pulumi``. The account is emulated in this
process, so its time is in the figures; a real one's minutes are not.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from figures import Figure, middle, timed

from byoc.bootstrap import state
from byoc.bootstrap.aws import open_account
from byoc.bootstrap.engine.find import judge
from byoc.bootstrap.engine.session import Run, Session
from byoc.bootstrap.engine.stack import Stack
from byoc.cell.assume import complete
from byoc.cell.program import program
from byoc.clock import SystemClock
from tests.emulated.account import Account, serving
from tests.emulated.monitor import AccountMocks, PlainMocks, Registration, deploy
from tests.emulated.plugins import lay_plugins

ROOT = Path(__file__).resolve().parents[1]
_SECONDS = 1000


def measure(runs: int) -> list[Figure]:
    """Return every figure; each median is of ``runs`` or fewer repetitions."""
    with serving() as account, _environment(account.environment):
        return [_plan(min(runs, 5)), *_deploys(account, min(runs, 5)), _life(account)]


def _plan(runs: int) -> Figure:
    command = [sys.executable, "-m", "byoc", "cell", "plan", "-o", "json"]
    bare = [sys.executable, "-c", "import pulumi_aws as a; a.ec2.Vpc; a.eks.Cluster; a.iam.Role; a.s3.Bucket"]
    ours, theirs = ([timed(partial(_run, words)) for _ in range(runs)] for words in (command, bare))
    return Figure("byoc cell plan", "s", middle(ours) / _SECONDS, 3, middle(theirs) / _SECONDS,
                  note="baseline: a Python that loads the provider's library")  # fmt: skip


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
    bare, plain, moto = (
        middle([timed(work) for _ in range(runs)]) / _SECONDS
        for work in (lambda: deploy(_bare(count), Nothing()), lambda: deploy(make, PlainMocks()), applied)
    )
    return [
        Figure("deploy of a cell, plain mocks", "s", plain, 0.3, bare,
               note=f"baseline: {count} resources of no inputs"),
        Figure("deploy of a cell, emulated account", "s", moto, 2.5, plain,
               note="baseline: plain mocks"),
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
        stack = _stack(account, Path(folder))
        began = time.perf_counter()
        stack.preview()
        stack.up()
        stack.preview()
        stack.drift()
        stack.refresh()
        stack.unprotect()
        stack.destroy()
        seconds = time.perf_counter() - began
    return Figure("engine: preview, up, preview, drift, refresh, destroy", "s", seconds, 60,
                  note=f"{args.name}: state in a bucket with a key, both emulated")  # fmt: skip


def _stack(account: Account, folder: Path) -> Stack:
    args, _ = complete({"account": "123456789012"})
    aws = open_account("us-east-1")
    state.make(aws)
    lay_plugins(folder / "home")
    run = Run(
        pulumi=judge(_engine(), "v3.259.0", "3.259.0"),
        home=folder / "home",
        folder=folder / "run",
        hostname="benchmark",
        tell=lambda _: None,
        env={"PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "1", "PULUMI_DISABLE_REGISTRY_RESOLVE": "1"},
    )
    backend = state.backend(aws, endpoint=account.endpoint)
    return Stack.open(Session(run, SystemClock()), "byoc", args.name, program(args), backend)


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
