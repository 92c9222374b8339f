"""One stack: preview, up, refresh, destroy, repair; each reads the locks first and names what went wrong.

Bootstrap and the commands of day 2 use this class. The invariants: no operation starts while
another run holds the stack, none changes anything while an interrupted run's calls are pending;
outputs are those of the last run that succeeded; no secret leaves through an error, a log or a
file that stays.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pulumi import automation
from pulumi.automation.errors import CommandError

from byoc import durable
from byoc.bootstrap.engine import locks, repair
from byoc.bootstrap.engine.command import end_session
from byoc.bootstrap.engine.events import UNCHANGED, Listener, Step, Subject, Tracker
from byoc.bootstrap.engine.failures import Circumstances, translate
from byoc.bootstrap.engine.session import Backend, Program, Session
from byoc.clock import stamp
from byoc.errors import ByocError, Cancelled, PreconditionFailed

_BESIDE: Final = ".byoc"
"""Folder of our own in the backend, beside the engine's ``.pulumi``."""


@dataclass(frozen=True)
class Plan:
    """What an operation would do: counts by operation, and each step that changes something."""

    counts: Mapping[str, int]
    steps: tuple[Step, ...]

    @property
    def total(self) -> int:
        """How many changes there are."""
        return changed(self.counts)


@dataclass(frozen=True)
class Outcome:
    """What an operation did, and the stack's outputs without secret ones."""

    counts: Mapping[str, int]
    outputs: Mapping[str, Any]

    @property
    def total(self) -> int:
        """How many changes there were."""
        return changed(self.counts)


@dataclass(frozen=True)
class Repaired:
    """The table of a repair, where the state before it lies, and what the next run would do."""

    decisions: tuple[repair.Decision, ...]
    backup: str
    plan: Plan


def changed(counts: Mapping[str, int]) -> int:
    """How many of the operations change something."""
    return sum(count for op, count in counts.items() if op not in UNCHANGED)


