from byoc.nimbus.admission import TokenBucket
from byoc.testing.clock import ManualClock


def test_a_burst_passes_and_then_the_rate_holds() -> None:
    clock = ManualClock()
    bucket = TokenBucket(rate=2, burst=5, clock=clock)
    assert [bucket.take() for _ in range(6)] == [True] * 5 + [False]
    clock.advance(1)
    assert [bucket.take() for _ in range(3)] == [True, True, False]


def test_a_quiet_time_gives_no_more_than_the_burst() -> None:
    clock = ManualClock()
    bucket = TokenBucket(rate=2, burst=5, clock=clock)
    clock.advance(3600)
    assert sum(bucket.take() for _ in range(100)) == 5
