from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from byoc.errors import BadToken
from byoc.wire.keys import SigningKey
from byoc.wire.keysets import (
    KeySet,
    certify_key_set_key,
    certify_root,
    issue_key_set,
    open_key_set,
    reopen_key_set,
)

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)
ROOT, SETS, SIGNING = SigningKey.generate(), SigningKey.generate(), SigningKey.generate()
STRANGER = SigningKey.generate()
CERTIFICATE = certify_key_set_key(ROOT, SETS.public, now=NOW)


def text(key: SigningKey = SETS, certificate: str = CERTIFICATE, **changes: Any) -> str:
    return issue_key_set(key, certificate, [SIGNING.public], **({"version": 3, "now": NOW} | changes))


def opened(signed: str, **changes: Any) -> KeySet:
    return open_key_set(signed, **({"root": ROOT.public, "now": NOW, "minimum_version": 3} | changes))


def refused(signed: str, **changes: Any) -> str:
    with pytest.raises(BadToken) as error:
        opened(signed, **changes)
    return error.value.reason


def test_a_key_set_hangs_from_the_root() -> None:
    found = opened(text())

    assert found.keys == {SIGNING.kid: SIGNING.public}
    assert (found.version, found.root) == (3, ROOT.public)
    assert found.expires_at - found.issued_at == timedelta(days=7)


def test_a_lower_version_is_refused() -> None:
    assert refused(text(version=2)) == "lower-version"


def test_an_expired_set_is_refused_but_can_be_read_again() -> None:
    late = NOW + timedelta(days=7, seconds=5)

    assert refused(text(), now=late) == "keys-expired"
    assert reopen_key_set(text(), root=ROOT.public).expired(late)


def test_a_set_that_lives_longer_than_a_week_is_refused() -> None:
    assert refused(text(life_time=timedelta(days=7, seconds=1))) == "life-too-long"


def test_a_set_of_the_future_is_refused() -> None:
    assert refused(text(now=NOW + timedelta(minutes=1))) == "not-yet-valid"


def test_a_set_signed_by_an_uncertified_key_is_refused() -> None:
    assert refused(text(STRANGER)) == "unknown-key"


def test_a_certificate_by_another_root_is_refused() -> None:
    assert refused(text(certificate=certify_key_set_key(STRANGER, SETS.public, now=NOW))) == "unknown-key"


def test_a_certificate_lives_a_year_at_most() -> None:
    long = certify_key_set_key(ROOT, SETS.public, now=NOW, life_time=timedelta(days=366))
    old = certify_key_set_key(ROOT, SETS.public, now=NOW - timedelta(days=366))

    assert refused(text(certificate=long)) == "life-too-long"
    assert refused(text(certificate=old)) == "expired"


def test_a_key_set_key_cannot_certify_itself() -> None:
    assert refused(text(certificate=certify_key_set_key(SETS, SETS.public, now=NOW))) == "unknown-key"


def test_a_new_root_is_believed_where_the_old_one_signed_it() -> None:
    new = SigningKey.generate()
    certificate = certify_key_set_key(new, SETS.public, now=NOW)
    signed = text(certificate=certificate, roots=[certify_root(ROOT, new.public)])

    assert opened(signed).root == new.public
    assert opened(signed, root=new.public).root == new.public, "whoever follows later needs no old link"


def test_a_new_root_that_the_old_one_did_not_sign_is_refused() -> None:
    certificate = certify_key_set_key(STRANGER, SETS.public, now=NOW)

    assert refused(text(certificate=certificate)) == "unknown-key"
    link = certify_root(STRANGER, STRANGER.public)
    assert refused(text(certificate=certificate, roots=[link])) == "unknown-key"


def test_an_old_root_is_of_no_use_once_a_new_one_is_pinned() -> None:
    assert refused(text(), root=STRANGER.public) == "unknown-key"


@pytest.mark.parametrize("garbage", ["", "a.b.c", "{}", "é", "e30.e30.e30"])
def test_garbage_is_refused(garbage: str) -> None:
    assert refused(garbage) == "malformed"
