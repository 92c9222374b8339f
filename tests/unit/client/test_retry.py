import pytest
from hypothesis import given
from hypothesis import strategies as st

from byoc.client.retry import (
    ATTEMPTS,
    LONGEST_PAUSE,
    Attempt,
    Trouble,
    asked_pause,
    pause,
    pause_before_next,
)


@pytest.mark.parametrize("method", ["GET", "POST", "PATCH", "DELETE"])
def test_what_never_left_may_always_be_sent_again(method: str) -> None:
    assert pause_before_next(Attempt(1, method, Trouble.NOT_SENT), 0.5) is not None


@pytest.mark.parametrize("method", ["POST", "PATCH"])
@pytest.mark.parametrize(
    ("trouble", "status"), [(Trouble.ANSWER_LOST, 0), (Trouble.ANSWERED, 503), (Trouble.ANSWERED, 429)]
)
def test_what_may_have_happened_is_not_sent_twice(method: str, trouble: Trouble, status: int) -> None:
    assert pause_before_next(Attempt(1, method, trouble, status), 0.5) is None


@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize(
    ("trouble", "status"), [(Trouble.ANSWER_LOST, 0), (Trouble.ANSWERED, 503), (Trouble.ANSWERED, 429)]
)
def test_what_is_the_same_done_twice_is_sent_again(method: str, trouble: Trouble, status: int) -> None:
    assert pause_before_next(Attempt(1, method, trouble, status), 0.5) is not None


@pytest.mark.parametrize("status", [400, 404, 409, 500])
def test_a_definite_answer_is_final(status: int) -> None:
    assert pause_before_next(Attempt(1, "GET", Trouble.ANSWERED, status), 0.5) is None


def test_attempts_end() -> None:
    assert pause_before_next(Attempt(ATTEMPTS, "GET", Trouble.NOT_SENT), 0.5) is None


def test_the_other_end_may_name_the_pause_within_bounds() -> None:
    busy = Attempt(1, "GET", Trouble.ANSWERED, 429, asked_pause=2.0)
    assert pause_before_next(busy, 0.5) == 2.0
    patient = Attempt(1, "GET", Trouble.ANSWERED, 429, asked_pause=9999.0)
    assert pause_before_next(patient, 0.5) == LONGEST_PAUSE


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_a_pause_is_never_longer_than_its_bound(number: int, chance: float) -> None:
    assert 0 <= pause(number, chance) <= LONGEST_PAUSE


@pytest.mark.parametrize(
    ("header", "seconds"), [("3", 3.0), (None, None), ("Wed, 21 Oct", None), ("-1", None)]
)
def test_only_seconds_are_read_from_retry_after(header: str | None, seconds: float | None) -> None:
    assert asked_pause(header) == seconds
