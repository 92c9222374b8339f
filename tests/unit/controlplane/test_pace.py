"""Buckets of tokens, one for each caller."""

import pytest

from byoc.controlplane import pace
from byoc.controlplane.pace import Pace, Streams
from byoc.errors import TooManyRequests
from byoc.testing import ManualClock


def test_each_caller_has_a_bucket_of_its_own() -> None:
    limit = Pace(1, "calls", ManualClock())
    for _ in range(5):
        limit.take("one")
    with pytest.raises(TooManyRequests, match="too many calls"):
        limit.take("one")
    limit.take("other")


async def test_a_slow_rate_says_how_long_to_wait() -> None:
    clock = ManualClock()
    limit = Pace(0.1, "calls", clock)
    limit.take("one")
    with pytest.raises(TooManyRequests) as caught:
        limit.take("one")
    assert caught.value.retry_after == 10
    await clock.elapse(10)
    limit.take("one")


def test_the_callers_remembered_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "MOST_CALLERS", 2)
    limit = Pace(0.1, "calls", ManualClock())
    for caller in ("one", "two", "three"):
        limit.take(caller)
    assert len(limit._buckets) == 2
    with pytest.raises(TooManyRequests):
        limit.take("three")


def test_the_streams_of_one_key_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "MOST_STREAMS", 1)
    streams = Streams()
    streams.check("one")
    with streams.opened("one"):
        with pytest.raises(TooManyRequests, match="at once"):
            streams.check("one")
        streams.check("other")
    streams.check("one")
