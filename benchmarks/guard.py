"""The guard's figures: what a checked and recorded request costs, a login, a proof.

What a figure says of one core is judged by CPU time, this process's or the gateway's, not by the wall.
"""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from statistics import median

import psutil
from figures import Figure, middle, timed

from byoc import log
from byoc.clock import SystemClock
from byoc.dataplane.control import Control
from byoc.dataplane.desk import FolderDesk, FolderPapers
from byoc.dataplane.files import FileStorage
from byoc.dataplane.guard import Guard
from byoc.dataplane.keys import PinnedKeys
from byoc.dataplane.ledger import Ledger
from byoc.dataplane.ledger_files import GENESIS, LEDGER, closed_name, write_line
from byoc.dataplane.ledger_verify import verify
from byoc.dataplane.policy import PolicyFile
from byoc.dataplane.rates import Rates
from byoc.dataplane.replay import InLedger, Replays
from byoc.ids import new_id
from byoc.model.control import Access, Standing
from byoc.model.verbs import Verb
from byoc.nimbus.client import TunnelClient
from byoc.testing.provider import MemoryProvider
from byoc.testing.runtime import MemoryRuntime
from byoc.wire.canonical import sha256
from byoc.wire.control import set_access, standing
from byoc.wire.keys import SigningKey
from byoc.wire.keysets import certify_key_set_key, issue_key_set
from byoc.wire.tokens import issue_request
from tests.integration.agent import conftest as agents
from tests.integration.nimbus.conftest import Site

CELL = "cell-1"
TARGET = "/cell/v1/workspaces/0b9e4c1e-6a3f-4c55-9a9e-0f1f6f6f2d11"
BODY = b"x" * 1024
AT_ONCE = 64
COMMANDS = 3000
LOGINS = 200
RECORDS = 1_000_000


