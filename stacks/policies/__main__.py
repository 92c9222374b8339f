"""The policy pack of a cell: ``pulumi preview --policy-pack stacks/policies``.

The rules are ``byoc.cell.rules``, which bootstrap holds its own plan to; here they are told to Pulumi.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from pulumi_policy import (
    EnforcementLevel,
    PolicyPack,
    PolicyResource,
    ReportViolation,
    ResourceValidationArgs,
    ResourceValidationPolicy,
    StackValidationArgs,
    StackValidationPolicy,
)
from pulumi_policy.proxy import UnknownValueError

from byoc.cell.foretold import UNKNOWN
from byoc.cell.rules import RULES, STACK_RULES, Rule, StackRule, Thing


def _plain(value: Any) -> Any:
    """Return ``value`` without Pulumi's wrappings, which raise where something is not known yet."""
    if isinstance(value, Mapping):
        return {key: _item(value, key) for key in value}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_item(value, index) for index in range(len(value))]
    return value


def _item(value: Any, key: Any) -> Any:
    try:
        return _plain(value[key])
    except UnknownValueError:
        return UNKNOWN


def _thing(resource: PolicyResource) -> Thing:
    refers = {name: [each.urn for each in found] for name, found in resource.property_dependencies.items()}
    return Thing(resource.resource_type, resource.name, _plain(resource.props), resource.urn, refers)


def _resource(rule: Rule) -> ResourceValidationPolicy:
    def validate(args: ResourceValidationArgs, report: ReportViolation) -> None:
        for message in rule.broken(Thing(args.resource_type, args.name, _plain(args.props), args.urn)):
            report(message, args.urn)

    return ResourceValidationPolicy(name=rule.name, description=rule.description, validate=validate)


def _stack(rule: StackRule) -> StackValidationPolicy:
    def validate(args: StackValidationArgs, report: ReportViolation) -> None:
        things = [_thing(each) for each in args.resources]
        for thing, message in rule.broken(things):
            report(message, thing.urn)

    return StackValidationPolicy(name=rule.name, description=rule.description, validate=validate)


PolicyPack(
    name="byoc",
    enforcement_level=EnforcementLevel.MANDATORY,
    policies=[*(_resource(each) for each in RULES), *(_stack(each) for each in STACK_RULES)],
)
