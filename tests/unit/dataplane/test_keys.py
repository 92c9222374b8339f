import json
from datetime import timedelta
from pathlib import Path

import pytest

from byoc.dataplane.files import FileStorage
from byoc.dataplane.keys import (
    IDENTITY,
    KEYS,
    OPENS_LONGER,
    PINNED,
    THUMBPRINT,
    CellKeys,
    Identity,
    PinnedKeys,
    accept_enrolment,
)
from byoc.errors import BadToken, CannotUnseal, Failed, NotFound
from byoc.ids import CellID, OrganizationID
from byoc.testing import ManualClock
from byoc.wire import tokens
from byoc.wire.cell import Enrolled
from byoc.wire.keys import PublicKey, SigningKey
from byoc.wire.keysets import certify_key_set_key, certify_root, issue_key_set
from byoc.wire.sealing import seal, unseal

ROOT, SETS = SigningKey.generate(), SigningKey.generate()
FIRST, SECOND = SigningKey.generate(), SigningKey.generate()


def key_set(clock: ManualClock, version: int, *keys: SigningKey, root: SigningKey = ROOT) -> str:
    certificate = certify_key_set_key(root, SETS.public, now=clock.now())
    public = [key.public for key in keys or (FIRST,)]
    return issue_key_set(SETS, certificate, public, version=version, now=clock.now())


def pinned(folder: Path, clock: ManualClock, version: int = 3) -> PinnedKeys:
    return PinnedKeys.create(FileStorage(folder), ROOT.public, key_set(clock, version), clock)


def reopened(folder: Path, clock: ManualClock) -> PinnedKeys:
    found = PinnedKeys.load(FileStorage(folder), clock)
    assert found is not None
    return found


def reason(error: pytest.ExceptionInfo[BadToken]) -> str:
    return error.value.reason


def test_a_cell_makes_its_keys_once(tmp_path: Path) -> None:
    one = CellKeys.load_or_create(FileStorage(tmp_path / "cell"))
    two = CellKeys.load_or_create(FileStorage(tmp_path / "cell"))

    assert two.thumbprint == one.thumbprint
    assert two.sealing.public_jwk() == one.sealing.public_jwk()
    assert (tmp_path / "cell" / THUMBPRINT).read_text() == one.thumbprint + "\n"


def test_private_keys_are_for_their_owner_alone(tmp_path: Path) -> None:
    CellKeys.load_or_create(FileStorage(tmp_path))
    assert (tmp_path / f"{KEYS}.json").stat().st_mode & 0o777 == 0o600

    (tmp_path / f"{KEYS}.json").chmod(0o640)
    with pytest.raises(Failed, match="read by others"):
        CellKeys.load_or_create(FileStorage(tmp_path))


def test_a_lost_thumbprint_is_shown_again(tmp_path: Path) -> None:
    keys = CellKeys.load_or_create(FileStorage(tmp_path))
    (tmp_path / THUMBPRINT).unlink()

    CellKeys.load_or_create(FileStorage(tmp_path))

    assert (tmp_path / THUMBPRINT).read_text().strip() == keys.thumbprint


@pytest.mark.parametrize(
    "content", ["", "{}", "[]", '{"signing":{},"sealing":{}}', '{"signing":1,"sealing":2}']
)
def test_damaged_keys_are_never_replaced_by_new_ones(tmp_path: Path, content: str) -> None:
    CellKeys.load_or_create(FileStorage(tmp_path))
    (tmp_path / f"{KEYS}.json").write_text(content)
    with pytest.raises(Failed, match="cannot be read"):
        CellKeys.load_or_create(FileStorage(tmp_path))
    assert (tmp_path / f"{KEYS}.json").read_text() == content


def test_an_enrolled_cell_that_lost_its_keys_makes_no_new_ones(tmp_path: Path) -> None:
    Identity(CellID("c"), OrganizationID("o")).store(FileStorage(tmp_path))
    with pytest.raises(Failed, match="keys are missing"):
        CellKeys.load_or_create(FileStorage(tmp_path))


