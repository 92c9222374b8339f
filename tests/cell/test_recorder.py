"""The recorder: what a program registers, option by option; what a plan cannot do is refused."""

from collections.abc import Callable
from typing import Any

import pulumi
import pytest

from byoc.cell.foretold import UNKNOWN
from byoc.cell.recorder import SECRET, Recording, record
from byoc.errors import Failed, UsageError
from tests.unit.cell.examples import ACCOUNT, FACTS


class _Thing(pulumi.CustomResource):
    def __init__(self, name: str, inputs: dict[str, Any], opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("aws:iam/role:Role", name, {"arn": None, "made": None, **inputs}, opts)

    @property
    def arn(self) -> Any:
        return pulumi.get(self, "arn")

    @property
    def made(self) -> Any:
        return pulumi.get(self, "made")


def _recorded(program: Callable[[], None]) -> Recording:
    return record(program, FACTS)


def test_what_follows_from_a_name_is_known_and_what_aws_decides_is_not() -> None:
    def program() -> None:
        thing = _Thing("thing", {"name": "n"})
        pulumi.export("arn", thing.arn)
        pulumi.export("made", thing.made)
        pulumi.export("text", pulumi.Output.concat("of ", thing.id, " in ", thing.made))

    said = _recorded(program).outputs
    assert said == {"arn": f"arn:aws:iam::{ACCOUNT}:role/n", "made": UNKNOWN, "text": UNKNOWN}


def test_options_and_dependencies_are_recorded() -> None:
    def program() -> None:
        first = _Thing("first", {"name": "a"})
        _Thing(
            "second",
            {"name": first.id},
            pulumi.ResourceOptions(
                depends_on=[first],
                protect=True,
                retain_on_delete=True,
                deleted_with=first,
                ignore_changes=["x"],
                delete_before_replace=True,
            ),
        )

    first, second = _recorded(program).resources
    assert second.depends_on == (first.urn,)
    assert second.refers == {"name": (first.urn,)}
    assert (second.protect, second.retain, second.within) == (True, True, first.urn)
    assert (second.ignore, second.delete_before_replace) == (("x",), True)
    assert second.inputs == {"name": "a"}
    assert (first.protect, first.within, first.ignore) == (False, "", ())


def test_a_urn_names_every_parent_as_the_engine_does() -> None:
    def program() -> None:
        part = pulumi.ComponentResource("byoc:cell:Part", "part")
        inner = pulumi.ComponentResource(
            "byoc:cell:Inner", "inner", None, pulumi.ResourceOptions(parent=part)
        )
        _Thing("thing", {}, pulumi.ResourceOptions(parent=inner))

    urns = {each.name: each.urn for each in _recorded(program).resources}
    kinds = "byoc:cell:Part$byoc:cell:Inner$aws:iam/role:Role"
    assert urns["thing"] == f"urn:pulumi:plan::byoc::{kinds}::thing"


def test_a_secret_is_not_shown() -> None:
    def program() -> None:
        _Thing("thing", {"name": pulumi.Output.secret("of nobody")})

    (thing,) = _recorded(program).resources
    assert thing.inputs == {"name": SECRET}


def test_numbers_are_as_they_were_given() -> None:
    (thing,) = _recorded(lambda: _Thing("thing", {"whole": 3, "part": 0.5, "yes": True}) and None).resources
    assert thing.inputs == {"whole": 3, "part": 0.5, "yes": True}
    assert isinstance(thing.inputs["whole"], int)
    assert thing.inputs["yes"] is True


def test_a_resource_registered_twice_is_refused() -> None:
    def program() -> None:
        _Thing("thing", {})
        _Thing("thing", {})

    with pytest.raises(Failed, match="registers aws:iam/role:Role `thing` twice"):
        _recorded(program)


def test_asking_aws_is_refused() -> None:
    with pytest.raises(Failed, match="asks AWS for aws:index/getZones:getZones"):
        _recorded(lambda: pulumi.runtime.invoke("aws:index/getZones:getZones", {}).value)


def test_what_a_program_raises_arrives_as_it_is() -> None:
    def program() -> None:
        raise UsageError("not so", hint="but so")

    with pytest.raises(UsageError, match="not so"):
        _recorded(program)


def test_runs_leave_nothing_to_each_other() -> None:
    def one() -> None:
        _Thing("one", {})
        pulumi.export("who", pulumi.get_stack())

    first = record(one, FACTS, stack="a")
    second = record(lambda: None, FACTS, stack="b")
    assert first.outputs == {"who": "a"}
    assert second.resources == ()
    assert second.outputs == {}


def test_two_runs_of_one_program_say_the_same() -> None:
    def program() -> None:
        for number in range(9):
            _Thing(f"thing-{number}", {"name": f"n{number}"})

    assert _recorded(program) == _recorded(program)
