"""Which input properties the real provider knows, read from the classes of its SDK.

A misspelt key in a dict passes the SDK without a word and leaves the thing open that it was to close;
the emulated provider refuses it.
"""

import importlib
import typing
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from pulumi import _types

_MODULES = {"lambda": "lambda_"}


@cache
def args_class(token: str) -> Any:
    """The class of the inputs of the type ``token``: ``aws:ec2/vpc:Vpc``."""
    package, module, name = token.split(":")
    folder = module.partition("/")[0]
    home = importlib.import_module(f"pulumi_{package}.{_MODULES.get(folder, folder)}")
    # Where a nested type took the plain name the resource's own class is called Init.
    return getattr(home, f"{name}InitArgs", None) or getattr(home, f"{name}Args")


def unknown_properties(token: str, inputs: Mapping[str, Any]) -> list[str]:
    """Paths of the inputs that the real provider does not know."""
    return sorted(_unknown(args_class(token), inputs, ""))


@cache
def _known(kind: Any) -> dict[str, Any]:
    return _types.input_type_types(kind)


def _unknown(kind: Any, value: Any, path: str) -> Iterator[str]:
    if isinstance(value, Mapping):
        known = _known(kind)
        for name, below in value.items():
            if name.startswith("__"):
                continue
            here = f"{path}.{name}" if path else name
            if name not in known:
                yield here
            elif nested := _nested(known[name]):
                yield from _unknown(nested, below, here)
    elif isinstance(value, list):
        for each in value:
            yield from _unknown(kind, each, path)


def _nested(kind: Any) -> Any:
    """The input class in ``kind``, whatever it is wrapped in; ``None`` where there is none."""
    if isinstance(kind, type) and _types.is_input_type(kind):
        return kind
    if typing.get_origin(kind) in (dict, Mapping):
        return None
    return next((inner for each in typing.get_args(kind) if (inner := _nested(each))), None)