class Stack:
    """A stack that exists; :meth:`open` gives one.

    Args:
        session: the engine.
        stack: the SDK's own.
        project: name of the program.
        backend: where its state lives.
        raised: filled by the program with errors of our tree that it raised.
    """

    def __init__(
        self,
        session: Session,
        stack: automation.Stack,
        project: str,
        backend: Backend,
        raised: list[ByocError],
    ) -> None:
        self.name = stack.name
        self._session = session
        self._stack = stack
        self._project = project
        self._backend = backend
        self._raised = raised

    @classmethod
    def open(
        cls,
        session: Session,
        project: str,
        name: str,
        program: Program,
        backend: Backend,
        *,
        create: bool = True,
    ) -> "Stack":
        """Select the stack ``name`` of ``project``; make it where it is missing and ``create``.

        Raises:
            NotFound: there is none and it is not to be made.
            PreconditionFailed: the engine would use another backend.
            Failed: the backend cannot be used; the message is the engine's.
        """
        raised: list[ByocError] = []

        def guarded() -> None:
            try:
                program()
            except ByocError as error:
                raised.append(error)
                raise

        workspace = session.workspace(project, name, guarded, backend)
        get = automation.Stack.create_or_select if create else automation.Stack.select
        try:
            return cls(session, get(name, workspace), project, backend, raised)
        except CommandError as error:
            raise translate(
                error, session.tracker, _circumstances(session, name, [], changing=True)
            ) from error

    def preview(self, listener: Listener | None = None, *, policy_packs: Sequence[Path] = ()) -> Plan:
        """What :meth:`up` would do; nothing is written.

        Raises:
            PreconditionFailed: the stack is locked, or a mandatory policy does not hold.
            Failed: the program or a provider refuses; the message is theirs.
            Cancelled: a person wished to stop.
        """
        with self._operation(listener) as tracker:
            self._stack.preview(
                on_event=tracker.feed, policy_packs=[str(path) for path in policy_packs], color="never"
            )
        return Plan(tracker.changes, tracker.steps)

    def up(
        self, listener: Listener | None = None, *, total: int = 0, policy_packs: Sequence[Path] = ()
    ) -> Outcome:
        """Make the account what the program says, and keep the outputs.

        Args:
            listener: told the progress.
            total: changes that the preview announced, for the progress.
            policy_packs: folders of rules that must hold.

        Raises:
            PreconditionFailed: the stack is locked, calls of an interrupted run are pending, or a
                mandatory policy does not hold.
            Failed: a provider refused; what was made is recorded, the outputs of before are kept.
            Cancelled: a person wished to stop; the message says whether anything is unrecorded.
        """
        with self._operation(listener, total=total, changing=True) as tracker:
            made = self._stack.up(
                on_event=tracker.feed,
                policy_packs=[str(path) for path in policy_packs],
                color="never",
                show_secrets=False,
                suppress_outputs=True,
            )
        outputs = {name: output.value for name, output in made.outputs.items() if not output.secret}
        self._write("outputs", json.dumps(outputs, sort_keys=True).encode())
        return Outcome(tracker.changes, outputs)

    def refresh(self, listener: Listener | None = None) -> Outcome:
        """Take over into the state what the account really holds.

        Raises:
            as :meth:`up`.
        """
        with self._operation(listener, changing=True) as tracker:
            self._stack.refresh(on_event=tracker.feed, color="never", show_secrets=False)
        return Outcome(tracker.changes, self.outputs())

    def drift(self, listener: Listener | None = None) -> Plan:
        """What :meth:`refresh` would take over; nothing is written.

        Raises:
            as :meth:`preview`.
        """
        with self._operation(listener) as tracker:
            self._stack.preview_refresh(on_event=tracker.feed, color="never")
        return Plan(tracker.changes, tracker.steps)

    def preview_destroy(self, listener: Listener | None = None) -> Plan:
        """What :meth:`destroy` would remove; nothing is written.

        Raises:
            as :meth:`preview`.
        """
        with self._operation(listener) as tracker:
            self._stack.preview_destroy(on_event=tracker.feed, color="never")
        return Plan(tracker.changes, tracker.steps)

    def destroy(self, listener: Listener | None = None, *, total: int = 0) -> Outcome:
        """Remove everything that the stack made and does not protect; the stack itself stays.

        Raises:
            as :meth:`up`.
        """
        with self._operation(listener, total=total, changing=True) as tracker:
            self._stack.destroy(
                on_event=tracker.feed, color="never", show_secrets=False, exclude_protected=True
            )
        self._backend.objects.delete(self._beside("outputs"))
        return Outcome(tracker.changes, {})

    def outputs(self) -> Mapping[str, Any]:
        """Outputs of the last run that succeeded, without secret ones; empty before the first."""
        kept = self._backend.objects.read(self._beside("outputs"))
        outputs: Mapping[str, Any] = json.loads(kept) if kept else {}
        return outputs

    def export(self) -> repair.State:
        """The state, its secrets as ciphertext.

        Raises:
            Failed: it cannot be read.
        """
        text = self._session.ask("stack", "export", "--stack", self.name, backend=self._backend.url)
        state: repair.State = json.loads(text)
        return state

    def replace_state(self, state: repair.State) -> str:
        """Put ``state`` in the place of the present one, of which a copy is kept beside it.

        Returns:
            where the copy lies: a key of the backend.

        Raises:
            Failed: the engine refuses the state; the present one stays.
        """
        backup = self._beside("backups", stamp(self._session.clock.now()))
        self._backend.objects.write(backup, json.dumps(self.export()).encode())
        file = self._session.folder / "state.json"
        durable.write_file(file, json.dumps(state))
        try:
            args = ("stack", "import", "--file", str(file), "--stack", self.name)
            self._session.ask(*args, backend=self._backend.url)
        finally:
            durable.remove(file)
        return backup

    def pending(self) -> tuple[repair.Pending, ...]:
        """Calls of an interrupted run of which nobody knows how they ended."""
        return repair.pending(self.export())

    def repair(self, finder: repair.Finder, listener: Listener | None = None) -> Repaired:
        """Adopt what an interrupted run made, forget what it did not make, and prove it by a preview.

        Raises:
            PreconditionFailed: the stack is locked.
            Failed: the next run would replace or delete something; nothing was deleted.
        """
        self._unlock()
        state = self.export()
        operations = repair.pending(state)
        found = {
            one.subject.urn: identity
            for one in repair.to_find(operations)
            if (identity := finder.find(one.subject.type, one.inputs, one.subject.name))
        }
        decisions = repair.decide(operations, found)
        backup = ""
        if decisions:
            state = repair.healed(state, decisions, self._session.clock.now())
            backup = self.replace_state(state)
            self.refresh(listener)
        plan = self.preview(listener)
        repair.check(plan.steps, repair.replaced(state), backup)
        return Repaired(decisions, backup, plan)

    def unprotect(self) -> None:
        """Let :meth:`destroy` remove what holds the customer's data too; what asks for it has asked a person.

        Raises:
            PreconditionFailed: the stack is locked.
            Failed: the engine does not do it.
        """
        self._unlock()
        self._session.ask(
            "state", "unprotect", "--all", "--yes", "--stack", self.name, backend=self._backend.url
        )

    def forget(self, kind: str) -> list[str]:
        """Take all resources whose type begins with ``kind`` out of the state; return their names.

        Calls nobody: for what lives in something that is gone already, such as objects of a deleted cluster.

        Raises:
            PreconditionFailed: the stack is locked.
            Failed: the engine does not do it.
        """
        self._unlock()
        resources = self.export()["deployment"].get("resources", [])
        found = [one for one in resources if one["type"].startswith(kind)]
        for one in reversed(found):  # those that depend on others come after them, and go before them
            args = ("state", "delete", one["urn"], "--force", "--yes", "--target-dependents")
            self._session.ask(*args, "--stack", self.name, backend=self._backend.url)
        return [Subject.of(one["urn"]).name for one in found]

    def require_free(self) -> None:
        """Return if no other run holds the stack; a lock of a dead process of this machine is removed.

        Raises:
            PreconditionFailed: another run holds it.
        """
        self._unlock()

    def unlock(self) -> list[locks.Lock]:
        """Remove every lock, whoever holds it: only where a person is certain that the holder is gone."""
        held = locks.held(self._backend.objects, self._project, self.name)
        for lock in held:
            self._backend.objects.delete(lock.key)
        return held

    def remove(self) -> None:
        """Forget the stack; its resources must be gone.

        Raises:
            Failed: it still has resources.
        """
        self._unlock()
        self._session.ask("stack", "rm", "--yes", "--stack", self.name, backend=self._backend.url)
        self._backend.objects.delete(self._beside("outputs"))

    def _beside(self, *parts: str) -> str:
        return "/".join([_BESIDE, self._project, self.name, *parts]) + ".json"

    def _write(self, part: str, data: bytes) -> None:
        self._backend.objects.write(self._beside(part), data)

    def _unlock(self) -> None:
        run = self._session.run
        cleared = locks.clear(
            self._backend.objects,
            self._project,
            self.name,
            hostname=run.hostname,
            alive=locks.engine_runs,
        )
        for lock in cleared:
            end_session(lock.pid)
            run.tell(f"{self.name}: the run of {lock.holder} died; its lock is removed")

    @contextmanager
    def _operation(
        self, listener: Listener | None, *, total: int = 0, changing: bool = False
    ) -> Iterator[Tracker]:
        session = self._session
        if session.run.interrupts.asks:
            raise Cancelled(
                f"{self.name}: stopped; nothing more was begun", hint="run the same command again"
            )
        self._unlock()
        if changing and (operations := self.pending()):
            raise PreconditionFailed(
                f"{self.name}: an interrupted run left {len(operations)} calls of unknown end",
                hint=f"byoc cell repair {self.name}",
            )
        session.tracker = Tracker(session.clock.monotonic, listener, total)
        session.command.begin()
        self._raised.clear()
        try:
            with session.run.interrupts.listening():
                yield session.tracker
        except (CommandError, RuntimeError) as error:
            # RuntimeError is the SDK's own for a preview that ended without a summary.
            seen = _circumstances(session, self.name, self._raised, changing=changing)
            raise translate(error, session.tracker, seen) from error


def _circumstances(
    session: Session, name: str, raised: Sequence[ByocError], *, changing: bool
) -> Circumstances:
    return Circumstances(
        stack=name,
        changing=changing,
        asks=session.run.interrupts.asks,
        stopped=session.command.stopped,
        abandoned=session.command.abandoned,
        raised=next(iter(raised), None),
        where=session.where,
    )
