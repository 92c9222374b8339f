from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byoc.errors import CannotUnseal, UsageError
from byoc.wire.keys import SealingKey, SigningKey
from byoc.wire.sealing import seal, unseal

KEY = SealingKey.generate()
SECRET = "correct horse ✓ battery"
PLACE: dict[str, Any] = {"cell": "c", "group": "g", "version": 2}


@given(st.text(max_size=200))
def test_a_secret_comes_back_in_its_place(secret: str) -> None:
    assert unseal(KEY, seal(KEY.public_jwk(), secret, **PLACE), **PLACE) == secret


def test_two_seals_of_one_secret_differ() -> None:
    assert seal(KEY.public_jwk(), SECRET, **PLACE) != seal(KEY.public_jwk(), SECRET, **PLACE)


@pytest.mark.parametrize("change", [{"cell": "d"}, {"group": "h"}, {"version": 3}, {"version": "2"}])
def test_a_secret_does_not_open_in_another_place(change: dict[str, Any]) -> None:
    sealed = seal(KEY.public_jwk(), SECRET, **PLACE)
    with pytest.raises(CannotUnseal, match="another cell, group or version"):
        unseal(KEY, sealed, **(PLACE | change))


def test_another_key_does_not_open_it() -> None:
    sealed = seal(KEY.public_jwk(), SECRET, **PLACE)
    with pytest.raises(CannotUnseal) as error:
        unseal(SealingKey.generate(), sealed, **PLACE)
    assert SECRET not in str(error.value)
    assert error.value.__cause__ is None


@given(st.data())
def test_a_tampered_blob_does_not_open(data: st.DataObject) -> None:
    sealed = seal(KEY.public_jwk(), SECRET, **PLACE)
    ends = {place - 1 for place, letter in enumerate(sealed + ".") if letter == "."}
    place = data.draw(st.sampled_from([n for n in range(len(sealed)) if n not in ends]))
    letter = data.draw(st.sampled_from("Aa0_.").filter(lambda one: one != sealed[place]))
    with pytest.raises(CannotUnseal):
        unseal(KEY, sealed[:place] + letter + sealed[place + 1 :], **PLACE)


@given(st.text(max_size=100) | st.text("ey.J0_-", max_size=60))
def test_no_text_breaks_unsealing(text: str) -> None:
    with pytest.raises(CannotUnseal):
        unseal(KEY, text, **PLACE)


def test_nothing_is_sealed_to_what_is_no_sealing_key() -> None:
    with pytest.raises(UsageError):
        seal(SigningKey.generate().public.jwk(), SECRET, **PLACE)


def test_a_key_that_gives_no_shared_secret_is_refused_without_the_secret() -> None:
    weak = {"kty": "OKP", "crv": "X25519", "x": "A" * 43}
    with pytest.raises(UsageError) as error:
        seal(weak, SECRET, **PLACE)
    assert SECRET not in str(error.value)
