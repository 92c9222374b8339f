"""What a provider does with one resource, whoever asks: check, create, read, update, delete.

Shared by the mocks, the runner without an engine and the plugin.
"""

from dataclasses import dataclass
from typing import Any

from tests.emulated.handlers import handler
from tests.emulated.handlers.handler import Aws, Handler, Inputs, Properties, Refused, in_words
from tests.emulated.semantics import (
    differences,
    inputs_of,
    plain_numbers,
    prepared,
    refusals,
    replacing,
    settled,
)


@dataclass(frozen=True)
class Difference:
    """What a program wants changed."""

    changed: frozenset[str]
    replacing: frozenset[str]

    def __bool__(self) -> bool:
        return bool(self.changed)


def ready(token: str, name: str, inputs: Inputs, region: str) -> Properties:
    """The inputs as the provider takes them.

    Raises:
        Refused: the provider or AWS would not have them.
    """
    of = handler(token)
    made = prepared(of, plain_numbers(inputs), name)
    if reasons := refusals(of, made, region):
        raise Refused("CheckFailed", f"{token} `{name}`: {'; '.join(reasons)}")
    return made


def difference(token: str, old: Inputs, new: Inputs) -> Difference:
    """Compare two sets of inputs."""
    of = handler(token)
    changed = differences(of, old, new)
    return Difference(frozenset(changed), frozenset(replacing(of, changed)))


def create(aws: Aws, token: str, name: str, inputs: Inputs) -> tuple[str, Properties]:
    """Make it; the id and every output.

    Raises:
        Refused: AWS would not.
    """
    of = handler(token)
    with in_words(f"creating {token} `{name}`"):
        identity = of.create(aws, inputs)
        return identity, _outputs(of, aws, identity, inputs)


def update(aws: Aws, token: str, identity: str, before: Inputs, inputs: Inputs) -> Properties:
    """Change it from what was asked ``before``; every output.

    Raises:
        Refused: AWS would not.
    """
    of = handler(token)
    with in_words(f"updating {token} `{identity}`"):
        if changed := differences(of, before, inputs):
            of.change(aws, identity, before, inputs, changed)
        return _outputs(of, aws, identity, inputs)


def read(
    aws: Aws, token: str, identity: str, state: Inputs, inputs: Inputs
) -> tuple[Properties, Properties] | None:
    """What is there: outputs and inputs, in the words of those that are known; ``None`` when it is gone."""
    of = handler(token)
    with in_words(f"reading {token} `{identity}`"):
        live = of.read(aws, identity)
    if live is None:
        return None
    return settled(of, state, live), inputs_of(of, inputs, live)


def delete(aws: Aws, token: str, identity: str, state: Inputs) -> None:
    """End it.

    Raises:
        Refused: AWS would not.
    """
    with in_words(f"deleting {token} `{identity}`"):
        handler(token).delete(aws, identity, state)


def _outputs(of: Handler, aws: Aws, identity: str, inputs: Inputs) -> Properties:
    live: Any = of.read(aws, identity)
    if live is None:
        raise Refused("NotFound", f"{of.token} `{identity}` is not there after it was made")
    return settled(of, inputs, live)