def test_a_request_to_enrol_shows_certified_keys_that_passwords_can_be_sealed_to(tmp_path: Path) -> None:
    keys = CellKeys.load_or_create(FileStorage(tmp_path))
    asked = keys.enrolment("token")

    signing = PublicKey.from_jwk(asked.signing_key)
    tokens.check_sealing_certificate(asked.certificate, signing, asked.sealing_key)
    sealed = seal(asked.sealing_key, "secret", cell="c", group="g", version=1)
    assert unseal(keys.sealing, sealed, cell="c", group="g", version=1) == "secret"
    assert signing.kid == keys.thumbprint


def test_what_was_sealed_before_the_keys_changed_still_opens_for_a_week(
    tmp_path: Path, clock: ManualClock
) -> None:
    keys = CellKeys.load_or_create(FileStorage(tmp_path))
    place = {"cell": "c", "group": "g", "version": 1}
    sealed = seal(keys.sealing.public_jwk(), "secret", **place)
    following = keys.prepare()
    early = seal(following.sealing.public_jwk(), "early", **place)
    assert keys.unseal(early, **place) == "early"
    keys.take_over(following.signing.kid, clock.now())
    for opened in (keys, CellKeys.load_or_create(FileStorage(tmp_path))):
        assert opened.unseal(sealed, **place) == "secret"
        assert opened.unseal(early, **place) == "early"
    clock.advance(OPENS_LONGER.total_seconds() + 1)
    keys.forget(clock.now())
    with pytest.raises(CannotUnseal):
        CellKeys.load_or_create(FileStorage(tmp_path)).unseal(sealed, **place)
    assert set(json.loads((tmp_path / f"{KEYS}.json").read_text())) == {"signing", "sealing"}


def test_keys_that_were_prepared_are_prepared_once_and_used_when_they_are_named(
    tmp_path: Path, clock: ManualClock
) -> None:
    keys = CellKeys.load_or_create(FileStorage(tmp_path))
    before, following = keys.thumbprint, keys.prepare()
    again = CellKeys.load_or_create(FileStorage(tmp_path))
    assert (again.thumbprint, again.prepare().signing.kid) == (before, following.signing.kid)
    with pytest.raises(NotFound):
        again.take_over("another", clock.now())
    again.take_over(following.signing.kid, clock.now())
    again.take_over(following.signing.kid, clock.now())
    found = CellKeys.load_or_create(FileStorage(tmp_path))
    assert found.thumbprint == following.signing.kid
    assert (tmp_path / THUMBPRINT).read_text().strip() == following.signing.kid


def test_an_identity_comes_back_after_a_restart(tmp_path: Path) -> None:
    assert Identity.load(FileStorage(tmp_path)) is None
    identity = Identity(CellID("c"), OrganizationID("o"))

    identity.store(FileStorage(tmp_path))

    assert Identity.load(FileStorage(tmp_path)) == identity


@pytest.mark.parametrize("name", [IDENTITY, PINNED])
def test_a_damaged_file_is_said_not_ignored(tmp_path: Path, clock: ManualClock, name: str) -> None:
    pinned(tmp_path, clock)
    (tmp_path / f"{name}.json").write_text('{"root":{}}')
    with pytest.raises(Failed, match="cannot be read"):
        Identity.load(FileStorage(tmp_path)) if name == IDENTITY else PinnedKeys.load(
            FileStorage(tmp_path), clock
        )


def test_an_enrolment_pins_the_root_that_was_handed_over(tmp_path: Path, clock: ManualClock) -> None:
    answer = Enrolled(CellID("c"), "o", ROOT.public.jwk(), key_set(clock, 1))

    identity, keys = accept_enrolment(FileStorage(tmp_path), answer, ROOT.public, clock)

    assert Identity.load(FileStorage(tmp_path)) == identity
    assert reopened(tmp_path, clock).root == keys.root == ROOT.public


def test_another_root_from_the_tunnel_enrols_nobody(tmp_path: Path, clock: ManualClock) -> None:
    evil = SigningKey.generate()
    answers = [
        Enrolled(CellID("c"), "o", evil.public.jwk(), key_set(clock, 1, root=evil)),
        Enrolled(CellID("c"), "o", ROOT.public.jwk(), key_set(clock, 1, root=evil)),
        Enrolled(CellID("c"), "o", evil.public.jwk(), key_set(clock, 1)),
    ]
    for answer in answers:
        with pytest.raises(BadToken):
            accept_enrolment(FileStorage(tmp_path), answer, ROOT.public, clock)
    assert Identity.load(FileStorage(tmp_path)) is None


