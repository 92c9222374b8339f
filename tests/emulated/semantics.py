"""What the properties of a resource mean: when two are the same, what is wrong, what is not known yet.

Pure: of a handler it reads the declarations only. The mocks, the runner without an engine and
the provider plugin share it, so that they cannot disagree.
"""

import json
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

from tests.emulated.handlers.handler import UNKNOWN, Handler, Inputs, Properties
from tests.emulated.schema import unknown_properties

_NOTHING: Any = object()


def has_unknown(value: Any) -> bool:
    """Whether some part of ``value`` is known only after the apply."""
    if isinstance(value, Mapping):
        return any(map(has_unknown, value.values()))
    if isinstance(value, list):
        return any(map(has_unknown, value))
    return bool(value == UNKNOWN)


def plain_numbers(value: Any) -> Any:
    """The protocol knows one kind of number; whole ones are integers to AWS."""
    if isinstance(value, Mapping):
        return {name: plain_numbers(below) for name, below in value.items()}
    if isinstance(value, list):
        return [plain_numbers(each) for each in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def prepared(handler: Handler, inputs: Inputs, name: str) -> Properties:
    """The inputs as the provider completes them: a name where there is none."""
    made = {key: value for key, value in inputs.items() if not key.startswith("__") and value is not None}
    if handler.named and handler.named not in made and f"{handler.named}Prefix" not in made:
        made[handler.named] = f"{name}-{zlib.crc32(name.encode()):08x}"[: len(name) + 8]
    return made


def refusals(handler: Handler, inputs: Inputs, region: str) -> list[str]:
    """Why the provider or AWS would refuse these inputs; the checks of values wait until all are known."""
    reasons = [
        f"`{path}` is no property of {handler.token}" for path in unknown_properties(handler.token, inputs)
    ]
    if not reasons and not has_unknown(inputs):
        reasons += handler.check(inputs, region)
    return reasons


def differences(handler: Handler, old: Inputs, new: Inputs) -> set[str]:
    """The paths at which ``new`` wants something else than ``old``."""
    before, after = normal(handler, old), normal(handler, new)
    return {
        path
        for path in _paths(handler, before, after, "")
        if not (_covered(path, handler.decided) and _at(after, path) is _NOTHING)
    }


def replacing(handler: Handler, changed: Iterable[str]) -> set[str]:
    """Those changes that only a new thing can bring."""
    return {path for path in changed if _covered(path, handler.replace)}


def settled(handler: Handler, prior: Inputs, live: Inputs) -> Properties:
    """``live`` in the words of ``prior`` wherever they mean the same, with what AWS never gives back."""
    made = _settled(handler, prior, live, "")
    for name, value in prior.items():
        if name not in live and (name in handler.unread or _normal(handler, name, value, {}) is _NOTHING):
            made[name] = value
    return dict(made)


def inputs_of(handler: Handler, prior: Inputs, live: Inputs) -> Properties:
    """What the program would have to say to get ``live``, in the words of ``prior``.

    Without ``prior``, on an import, that is everything; else what AWS decided for itself is left out.
    """
    return _inputs(
        handler, prior, settled(handler, prior, live), "", frozenset() if not prior else handler.decided
    )


def foreseen(handler: Handler, inputs: Inputs) -> Properties:
    """The outputs as a preview knows them: what AWS decides on is unknown."""
    return _masked(inputs, handler.pretend(inputs, UNKNOWN))


def merged(over: Mapping[str, Any], under: Mapping[str, Any]) -> Properties:
    """Both; where both say something and it is no map, ``over`` has the word."""
    made = dict(under) | dict(over)
    for name in over.keys() & under.keys():
        if isinstance(over[name], Mapping) and isinstance(under[name], Mapping):
            made[name] = merged(over[name], under[name])
    return made


def normal(handler: Handler, properties: Inputs) -> Properties:
    """One form for all ways of saying the same: defaults filled in, what says nothing left out."""
    made = _normal(handler, "", dict(properties), handler.defaults)
    return {} if made is _NOTHING else made


def join(path: str, name: str) -> str:
    """The path of ``name`` below ``path``."""
    return f"{path}.{name}" if path else name


def _normal(handler: Handler, path: str, value: Any, defaults: Mapping[str, Any]) -> Any:
    if isinstance(value, Mapping):
        return _normal_map(handler, path, value, defaults)
    if isinstance(value, list):
        made = [
            each
            for each in (_normal(handler, path, each, defaults) for each in value)
            if each is not _NOTHING
        ]
        return _sorted(made) if path in handler.unordered else made or _NOTHING
    if value is None or value is False or value == "":
        return _NOTHING
    if path in handler.documents and isinstance(value, str) and value != UNKNOWN:
        return _document(value)
    return plain_numbers(value)


def _normal_map(handler: Handler, path: str, value: Mapping[str, Any], defaults: Mapping[str, Any]) -> Any:
    if path in handler.free:
        return {name: str(text) for name, text in value.items()} or _NOTHING
    whole = {
        **{name: default for name, default in defaults.items() if not isinstance(default, Mapping)},
        **{name: below for name, below in value.items() if below is not None},
    }
    made = {}
    for name, below in whole.items():
        here = join(path, name)
        nested = defaults.get(name)
        if name.startswith("__") or here in handler.computed:
            continue
        one = _normal(handler, here, below, nested if isinstance(nested, Mapping) else {})
        if one is not _NOTHING:
            made[name] = one
    return made or _NOTHING


def _sorted(values: list[Any]) -> Any:
    return sorted(values, key=lambda one: json.dumps(one, sort_keys=True)) or _NOTHING


def _document(text: str) -> Any:
    try:
        return _policy(json.loads(text))
    except ValueError:
        return text


def _policy(value: Any) -> Any:
    """A list of one is the same as the one, and the order of a list's texts means nothing in a policy."""
    if isinstance(value, dict):
        return {name: _policy(below) for name, below in sorted(value.items())}
    if isinstance(value, list):
        made = [_policy(each) for each in value]
        if len(made) == 1:
            return made[0]
        return sorted(made) if all(isinstance(each, str) for each in made) else made
    return value


def _paths(handler: Handler, old: Any, new: Any, path: str) -> Iterable[str]:
    whole = path in handler.free or path in handler.documents
    if isinstance(old, Mapping | None) and isinstance(new, Mapping | None) and not whole:
        before, after = old or {}, new or {}
        for name in sorted(before.keys() | after.keys()):
            yield from _paths(handler, before.get(name), after.get(name), join(path, name))
        if path and not before.keys() | after.keys() and old != new:
            yield path
    elif old != new:
        yield path


def _at(properties: Any, path: str) -> Any:
    for name in path.split("."):
        if not isinstance(properties, Mapping) or name not in properties:
            return _NOTHING
        properties = properties[name]
    return properties


def _covered(path: str, by: Iterable[str]) -> bool:
    return any(path == each or path.startswith(f"{each}.") for each in by)


def _same(handler: Handler, path: str, one: Any, other: Any) -> bool:
    return bool(_normal(handler, path, one, {}) == _normal(handler, path, other, {}))


def _settled(handler: Handler, prior: Any, live: Any, path: str) -> Any:
    if isinstance(prior, Mapping) and isinstance(live, Mapping) and path not in handler.free:
        made = {
            name: _settled(handler, prior.get(name), below, join(path, name)) for name, below in live.items()
        }
        for name, value in prior.items():
            here = join(path, name)
            if (
                name not in live
                and path
                and (here in handler.unread or _normal(handler, here, value, {}) is _NOTHING)
            ):
                made[name] = value
        return made
    return prior if prior is not None and _same(handler, path, prior, live) else live


def _inputs(handler: Handler, prior: Inputs, live: Inputs, path: str, left_out: frozenset[str]) -> Properties:
    made: Properties = {}
    for name, value in live.items():
        here = join(path, name)
        if here in handler.computed or name.startswith("__"):
            continue
        if name in prior:
            below = prior[name]
            nested = isinstance(value, Mapping) and isinstance(below, Mapping) and here not in handler.free
            made[name] = _inputs(handler, below, value, here, left_out) if nested else value
        elif here not in left_out and not _is_default(handler, here, value):
            made[name] = _inputs(handler, {}, value, here, left_out) if isinstance(value, Mapping) else value
    return made


def _is_default(handler: Handler, path: str, value: Any) -> bool:
    found = _normal(handler, path, value, {})
    default = _at(handler.defaults, path)
    if isinstance(default, Mapping) or default is _NOTHING:
        return found is _NOTHING
    return bool(found == _normal(handler, path, default, {}))


def _masked(known: Any, pretended: Any) -> Any:
    if isinstance(pretended, Mapping):
        below = known if isinstance(known, Mapping) else {}
        return {
            **below,
            **{name: _masked(below.get(name, _NOTHING), each) for name, each in pretended.items()},
        }
    if known is not _NOTHING:
        return known
    if isinstance(pretended, list):
        return [_masked(_NOTHING, each) for each in pretended]
    return UNKNOWN