def measure(runs: int) -> list[Figure]:
    """Run every measurement of the guard."""
    log.configure("error", component="benchmark")
    root = Path(tempfile.mkdtemp(prefix="byoc-bench-"))
    try:
        return [
            *asyncio.run(commands(root / "cell", max(200, runs * 10))),
            asyncio.run(logins(root / "gateway")),
            asyncio.run(revocations(root / "revoked", max(5, runs // 2))),
            *proofs(root / "ledger"),
        ]
    finally:
        shutil.rmtree(root, ignore_errors=True)


class Cell:
    """A real guard on a real disk, and a control plane that has signed its requests beforehand."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        clock, now = SystemClock(), SystemClock().now()
        root, sets, self.signing = (SigningKey.generate() for _ in range(3))
        certificate = certify_key_set_key(root, sets.public, now=now)
        key_set = issue_key_set(sets, certificate, [self.signing.public], version=1, now=now)
        kept = FileStorage(folder)
        self.ledger = Ledger(folder / "ledger", clock, new_id)
        self.guard = Guard(
            CELL,
            pinned=PinnedKeys.create(kept, root.public, key_set, clock),
            policy=PolicyFile(folder),
            ledger=self.ledger,
            replays=Replays(InLedger(folder / "ledger", clock), clock),
            rates=Rates(kept, clock),
            control=Control(FolderDesk(folder), self.ledger, clock),
            clock=clock,
        )

    def tokens(self, count: int) -> list[str]:
        """Sign requests; they live a minute."""
        issue = partial(
            issue_request,
            self.signing,
            issuer="cp",
            cell=CELL,
            sub="ann",
            method="PUT",
            target=TARGET,
            body=BODY,
            now=SystemClock().now(),
            verbs=(Verb.CELL_READ,),
        )
        return [issue(jti=new_id()) for _ in range(count)]

    async def command(self, token: str) -> None:
        """One guarded command: checked, recorded, on disk; done; its outcome recorded."""
        admission = await self.guard.admit(f"Bearer {token}", "PUT", TARGET, BODY)
        self.guard.finish(admission, 200, "applied")


async def commands(folder: Path, single: int) -> list[Figure]:
    """Many at once, and one after the other."""
    cell = Cell(folder)
    await cell.command(cell.tokens(1)[0])
    tokens = cell.tokens(COMMANDS)
    began, used = time.perf_counter(), time.process_time()
    for first in range(0, COMMANDS, AT_ONCE):
        await asyncio.gather(*(cell.command(token) for token in tokens[first : first + AT_ONCE]))
    wall, cpu = time.perf_counter() - began, time.process_time() - used
    bare = signatures(cell.signing)
    alone = []
    for token in cell.tokens(single):
        before = time.perf_counter()
        await cell.command(token)
        alone.append((time.perf_counter() - before) * 1000)
        await asyncio.sleep(0)
    cell.ledger.close()
    disk = fsyncs(folder, single)
    note = "baseline: bare Ed25519 checks of one core"
    return [
        Figure("guarded commands a core second, 64 at once", "/s", COMMANDS / cpu, 3000, bare,
               higher_is_better=True, note=note),
        Figure("guarded commands a second by the wall", "/s", COMMANDS / wall, baseline=bare),
        Figure("guarded command alone, median", "ms", middle(alone), 1.0, middle(disk), judged="above",
               note="baseline: one fsync of this disk"),
    ]  # fmt: skip


def signatures(key: SigningKey) -> float:
    """Ed25519 checks that one core does in a second, and nothing else."""
    message = b"x" * 400
    mark, public = key.material.sign(message), key.material.public_key()
    used = time.process_time()
    for _ in range(1000):
        public.verify(mark, message)
    return 1000 / (time.process_time() - used)


def fsyncs(folder: Path, count: int) -> list[float]:
    """Milliseconds of appending a record's bytes and one fsync."""
    with (folder / "bare").open("ab", buffering=0) as stream:

        def append() -> None:
            stream.write(b"x" * 500)
            os.fsync(stream.fileno())

        return [timed(append) for _ in range(count)]


async def logins(folder: Path) -> Figure:
    """CPU of the gateway's process for a login: TLS, upgrade, challenge, question asked."""
    site = Site(folder)
    program = [sys.executable, "-m", "byoc", "gateway", "serve", "--data", str(folder), "--port", "0"]
    told, tell = os.pipe()
    with (
        (folder / "log").open("wb") as said,
        subprocess.Popen(
            [*program, "--ready-fd", str(tell)], pass_fds=[tell], stdout=said, stderr=said
        ) as process,
    ):
        os.close(tell)
        try:
            with os.fdopen(told, encoding="utf-8") as line:
                site.port = json.loads(line.readline())["port"]
            plane = site.controlplane()
            while not plane.connected:
                await asyncio.sleep(0.02)
            gateway = psutil.Process(process.pid)
            await leave(await log_in(site, 10))
            before = gateway.cpu_times()
            clients = await log_in(site, LOGINS)
            after = gateway.cpu_times()
            await leave(clients)
            used = (after.user + after.system) - (before.user + before.system)
            return Figure("tunnel login, CPU of the gateway", "ms", used * 1000 / LOGINS, 2.0)
        finally:
            await site.close()
            process.terminate()


async def log_in(site: Site, count: int) -> list[TunnelClient]:
    """Log cells in, ten at a time."""
    clients: list[TunnelClient] = []
    for _ in range(0, count, 10):
        clients += [site.cell(new_id()) for _ in range(10)]
        while not all(client.connected for client in clients[-10:]):
            await asyncio.sleep(0.005)
    return clients


async def leave(clients: list[TunnelClient]) -> None:
    """End their tunnels, which is no part of a login."""
    for client in clients:
        await client.close("measured")


async def revocations(folder: Path, count: int) -> Figure:
    """From the customer's word to the last stream closed, as the cell says; baseline: storing the word."""
    clock = SystemClock()
    provider = agents.ControlPlane(MemoryProvider(clock, agents.CELL))
    site = agents.Site(folder, provider, MemoryRuntime(clock))
    samples, stored = [], []
    async with site.gateway(), site.agent():
        await site.enrolled()
        for _ in range(count):
            began = time.perf_counter()
            turn(site, revoked=True)
            stored.append((time.perf_counter() - began) * 1000)
            while not (said(site).revoked and said(site).tunnel == "revoked" and said(site).sessions == 0):
                await asyncio.sleep(0.002)
            samples.append((time.perf_counter() - began) * 1000)
            turn(site, revoked=False)
            await site.until(lambda: not said(site).revoked and said(site).sessions > 0)
    return Figure("revoke to the last stream closed", "ms", middle(samples), 200.0, middle(stored))


def turn(site: agents.Site, *, revoked: bool) -> None:
    """Say the word as the command does."""
    access = Access(revoked, "ann@laptop", SystemClock().now(), "measured")
    set_access(FolderPapers(site.cell), access)


def said(site: agents.Site) -> Standing:
    """What the cell says of it."""
    found = standing(FolderPapers(site.cell))
    assert found is not None
    return found


def proofs(folder: Path) -> list[Figure]:
    """A ledger of a million records, verified; the bare hashing of its bytes beside it."""
    folder.mkdir()
    size = write_ledger(folder)
    samples, bare = [], []
    for _ in range(3):
        began = time.perf_counter()
        found = verify(folder, {})
        samples.append(time.perf_counter() - began)
        assert found.ok, found.summary()
        assert found.records == RECORDS
        bare.append(hashing(folder))
    seconds = median(samples)
    note = f"{size / 1e6:.0f} MB; baseline: reading and hashing its lines in one process"
    return [
        Figure("verify of 1,000,000 records", "s", seconds, 5.0, median(bare), note=note),
        Figure("records verified a second", "/s", RECORDS / seconds, 200_000, higher_is_better=True),
    ]


def write_ledger(folder: Path) -> int:
    """Write what a busy cell would have written: a request and its outcome, over and over."""
    before, size, seq, first = GENESIS, 0, 0, 1
    path, full = folder / LEDGER, 64 * 1024 * 1024
    while seq < RECORDS:
        lines, used = [], 0
        while used < full and seq < RECORDS:
            seq += 1
            own = {"seq": seq, "prev": before, "at": "2030-01-01T00:00:00Z"}
            line, before = write_line(own | record(seq))
            lines.append(line)
            used += len(line)
        path.write_bytes(b"".join(lines))
        size += used
        if seq < RECORDS:
            path.rename(folder / closed_name(first))
            first = seq + 1
    return size


def record(seq: int) -> dict[str, object]:
    """A record like the guard's."""
    if seq == 1:
        return {"kind": "chain", "chain": "chain-1"}
    if seq % 2:
        return {"kind": "outcome", "request": seq - 1, "status": 200, "outcome": "applied"}
    change = {
        "generation": seq,
        "verb": "workspace.resize",
        "sub": "ann@acme.test",
        "at": "2030-01-01T00:00:00Z",
    }
    asked = {
        "jti": str(seq),
        "iss": "controlplane",
        "sub": "ann@acme.test",
        "method": "PUT",
        "target": TARGET,
    }
    return {"kind": "received", **asked, "body": sha256(b""), "base": seq - 1, "changes": [change]}


def hashing(folder: Path) -> float:
    """Seconds of hashing every line of the files, one after the other."""
    began = time.perf_counter()
    for path in folder.glob("ledger*.jsonl"):
        with path.open("rb") as stream:
            for line in stream:
                sha256(line)
    return time.perf_counter() - began