def test_a_newer_key_set_takes_over_and_stays_after_a_restart(tmp_path: Path, clock: ManualClock) -> None:
    keys = pinned(tmp_path, clock)

    keys.refresh(key_set(clock, 4, SECOND))

    for one in (keys, reopened(tmp_path, clock)):
        assert one.version == 4
        assert set(one.for_requests()) == {SECOND.kid}


def test_a_lower_version_is_refused_also_after_a_restart(tmp_path: Path, clock: ManualClock) -> None:
    for keys in (pinned(tmp_path, clock), reopened(tmp_path, clock)):
        with pytest.raises(BadToken) as error:
            keys.refresh(key_set(clock, 2, SECOND))
        assert reason(error) == "lower-version"
        assert keys.version == 3


def test_the_same_version_with_other_keys_is_refused_unless_issued_later(
    tmp_path: Path, clock: ManualClock
) -> None:
    keys = pinned(tmp_path, clock)
    with pytest.raises(BadToken) as error:
        keys.refresh(key_set(clock, 3, SECOND))
    assert reason(error) == "lower-version"

    clock.advance(60)
    keys.refresh(key_set(clock, 3, SECOND))
    assert set(keys.keys) == {SECOND.kid}


def test_the_set_that_is_held_may_come_again(tmp_path: Path, clock: ManualClock) -> None:
    text = key_set(clock, 3)
    keys = PinnedKeys.create(FileStorage(tmp_path), ROOT.public, text, clock)
    clock.advance(30 * 86400)

    keys.refresh(text)

    assert keys.version == 3


def test_with_an_expired_set_no_request_is_believed_but_a_renewal_is(
    tmp_path: Path, clock: ManualClock
) -> None:
    pinned(tmp_path, clock)
    clock.advance(timedelta(days=7, seconds=5).total_seconds())
    keys = reopened(tmp_path, clock)

    with pytest.raises(BadToken) as error:
        keys.for_requests()
    assert reason(error) == "keys-expired"
    assert set(keys.keys) == {FIRST.kid}, "receipts are still checked"

    keys.refresh(key_set(clock, 4))
    assert set(keys.for_requests()) == {FIRST.kid}


def test_keys_of_old_sets_still_verify_receipts(tmp_path: Path, clock: ManualClock) -> None:
    pinned(tmp_path, clock).refresh(key_set(clock, 4, SECOND))

    assert set(reopened(tmp_path, clock).receipt_keys) == {FIRST.kid, SECOND.kid}


def test_a_set_of_a_new_root_is_refused_without_the_old_roots_word(
    tmp_path: Path, clock: ManualClock
) -> None:
    keys = pinned(tmp_path, clock)
    with pytest.raises(BadToken) as error:
        keys.refresh(key_set(clock, 9, root=SigningKey.generate()))
    assert reason(error) == "unknown-key"


def test_a_root_signed_by_the_old_one_is_pinned_and_the_old_one_is_done(
    tmp_path: Path, clock: ManualClock
) -> None:
    keys, new = pinned(tmp_path, clock), SigningKey.generate()
    certificate = certify_key_set_key(new, SETS.public, now=clock.now())
    link = certify_root(ROOT, new.public)
    keys.refresh(issue_key_set(SETS, certificate, [SECOND.public], version=4, now=clock.now(), roots=[link]))

    again = reopened(tmp_path, clock)
    assert again.root == new.public
    with pytest.raises(BadToken):
        again.refresh(key_set(clock, 5))
    again.refresh(key_set(clock, 5, root=new))
    assert again.version == 5


def test_no_private_key_lies_outside_its_file(tmp_path: Path, clock: ManualClock) -> None:
    keys = CellKeys.load_or_create(FileStorage(tmp_path))
    pinned(tmp_path, clock)
    private = [keys.signing.private_jwk()["d"], keys.sealing.private_jwk()["d"]]

    for entry in tmp_path.iterdir():
        if entry.name != f"{KEYS}.json":
            assert not any(secret in entry.read_text() for secret in private)
    assert set(json.loads((tmp_path / f"{KEYS}.json").read_text())) == {"signing", "sealing"}
