"""Numbers as Kubernetes writes them: ``100n``, ``1.5Gi``, ``12E``, ``1e3``. Pure.

Read by ``views`` and ``capacity``. Whoever has the credentials of a kubelet or may make a pod chooses the
form, and each form is a good one to Kubernetes: so the whole notation is read, exactly. The invariant:
what is no such number, whatever it is, is a ``ValueError`` and nothing else.
"""

import re
from decimal import ROUND_UP, Context, Decimal
from typing import Final

LARGEST: Final = 2**63 - 1
"""Kubernetes takes what is larger for this, and below nought likewise."""
_NUMBER: Final = re.compile(
    r"(?P<digits>[+-]?(?:\d+\.?\d*|\.\d+))(?:(?P<unit>[numkMGTPE]|[KMGTPE]i)|[eE](?P<power>[+-]?\d+))?",
    re.ASCII,
)
_LONGEST: Final = 64
"""Kubernetes itself writes far fewer characters."""
_FACTORS: Final = {
    **{unit: Decimal(10) ** (3 * power) for power, unit in enumerate(("n", "u", "m", "", "k"), -3)},
    **{unit: Decimal(10) ** (3 * power) for power, unit in enumerate("MGTPE", 2)},
    **{f"{unit}i": Decimal(2) ** (10 * power) for power, unit in enumerate("KMGTPE", 1)},
}
_EXACT: Final = Context(prec=200)
_THOUSANDTHS: Final = Decimal(1000)


def quantity(text: object) -> int:
    """Return a number in whole units, such as bytes; what is left over makes one more, as in Kubernetes.

    Raises:
        ValueError: it is no number of Kubernetes.
    """
    return _whole(_read(text))


def cores(text: object) -> int:
    """Return processors, in thousandths; what is left over makes one more.

    Raises:
        ValueError: it is no number of Kubernetes.
    """
    return _whole(_EXACT.multiply(_read(text), _THOUSANDTHS))


def _read(text: object) -> Decimal:
    said = str(text)
    match = _NUMBER.fullmatch(said) if len(said) <= _LONGEST else None
    if match is None:
        message = f"no number of Kubernetes: {said[:_LONGEST]!r}"
        raise ValueError(message)
    # Beyond these powers every number is nought or too large, and its digits would fill the memory.
    power = max(-2 * _LONGEST, min(int(match["power"] or 0), 2 * _LONGEST))
    number = _EXACT.scaleb(Decimal(match["digits"]), power)
    return _EXACT.multiply(number, _FACTORS[match["unit"] or ""])


def _whole(number: Decimal) -> int:
    bounded = max(Decimal(-LARGEST), min(number, Decimal(LARGEST)))
    return int(bounded.to_integral_value(rounding=ROUND_UP))
