from random import Random
from statistics import mean

from byoc.nimbus.backoff import BASE, CAP, STABLE, Backoff


def backoff_of(seed: int) -> Backoff:
    return Backoff(Random(seed))  # noqa: S311 - jitter is no secret


def test_waits_are_spread_over_the_whole_range_and_the_range_doubles() -> None:
    tries = [backoff_of(seed) for seed in range(400)]
    for n in range(5):
        waits = [one.delay() for one in tries]
        limit = BASE * 2**n
        assert all(0 <= wait <= limit for wait in waits)
        assert min(waits) < limit * 0.05
        assert max(waits) > limit * 0.95
        assert abs(mean(waits) - limit / 2) < limit * 0.06


def test_waits_are_never_longer_than_the_cap() -> None:
    backoff = backoff_of(1)
    waits = [backoff.delay() for _ in range(2000)]
    assert max(waits) <= CAP
    assert max(waits) > CAP * 0.95


def test_a_short_connection_does_not_reset_the_count_and_a_stable_one_does() -> None:
    backoff = backoff_of(1)
    for _ in range(6):
        backoff.delay()
    backoff.lasted(STABLE[0] - 1)
    assert backoff.tries == 6
    backoff.lasted(STABLE[1])
    assert backoff.tries == 0


def test_a_client_with_a_cap_of_its_own_never_waits_longer() -> None:
    backoff = Backoff(Random(1), cap=2.0)  # noqa: S311 - jitter is no secret
    assert 1.9 < max(backoff.delay() for _ in range(500)) <= 2.0
    assert max(backoff.delay(5) for _ in range(500)) <= 2.0


def test_a_lower_cap_bounds_the_wait() -> None:
    backoff = backoff_of(1)
    assert max(backoff.delay(5) for _ in range(200)) <= 5


def test_after_a_short_outage_nobody_waits_longer_than_eight_seconds() -> None:
    for seed in range(200):
        backoff, waited = backoff_of(seed), 0.0
        while waited < 10:
            wait = backoff.delay()
            waited += wait
            assert wait <= 8


def test_waits_grow_on_once_an_outage_is_not_short() -> None:
    backoff = backoff_of(1)
    for _ in range(16):
        backoff.delay()
    assert mean(backoff.delay() for _ in range(500)) > CAP * 0.4
