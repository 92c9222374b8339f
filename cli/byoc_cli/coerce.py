"""Reads what was typed into the types that our commands declare: text, numbers, paths, choices.

Typer does this with a validation library whose import costs every command 80 ms and every
server 10 MB; these few types need none. A type that is not listed here goes typer's way.
"""

from enum import Enum
from pathlib import Path
from typing import Any, Final

import typer

_TRUE: Final = frozenset({"1", "true", "yes", "on", "y", "t"})
_FALSE: Final = frozenset({"0", "false", "no", "off", "n", "f", ""})


class Reader:
    """Reads the value of one parameter; has the one method that typer asks for.

    Args:
        kind: the declared type, without ``None``.
        limits: lowest and highest number allowed; None is no limit.
    """

    def __init__(self, kind: Any, limits: tuple[float | None, float | None]) -> None:
        self._kind = kind
        self._limits = limits

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        """Return ``value`` as the declared type.

        Raises:
            typer.BadParameter: it cannot be read so.
        """
        many = param.multiple or param.nargs == -1
        if value is None:
            return () if many else None
        try:
            return [self._one(each) for each in value] if many else self._one(value)
        except ValueError as error:
            raise typer.BadParameter(str(error), ctx=ctx, param=param) from error

    def _one(self, value: Any) -> Any:
        if self._kind is bool:
            return _flag(value)
        if self._kind is int:
            return self._number(value)
        if issubclass(self._kind, Enum):
            return _choice(self._kind, value)
        return self._kind(value)

    def _number(self, value: Any) -> int:
        try:
            number = int(value)
        except ValueError:
            raise ValueError(f"'{value}' is not a whole number") from None
        low, high = self._limits
        if (low is not None and number < low) or (high is not None and number > high):
            bounds = f"at least {low}" if high is None else f"from {low} to {high}"
            raise ValueError(f"{number} is not {bounds}")
        return number


def _flag(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    text = str(value).strip().lower()
    if text not in _TRUE | _FALSE:
        raise ValueError(f"'{value}' is neither true nor false")
    return text in _TRUE


def _choice(kind: type[Enum], value: Any) -> Enum:
    for each in kind:
        if value in {each, each.value}:
            return each
    raise ValueError(f"'{value}' is none of {', '.join(str(each.value) for each in kind)}")


def lighten(parameters: list[Any]) -> list[Any]:
    """Give each parameter whose type we know a reader of ours; return them all."""
    for parameter in parameters:
        described = getattr(parameter, "type_descriptor", None)
        if described is None:
            continue
        kind = described.annotation
        if kind == list[str]:
            kind = str
        if isinstance(kind, type) and issubclass(kind, str | int | Path | Enum):
            limits = (described.parameter_info.min, described.parameter_info.max)
            reader = Reader(kind, limits)
            parameter.get_runtime_param = lambda reader=reader: reader
    return parameters
