"""Numbers as Kubernetes writes them, against the definition of its notation."""

from fractions import Fraction
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byoc.dataplane.kubernetes.quantities import LARGEST, cores, quantity

DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
SUFFIXES = {
    **{suffix: Fraction(10) ** power for suffix, power in DECIMAL.items()},
    **{suffix: Fraction(2) ** power for suffix, power in BINARY.items()},
}
DIGITS = st.text("0123456789", min_size=1, max_size=20)
NUMBERS = st.one_of(
    DIGITS,
    st.builds("{}.{}".format, DIGITS, DIGITS),
    st.builds("{}.".format, DIGITS),
    st.builds(".{}".format, DIGITS),
)
EXPONENTS = st.builds("{}{}".format, st.sampled_from("eE"), st.integers(-400, 400))


def exact(digits: str) -> Fraction:
    """What digits with a point among them stand for."""
    before, _, after = digits.partition(".")
    return Fraction(int(before or "0")) + Fraction(int(after or "0"), 10 ** len(after))


def rounded(number: Fraction) -> int:
    """Away from nought, and within what Kubernetes holds."""
    whole = min(ceil(abs(number)), LARGEST)
    return -whole if number < 0 else whole


@given(NUMBERS, st.sampled_from(["", "+", "-"]), st.one_of(st.sampled_from(sorted(SUFFIXES)), EXPONENTS))
def test_a_number_is_what_its_definition_says(digits: str, sign: str, suffix: str) -> None:
    factor = SUFFIXES[suffix] if suffix in SUFFIXES else Fraction(10) ** int(suffix[1:])
    meant = exact(digits) * factor * (-1 if sign == "-" else 1)
    assert quantity(f"{sign}{digits}{suffix}") == rounded(meant)
    assert cores(f"{sign}{digits}{suffix}") == rounded(meant * 1000)


@pytest.mark.parametrize(
    ("text", "size"),
    [("1.5Gi", 3 * 2**29), ("128974848", 128974848), ("129e6", 129 * 10**6), ("123Mi", 123 * 2**20),
     ("2Ti", 2**41), ("1Pi", 2**50), ("3k", 3000), ("2G", 2 * 10**9), ("128974848000m", 128974848),
     ("5n", 1), ("1e3", 1000), ("12E", LARGEST), ("1E", 10**18), ("-1", -1), ("0.1m", 1), (7, 7)],
)  # fmt: skip
def test_bytes_are_read_in_whatever_form_kubernetes_writes_them(text: object, size: int) -> None:
    assert quantity(text) == size


@given(st.integers(1, 10**6))
def test_processors_are_read_in_thousandths(millicores: int) -> None:
    assert cores(f"{millicores}m") == cores(str(millicores / 1000)) == millicores


@pytest.mark.parametrize(
    "text",
    ["", ".", "-", "1 ", " 1", "1ki", "1K", "1ee3", "1e", "1e3.5", "1Gi3", "0x10", "1_000", "inf", "NaN", "²",
     "٣", "1\n", "9" * 65, "1e" + "9" * 5000, None, True, [], {}],
)  # fmt: skip
def test_what_is_no_number_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="no number of Kubernetes"):
        quantity(text)
    with pytest.raises(ValueError, match="no number of Kubernetes"):
        cores(text)


@given(st.one_of(st.text(max_size=80), st.text("0123456789.+-eEnumkKMGTPi", max_size=80)))
def test_whatever_text_there_is_ends_in_a_number_or_in_one_kind_of_error(text: str) -> None:
    try:
        found = quantity(text)
    except ValueError:
        return
    assert abs(found) <= LARGEST
