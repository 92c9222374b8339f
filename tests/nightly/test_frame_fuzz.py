"""The long form of the frame fuzzer: a million frames, each run of the night from another seed."""

import time
import tracemalloc

import pytest

from tests.emulated.noise import survive

ROUNDS = 20
FRAMES = 50_000


@pytest.mark.timeout(1800)
def test_frame_fuzz_a_million_frames_never_crash_hang_or_grow() -> None:
    first = int(time.time())
    tracemalloc.start()
    try:
        survive(first, FRAMES)
        before = tracemalloc.get_traced_memory()[0]
        for seed in range(first + 1, first + ROUNDS):
            assert survive(seed, FRAMES) > 0, f"seed {seed}"
        assert tracemalloc.get_traced_memory()[0] - before < 1_000_000
    finally:
        tracemalloc.stop()
