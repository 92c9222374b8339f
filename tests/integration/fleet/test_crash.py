"""kill -9 of a process that writes: every change that was acknowledged is there afterwards."""

import asyncio
from pathlib import Path

from byoc.store.sqlite import open_store
from tests.contract.store.seeds import GROUP
from tests.integration.fleet.killed import write_until_killed

WRITER = """
import asyncio, sys
from pathlib import Path
from byoc.store.sqlite import open_store
from tests.contract.store.seeds import base, workspace

async def main(file):
    store = open_store(Path(file))
    await store.write(base)
    async def write(line):
        for n in range(10**6):
            own = f"{line}-{n}"
            await store.write(lambda tx: tx.workspaces.add(workspace(own)))
            print(own, flush=True)
    await asyncio.gather(*(write(line) for line in range(8)))

asyncio.run(main(sys.argv[1]))
"""


async def test_kill_9_loses_no_acknowledged_change(tmp_path: Path) -> None:
    file = tmp_path / "byoc.sqlite"
    told = await asyncio.to_thread(write_until_killed, WRITER, file, 400)
    store = open_store(file)
    try:
        kept = {record.spec.id for record in await store.read(lambda tx: tx.workspaces.live())}
        assert len(told) >= 400
        assert told <= kept
        # What was on its way may be there too, but never a half of it.
        assert len(kept) <= len(told) + 8 * 2
        assert await store.read(lambda tx: tx.groups.get(GROUP)) is not None
    finally:
        await store.close()
