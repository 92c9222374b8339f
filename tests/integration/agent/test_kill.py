"""kill -9 in the middle of writing: whatever was said to be stored is there."""

import asyncio
import signal
import sys
from pathlib import Path

import pytest

from byoc.dataplane.desired import DesiredState
from byoc.dataplane.files import FileStorage
from byoc.dataplane.life import Life
from byoc.dataplane.passwords import Passwords
from byoc.ids import new_id
from byoc.testing.cell import GROUP, ORDERS

WRITER = """
import sys
from dataclasses import replace
from pathlib import Path
from byoc.dataplane.desired import DesiredState
from byoc.dataplane.files import FileStorage
from byoc.dataplane.life import Life
from byoc.dataplane.passwords import Password, Passwords
from byoc.ids import new_id
from byoc.testing.cell import GROUP, ORDERS

folder = Path(sys.argv[1])
life, desired = Life(FileStorage(folder), new_id), DesiredState(FileStorage(folder))
passwords = Passwords(FileStorage(folder))
held = desired.spec(ORDERS.id)
generation = held.generation if held else 0
while True:
    generation += 1
    passwords.put(GROUP.id, Password(generation, "x" * 4000))
    desired.put_group(replace(GROUP, generation=generation, name="g" * (generation % 200 + 1)))
    desired.put_workspace(replace(ORDERS, generation=generation, name="w" * (generation % 200 + 1)))
    print(generation, life.next_seq(), flush=True)
"""


async def killed(folder: Path, lines: int, pause: float) -> tuple[int, int]:
    """Let it write at least ``lines`` generations, kill it, return the last one that it said was stored."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", WRITER, str(folder), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    last = b""
    for _ in range(lines):
        last = await process.stdout.readline()
    await asyncio.sleep(pause)
    process.send_signal(signal.SIGKILL)
    rest = (await process.stdout.read()).splitlines(keepends=True)
    await process.wait()
    whole = [line for line in rest if line.endswith(b"\n")]
    generation, seq = (whole[-1] if whole else last).split()
    return int(generation), int(seq)


@pytest.mark.parametrize("pause", [0.0, 0.003, 0.007, 0.011])
async def test_nothing_that_was_stored_is_lost(pause: float, tmp_path: Path) -> None:
    seq = 0
    for lines in (1, 5, 9):
        generation, said = await killed(tmp_path, lines, pause)
        assert said > seq
        seq = said
        desired = DesiredState(FileStorage(tmp_path))
        assert desired.workspaces[ORDERS.id].spec.generation in {generation, generation + 1}
        assert desired.groups[GROUP.id].spec.generation in {generation, generation + 1}
        assert Passwords(FileStorage(tmp_path)).version(GROUP.id) in {generation, generation + 1}
        assert Life(FileStorage(tmp_path), new_id).next_seq() > seq
