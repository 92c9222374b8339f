"""What every handler keeps to: what it makes can be read from its id alone, and is what was asked for."""

from dataclasses import dataclass
from typing import Any

import pytest

from tests.cell.handlers.examples import CHANGES, EXAMPLES, REGION, Site
from tests.emulated import resources
from tests.emulated.account import Account
from tests.emulated.handlers import REGISTRY
from tests.emulated.handlers.handler import UNKNOWN, Aws
from tests.emulated.semantics import foreseen, has_unknown, merged

Json = dict[str, Any]
TOKENS = sorted(EXAMPLES)
INVOCATION = "aws:lambda/invocation:Invocation"  # of which AWS gives nothing back
STAYS = {
    "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup": "as long as its VPC",
    INVOCATION: "a call that was made has been made",
    "aws:s3/bucketVersioning:BucketVersioning": "it can only be suspended",
}


@dataclass(frozen=True)
class Made:
    """One example, made."""

    aws: Aws
    token: str
    inputs: Json
    identity: str
    outputs: Json


def make(aws: Aws, token: str) -> Made:
    inputs = resources.ready(token, "example", EXAMPLES[token](Site(aws)), REGION)
    return Made(aws, token, inputs, *resources.create(aws, token, "example", inputs))


@pytest.fixture(scope="module", params=TOKENS)
def made(emulation: Account, request: pytest.FixtureRequest) -> Made:
    """One example of each type; nobody changes it."""
    emulation.reset()
    return make(emulation.aws(REGION, invoke=lambda _function, _payload: {}), request.param)


def test_each_type_has_an_example() -> None:
    assert set(EXAMPLES) == set(REGISTRY)


def test_what_is_made_is_found_again_from_its_id_alone(made: Made) -> None:
    found = resources.read(made.aws, made.token, made.identity, {}, {})
    assert found is not None
    outputs, inputs = found
    unread = REGISTRY[made.token].unread
    difference = resources.difference(made.token, inputs, made.inputs)
    assert not {path for path in difference.changed if not {path, path.partition(".")[0]} & unread}
    if made.token != INVOCATION:
        assert not difference.replacing - unread
        nothing = {name for name, value in made.inputs.items() if not value}
        assert set(made.outputs) - set(outputs) <= unread | nothing


def test_what_is_made_has_not_drifted(made: Made) -> None:
    found = resources.read(made.aws, made.token, made.identity, made.outputs, made.inputs)
    assert found == (made.outputs, made.inputs)


def test_what_was_asked_for_is_given_out_as_it_was_asked(made: Made) -> None:
    assert merged(made.inputs, made.outputs) == made.outputs


def test_a_preview_promises_only_what_an_apply_gives(made: Made) -> None:
    promised = foreseen(REGISTRY[made.token], made.inputs)
    known = {name: value for name, value in promised.items() if not has_unknown(value)}
    assert merged(known, made.outputs) == made.outputs
    if made.token != INVOCATION:
        assert {name for name, value in promised.items() if value == UNKNOWN} <= set(made.outputs)


def test_an_interrupted_creation_could_be_found_again(made: Made) -> None:
    assert REGISTRY[made.token].key(made.inputs) or "tags" in made.inputs


@pytest.mark.parametrize("token", TOKENS)
def test_a_thing_is_changed_in_place_and_ended(aws: Aws, token: str) -> None:
    one = make(aws, token)
    before, outputs = one.inputs, one.outputs
    for change in CHANGES.get(token, ()):
        wanted = {name: value for name, value in {**before, **change}.items() if value is not None}
        difference = resources.difference(token, before, wanted)
        assert difference
        assert not difference.replacing
        outputs = resources.update(aws, token, one.identity, before, wanted)
        assert resources.read(aws, token, one.identity, outputs, wanted) == (outputs, wanted)
        before = wanted
    resources.delete(aws, token, one.identity, outputs)
    assert (resources.read(aws, token, one.identity, {}, {}) is None) == (token not in STAYS)
    resources.delete(aws, token, one.identity, outputs)
