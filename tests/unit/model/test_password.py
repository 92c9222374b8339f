"""The password policy."""

import random
import secrets

import pytest

from byoc.errors import UsageError
from byoc.model.password import check_password, generate_password

GOOD = "Corr3ct-Horse-Batt3ry"


@pytest.mark.parametrize(
    "password", [GOOD, "Aa1!Aa1!Aa1!Aa1!", "ÄöÜ1!" * 3, "A1b2 C3d4 E5f6!", "AAAbbb111!!!xY"]
)
def test_a_good_password_passes(password: str) -> None:
    check_password(password)


@pytest.mark.parametrize(
    ("password", "text"),
    [
        (GOOD[:12], "contain at least 14 characters"),
        ("Aa1!" * 64, "contain at most 255 characters"),
        (GOOD.lower(), "contain at least 1 uppercase characters"),
        (GOOD.upper(), "contain at least 1 lowercase characters"),
        (GOOD.replace("3", "e"), "contain at least 1 number characters"),
        (GOOD.replace("-", ""), "contain at least 1 special characters"),
        (GOOD.replace("-", "&"), "contain at least 1 special characters"),
        (GOOD + "xyz", "not contain more than 2 sequential characters"),
        (GOOD + "321", "not contain more than 2 sequential characters"),
        (GOOD + "!!!!", "not contain more than 3 identical characters in a row"),
        (GOOD + "\x00", "hold printable characters only"),
        (GOOD + "\n", "hold printable characters only"),
        ("", "contain at least 14 characters"),
    ],
)
def test_each_rule_is_named_when_broken(password: str, text: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_password(password)
    assert caught.value.message == f"password must {text}"


def test_runs_of_signs_are_no_sequences() -> None:
    check_password(GOOD + "+,-./")


def test_generated_passwords_satisfy_the_policy_and_differ() -> None:
    made = {generate_password(secrets.choice) for _ in range(200)}
    assert len(made) == 200
    for password in made:
        check_password(password)


def test_a_bad_draw_is_drawn_again() -> None:
    draws = iter("a" * 24)
    rng = random.Random(1)  # noqa: S311 - a draw that can be repeated
    check_password(generate_password(lambda letters: next(draws, None) or rng.choice(letters)))
