"""A stack without an engine: what it holds, and what a program would make of it.

Creates, changes, replaces and deletes through the handlers in the order in which an engine would, one
after another. It proves the program and the handlers; engine, plugin and state have a tier of their own.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tests.emulated import resources
from tests.emulated.handlers import handler
from tests.emulated.handlers.handler import Aws, Properties, Refused
from tests.emulated.monitor import Deployment, PlainMocks, Registration, deploy
from tests.emulated.semantics import foreseen, merged

Program = Callable[[], None]


@dataclass(frozen=True)
class Held:
    """One resource of the stack: what was asked for, and what is there."""

    asked: Registration
    identity: str
    inputs: Properties
    outputs: Properties


@dataclass(frozen=True)
class Step:
    """One thing that was done, or would be.

    Attributes:
        op: ``create``, ``update``, ``replace``, ``same``, ``delete``, ``retain``; of a refresh ``drift``
            and ``gone``.
        paths: what differs.
    """

    op: str
    token: str
    name: str
    paths: frozenset[str] = frozenset()

    def __str__(self) -> str:
        return f"{self.op} {self.token.rpartition(':')[2]} {self.name}"


@dataclass
class Run:
    """What a preview or an apply did."""

    steps: list[Step]
    deployment: Deployment

    @property
    def changes(self) -> list[Step]:
        """Everything but what stays the same."""
        return [step for step in self.steps if step.op != "same"]

    def count(self, op: str) -> int:
        """How many steps of one kind."""
        return sum(step.op == op for step in self.steps)


@dataclass
class Stack:
    """The resources of one stack in one account.

    Attributes:
        held: by URN, dependencies first.
    """

    aws: Aws
    held: dict[str, Held] = field(default_factory=dict)

    def preview(self, program: Program, config: Mapping[str, str] | None = None) -> Run:
        """What ``up`` would do; nothing is called that changes anything."""
        pass_ = _Pass(self)
        seen = deploy(program, pass_, preview=True, config=config)
        steps = pass_.steps + [_step("delete", one) for one in self._left_out(seen)]
        return Run(steps, seen)

    def up(self, program: Program, config: Mapping[str, str] | None = None) -> Run:
        """Bring the account to what the program says.

        Raises:
            Refused: AWS would not; what was done until then is held.
        """
        pass_ = _Pass(self)
        seen = deploy(program, pass_, config=config)
        for one in reversed(pass_.replaced):
            self._delete(one, pass_.steps)
        left = self._left_out(seen)
        self.held = {urn: self.held[urn] for urn in seen.resources if urn in self.held} | {
            one.asked.urn: one for one in left
        }
        self._take_out(left, pass_.steps)
        return Run(pass_.steps, seen)

    def refresh(self) -> list[Step]:
        """Look at everything that is held; what was changed or ended by hand."""
        steps = []
        for urn, one in list(self.held.items()):
            if not _is_aws(one.asked):
                continue
            live = resources.read(self.aws, one.asked.token, one.identity, one.outputs, one.inputs)
            if live is None:
                steps.append(_step("gone", one))
                del self.held[urn]
                continue
            outputs, inputs = live
            if found := resources.difference(one.asked.token, one.inputs, inputs):
                steps.append(_step("drift", one, found.changed))
            self.held[urn] = replace(one, inputs=inputs, outputs=outputs)
        return steps

    def destroy(self, *, even_protected: bool = False) -> list[Step]:
        """End everything, what depends on others first.

        Raises:
            Refused: something is protected, or AWS would not.
        """
        protected = [one.asked.name for one in self.held.values() if one.asked.protect]
        if protected and not even_protected:
            raise Refused("Protected", f"{', '.join(protected)} cannot be deleted: protected")
        steps: list[Step] = []
        self._take_out(list(self.held.values()), steps)
        return steps

    def _left_out(self, seen: Deployment) -> list[Held]:
        return [one for urn, one in self.held.items() if urn not in seen.resources]

    def _take_out(self, which: list[Held], steps: list[Step]) -> None:
        going = {one.asked.urn for one in which if not one.asked.retain}
        for one in reversed(which):
            if one.asked.deleted_with in going:
                steps.append(_step("delete", one))
            else:
                self._delete(one, steps)
            del self.held[one.asked.urn]

    def _delete(self, one: Held, steps: list[Step]) -> None:
        if one.asked.retain:
            steps.append(_step("retain", one))
            return
        if _is_aws(one.asked):
            resources.delete(self.aws, one.asked.token, one.identity, one.outputs)
        steps.append(_step("delete", one))


class _Pass:
    """One run of the program over what the stack holds."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.steps: list[Step] = []
        self.replaced: list[Held] = []

    def resource(self, asked: Registration, *, preview: bool) -> tuple[str, Properties]:
        """Decide, and act unless this is a preview."""
        if not _is_aws(asked):
            return self._other(asked, preview=preview)
        region = self.stack.aws.region
        inputs = resources.ready(asked.token, asked.name, asked.inputs, region)
        old = self.stack.held.get(asked.urn)
        if old is None:
            return self._create("create", asked, inputs, preview=preview)
        inputs = _ignoring(asked.ignore_changes, old.inputs, inputs)
        found = resources.difference(asked.token, old.inputs, inputs)
        anew = found.replacing | {path for path in found.changed if _begins(path, asked.replace_on_changes)}
        if anew:
            return self._replace(old, asked, inputs, anew, preview=preview)
        if not found:
            self.steps.append(_step("same", old))
            return self._hold(asked, old.identity, inputs, old.outputs, preview=preview)
        self.steps.append(_step("update", old, found.changed))
        if preview:
            return old.identity, merged(inputs, old.outputs)
        outputs = resources.update(self.stack.aws, asked.token, old.identity, old.inputs, inputs)
        return self._hold(asked, old.identity, inputs, outputs)

    def _other(self, asked: Registration, *, preview: bool) -> tuple[str, Properties]:
        """A resource of another provider: held, and nowhere else."""
        identity, outputs = PlainMocks().resource(asked, preview=preview)
        old = self.stack.held.get(asked.urn)
        same = old is not None and old.inputs == dict(asked.inputs)
        op = "same" if same else "update" if old else "create"
        self.steps.append(Step(op, asked.token, asked.name))
        return self._hold(asked, identity, dict(asked.inputs), outputs, preview=preview)

    def _create(
        self, op: str, asked: Registration, inputs: Properties, *, preview: bool
    ) -> tuple[str, Properties]:
        self.steps.append(Step(op, asked.token, asked.name))
        if preview:
            return "", foreseen(handler(asked.token), inputs)
        identity, outputs = resources.create(self.stack.aws, asked.token, asked.name, inputs)
        return self._hold(asked, identity, inputs, outputs)

    def _replace(
        self, old: Held, asked: Registration, inputs: Properties, paths: frozenset[str], *, preview: bool
    ) -> tuple[str, Properties]:
        if asked.protect:
            raise Refused("Protected", f"{asked.name} cannot be replaced: {', '.join(sorted(paths))}")
        if not preview:
            if asked.delete_before_replace or handler(asked.token).delete_before_replace:
                self.stack._delete(old, self.steps)
            else:
                self.replaced.append(old)
        answer = self._create("replace", asked, inputs, preview=preview)
        self.steps[-1] = _step("replace", old, paths)
        return answer

    def _hold(
        self,
        asked: Registration,
        identity: str,
        inputs: Properties,
        outputs: Properties,
        *,
        preview: bool = False,
    ) -> tuple[str, Properties]:
        if not preview:
            self.stack.held[asked.urn] = Held(asked, identity, inputs, outputs)
        return identity, outputs


def _is_aws(asked: Registration) -> bool:
    return asked.token.startswith("aws:")


def _step(op: str, one: Held, paths: frozenset[str] = frozenset()) -> Step:
    return Step(op, one.asked.token, one.asked.name, paths)


def _begins(path: str, by: tuple[str, ...]) -> bool:
    return any(path == each or path.startswith(f"{each}.") for each in by)


def _ignoring(paths: tuple[str, ...], old: Mapping[str, Any], new: Mapping[str, Any]) -> Properties:
    """``new`` with the values of ``old`` at the paths that are not the program's business."""
    made = dict(new)
    for path in paths:
        name, _, rest = path.partition(".")
        if rest and isinstance(made.get(name), Mapping):
            made[name] = _ignoring((rest,), old.get(name, {}), made[name])
        elif name in old:
            made[name] = old[name]
        else:
            made.pop(name, None)
    return made
