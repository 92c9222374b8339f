"""The policy for admin passwords of workspace groups, and passwords that satisfy it.

Called by the API for passwords that callers choose and by the fleet for those it makes.
The texts of refusals follow those of the real service, which clients show to people.
"""

import string
from collections.abc import Callable
from itertools import pairwise
from typing import Final

from byoc.errors import UsageError

MINIMUM_LENGTH: Final = 14
MAXIMUM_LENGTH: Final = 255
LONGEST_SEQUENCE: Final = 2
LONGEST_REPEAT: Final = 3
GENERATED_LENGTH: Final = 24
# `&` is no special character for the real service, so neither is it for us.
_PLAIN: Final = frozenset(string.ascii_letters + string.digits + "&")
_GENERATED: Final = string.ascii_letters + string.digits + "-_.+=@"

Choose = Callable[[str], str]
"""Picks one character of a text; ``secrets.choice`` in production."""


def check_password(password: str) -> None:
    """Check a password against the policy.

    Raises:
        UsageError: the message names the first rule that it breaks.
    """
    for broken, text in _rules(password):
        if broken:
            raise UsageError(f"password must {text}")


def generate_password(choose: Choose) -> str:
    """Return a password that satisfies the policy, made from characters that need no quoting."""
    while True:
        password = "".join(choose(_GENERATED) for _ in range(GENERATED_LENGTH))
        if not any(broken for broken, _ in _rules(password)):
            return password


def _rules(password: str) -> tuple[tuple[bool, str], ...]:
    return (
        (not password.isprintable(), "hold printable characters only"),
        (len(password) < MINIMUM_LENGTH, f"contain at least {MINIMUM_LENGTH} characters"),
        (len(password) > MAXIMUM_LENGTH, f"contain at most {MAXIMUM_LENGTH} characters"),
        (not any(c.isupper() for c in password), "contain at least 1 uppercase characters"),
        (not any(c.islower() for c in password), "contain at least 1 lowercase characters"),
        (not any(c.isdigit() for c in password), "contain at least 1 number characters"),
        (not any(c not in _PLAIN for c in password), "contain at least 1 special characters"),
        (
            max(_longest_run(password, 1), _longest_run(password, -1)) > LONGEST_SEQUENCE,
            f"not contain more than {LONGEST_SEQUENCE} sequential characters",
        ),
        (
            _longest_run(password, 0) > LONGEST_REPEAT,
            f"not contain more than {LONGEST_REPEAT} identical characters in a row",
        ),
    )


def _longest_run(text: str, step: int) -> int:
    """Return the length of the longest run of letters or digits in which each is ``step`` after the last."""
    longest = run = 1
    for one, next_one in pairwise(text):
        alike = step == 0 or (one.isalnum() and next_one.isalnum())
        run = run + 1 if alike and ord(next_one) - ord(one) == step else 1
        longest = max(longest, run)
    return longest
