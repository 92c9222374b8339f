"""One authority follows another: what is trusted when, and who vouches for whom."""

import base64
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byoc.dataplane.kubernetes.succession import TOLD, Succession, Wish
from byoc.errors import UsageError
from byoc.ids import new_id
from byoc.wire.certificates import (
    AUTHORITY_LIFE,
    SERVER_LIFE,
    expires_at,
    fingerprint,
    make_server_certificate,
    vouches,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def first() -> Succession:
    return Succession.first(new_id, NOW)


def step(line: Succession, at: datetime, wish: Wish | None = None, *, renewed: bool = True) -> Succession:
    return line.advanced(at, wish, new_id, renewed=renewed)


def test_one_that_lasts_stays(first: Succession) -> None:
    assert step(first, NOW + timedelta(days=3000)) is first
    assert first.trusted == (first.signing.certificate,)
    assert first.told[0].voucher == ""


def test_a_new_one_is_told_of_before_it_signs_and_the_old_one_stays_until_all_have_followed(
    first: Succession,
) -> None:
    told = step(first, NOW, Wish.NEXT)
    assert told.signing == first.signing
    assert told.trusted[0] == first.signing.certificate
    assert len(told.trusted) == 2
    assert step(told, NOW + TOLD - timedelta(seconds=1)) is told
    signs = step(told, NOW + TOLD)
    assert signs.signing == told.coming
    assert set(signs.trusted) == set(told.trusted)
    assert step(signs, NOW + 2 * TOLD, renewed=False) is signs
    alone = step(signs, NOW + 2 * TOLD)
    assert alone.trusted == (signs.signing.certificate,)
    assert vouches(first.signing.certificate, alone.voucher, alone.signing.certificate)


def test_one_is_followed_before_what_it_signs_would_be_cut_short(first: Succession) -> None:
    at, line = NOW, first
    while line is first:
        at += timedelta(days=1)
        line = step(line, at)
    signs_until = at + TOLD + timedelta(days=1)
    assert expires_at(first.signing.certificate) - signs_until > SERVER_LIFE
    assert at - NOW > AUTHORITY_LIFE - SERVER_LIFE - 10 * TOLD


def test_a_key_in_wrong_hands_signs_no_more_at_once(first: Succession) -> None:
    now = step(first, NOW, Wish.NOW)
    assert now.signing != first.signing
    assert now.past == first.signing.certificate
    told = step(first, NOW, Wish.NEXT)
    assert step(told, NOW, Wish.NOW).signing == told.coming
    with pytest.raises(UsageError):
        first.passed_on()


@given(st.lists(st.tuples(st.sampled_from([None, *Wish]), st.integers(0, 40), st.booleans()), max_size=12))
def test_whoever_takes_what_is_told_at_each_step_is_never_cut_off(
    steps: list[tuple[Wish | None, int, bool]],
) -> None:
    at = NOW
    line = Succession.first(new_id, at)
    for wish, days, renewed in steps:
        at += timedelta(days=days)
        after = step(line, at, wish, renewed=renewed)
        known = set(line.trusted)
        new = [each for each in after.told if each.certificate.encode() not in known]
        for each in new:
            assert any(vouches(one, each.voucher.encode(), each.certificate.encode()) for one in known)
        if line.signing not in (after.signing, after.coming):
            assert line.signing.certificate in after.trusted
        if wish is not Wish.NOW and after.signing != line.signing:
            assert after.signing.certificate in known
        line = after


def test_what_is_kept_reads_back_equal(first: Succession) -> None:
    for line in (first, step(first, NOW, Wish.NEXT), step(first, NOW, Wish.NOW)):
        held = {name: base64.b64decode(text) for name, text in line.to_data().items() if text}
        assert Succession.from_data(held) == line
    with pytest.raises(UsageError):
        Succession.from_data({"ca.crt": b"damaged", "ca.key": b""})


def test_nobody_vouches_for_whom_he_did_not_mean(first: Succession) -> None:
    other = Succession.first(new_id, NOW)
    told = step(first, NOW, Wish.NEXT)
    assert told.coming is not None
    word, new = told.coming_voucher, told.coming.certificate
    assert vouches(first.signing.certificate, word, new)
    assert not vouches(other.signing.certificate, word, new)
    assert not vouches(first.signing.certificate, word, other.signing.certificate)
    assert not vouches(first.signing.certificate, b"", new)
    assert not vouches(first.signing.certificate, b"damaged", new)
    # A certificate of an engine is a word for nothing.
    engine = make_server_certificate(first.signing, now=NOW).certificate
    assert not vouches(first.signing.certificate, engine, new)
    assert fingerprint(new).startswith("SHA256:")
    assert fingerprint(new) != fingerprint(first.signing.certificate)
