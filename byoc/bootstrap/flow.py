"""`byoc bootstrap`, step by step: look, judge, plan, apply, join; each may be repeated, none is half done.

Called by the command line. The order is the invariant: nothing is made before every check has passed and
a person (or ``--yes``) has agreed; the state's bucket is the first thing that is made, the record of the
run the second; a run that was killed anywhere is finished by running it again.
"""

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from byoc import __version__, durable
from byoc.bootstrap import record, state
from byoc.bootstrap.aws import Account
from byoc.bootstrap.engine import locks, plugins
from byoc.bootstrap.engine.events import Listener
from byoc.bootstrap.engine.objects import FolderObjects
from byoc.bootstrap.engine.session import Backend, Run, Session
from byoc.bootstrap.engine.stack import Outcome, Plan, Repaired, Stack
from byoc.bootstrap.finder import AccountFinder
from byoc.bootstrap.preflight import Plan as Wish
from byoc.bootstrap.preflight import judge
from byoc.bootstrap.reach import check_gateway
from byoc.bootstrap.reached import check_direct
from byoc.bootstrap.record import Record, Stage
from byoc.bootstrap.survey.identities import check_engines_role
from byoc.bootstrap.survey.images import check_image
from byoc.bootstrap.survey.look import Wanted, bucket, look
from byoc.bootstrap.survey.permits import permits
from byoc.bootstrap.survey.seen import Survey
from byoc.cell import arns, assume, config
from byoc.cell.args import MINIMUM_ZONES, CellArgs, Delivery, Gateway
from byoc.cell.grants import uses
from byoc.cell.manifests import bundle
from byoc.cell.plan import make_plan
from byoc.cell.program import program
from byoc.cell.rules import RULES, STACK_RULES, violations
from byoc.clock import Clock
from byoc.errors import NotFound, PreconditionFailed, UsageError
from byoc.model.check import Check, Result, failed

PROJECT: Final = "byoc"
PINNED: Final = ("zones", "kubernetes", "amiRelease", "addons", "vpc")
"""Settings that stay as they were at the first run: what AWS offers newly is taken by an upgrade only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What somebody asked for.

    Attributes:
        settings: by the names of ``byoc.cell.config.SETTINGS``; facts may be left out, they are looked up.
        vpc_id: the customer's VPC; empty to make one.
        subnet_ids: its private subnets.
        fresh: take what AWS offers now instead of what was pinned; an upgrade.
    """

    settings: Mapping[str, Any]
    vpc_id: str = ""
    subnet_ids: tuple[str, ...] = ()
    fresh: bool = False

    @property
    def name(self) -> str:
        """The cell's name."""
        return str(self.settings.get("name", ""))


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A cell that could be made.

    Attributes:
        record: of an earlier run; ``None`` at the first.
    """

    args: CellArgs
    checks: tuple[Check, ...]
    survey: Survey
    record: Record | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """What the flow works with.

    Attributes:
        run: finds the engine; asked once, by the first step that needs it.
        hostname: name of this machine, as the engine writes it into locks.
        actions: what bootstrap must be allowed to do for these arguments.
        endpoint: another S3 than AWS's own for the state.
        reach: looks whether the gateway answers.
    """

    run: Callable[[], Run]
    hostname: str
    clock: Clock
    actions: Callable[[CellArgs], Sequence[str]]
    endpoint: str = ""
    reach: Callable[[Gateway], Check] = field(default=check_gateway)


class Bootstrap:
    """One cell's bootstrap in one account."""

    def __init__(self, account: Account, asked: Asked, tools: Tools) -> None:
        self._account = account
        self._asked = asked
        self._tools = tools

    @cached_property
    def _run(self) -> Run:
        return self._tools.run()

    # --- look and judge ------------------------------------------------------------------

    def prepare(self) -> Prepared:
        """Look at the account, complete what was asked for and judge it; changes nothing.

        Raises:
            PreconditionFailed: what is asked for cannot become a cell, whatever the account is like.
            NotFound: an upgrade is asked for of a cell that does not stand.
            Unreachable: AWS cannot be reached.
        """
        try:
            return self._prepare()
        except UsageError as error:
            # Whatever is wrong with a cell that is asked for is found before anything of it is made.
            raise PreconditionFailed(error.message, hint=error.hint) from error

    def _prepare(self) -> Prepared:
        earlier = self._earlier()
        if self._asked.fresh and (earlier is None or earlier.stage is Stage.DESTROYED):
            raise NotFound(f"there is no cell `{self._asked.name}`", hint="byoc bootstrap makes one")
        pinned = self._pinned(earlier)
        version = str(self._said(pinned).get("kubernetes") or assume.table()["kubernetes"])
        begun = earlier is not None and earlier.stage is not Stage.DESTROYED
        if begun and earlier is not None:
            check_step(str(earlier.values.get("kubernetes", version)), version)
            check_engine(earlier.values, self._said(pinned))
        wanted = Wanted(
            kubernetes=version, vpc_id=self._asked.vpc_id, subnet_ids=self._asked.subnet_ids, existing=begun
        )
        survey = look(self._account, wanted)
        args = config.from_mapping(self._complete(survey, pinned, version))
        survey = replace(survey, buckets={name: bucket(self._account, name) for name in _buckets(args)})
        survey = self._asked_for(survey, args)
        checks = (
            *judge(survey, _wish(args)),
            self._alone(),
            *self._ways_in(args),
            self._tools.reach(args.gateway),
            check_image(self._account, args.agent),
            *check_engines_role(self._account, args),
        )
        if not failed(checks):
            checks = (*checks, check_rules(args))
        return Prepared(args=args, checks=checks, survey=survey, record=earlier)

    def _alone(self) -> Check:
        """Return whether another run is at this cell: it would be disturbed before the engine notices."""
        objects = state.backend(self._account, endpoint=self._tools.endpoint).objects
        others = [
            lock
            for lock in locks.held(objects, PROJECT, self._asked.name)
            if not locks.dead(lock, self._tools.hostname, locks.engine_runs)
        ]
        if not others:
            return Check("stack", Result.PASS, "no other run is at this cell")
        refused = locks.refusal(self._asked.name, others)
        return Check("stack", Result.FAIL, refused.message, refused.hint)

    def _ways_in(self, args: CellArgs) -> tuple[Check, ...]:
        direct = args.delivery is Delivery.DIRECT
        return (check_direct(self._account.identity, args),) if direct else ()

    def _asked_for(self, survey: Survey, args: CellArgs) -> Survey:
        """Add to ``survey`` whether the caller may do what the program does, if it can run at all."""
        try:
            actions, how = self._tools.actions(args), uses(args)
        except UsageError:
            if failed(judge(survey, _wish(args))):
                return survey  # a check says it better
            raise
        return replace(survey, permits=permits(self._account, actions, how))

    def permission_diff(self, prepared: Prepared) -> tuple[list[str], list[str]]:
        """Return what this run must be allowed to do and the one before did not, and the other way round."""
        now = set(self._tools.actions(prepared.args))
        before = set(prepared.record.actions) if prepared.record else set()
        return sorted(now - before), sorted(before - now)

    def refuse(self, prepared: Prepared) -> None:
        """Let nothing begin while a check fails.

        Raises:
            PreconditionFailed: naming each failed check and what to do.
        """
        bad = failed(prepared.checks)
        if bad:
            said = "; ".join(f"{check.name}: {check.detail}" for check in bad)
            raise PreconditionFailed(said, hint=next((one.action for one in bad if one.action), ""))

    def _earlier(self) -> Record | None:
        objects = state.backend(self._account, endpoint=self._tools.endpoint).objects
        return record.read(objects, self._asked.name) if self._asked.name else None

    def _pinned(self, earlier: Record | None) -> dict[str, Any]:
        """Return what an earlier run settled, as far as nobody asks for something else."""
        if earlier is None or earlier.stage is Stage.DESTROYED:
            return {}
        left_out = PINNED if self._asked.fresh else ()
        return {name: value for name, value in earlier.values.items() if name not in left_out}

    def _said(self, pinned: Mapping[str, Any]) -> dict[str, Any]:
        return {**pinned, **self._asked.settings}

    def _complete(self, survey: Survey, pinned: Mapping[str, Any], version: str) -> dict[str, Any]:
        facts: dict[str, Any] = {
            "account": survey.identity.account,
            "region": survey.region,
            "partition": survey.identity.partition,
            "zones": list(survey.zones[:MINIMUM_ZONES]),
            "kubernetes": version,
            "amiRelease": survey.releases.ami_release,
            "addons": dict(survey.releases.addons),
        }
        if survey.vpc is not None:
            facts["vpc"] = config.vpc_to_mapping(survey.vpc)
            facts["zones"] = [subnet.zone for subnet in survey.vpc.subnets]
        return {**facts, **self._said(pinned)}

    # --- the engine ----------------------------------------------------------------------

    def download(self, prepared: Prepared) -> None:
        """Get the provider plugins before anything needs them.

        Raises:
            Unreachable: one could not be downloaded.
        """
        packages = dict(plugins.PACKAGES)
        if prepared.args.delivery is Delivery.DIRECT:
            packages |= plugins.KUBERNETES
        session = Session(self._run, self._tools.clock)
        for plugin in session.missing_plugins(plugins.needed(packages)):
            self._run.tell(f"getting the {plugin.name} provider {plugin.version}")
            session.download(plugin)

    def foresee(self, prepared: Prepared, listener: Listener | None = None) -> Plan:
        """Return what ``apply`` would do, without making even the state's bucket.

        Raises:
            PreconditionFailed: the stack is locked by another run.
            Failed: the program or a provider refuses.
        """
        backend = state.backend(self._account, endpoint=self._tools.endpoint)
        if prepared.record is None:
            backend, run = _throwaway(self._run)
            return self._stack(prepared.args, backend, run).preview(listener)
        return self._stack(prepared.args, backend, self._run).preview(listener)

    def apply(self, prepared: Prepared, listener: Listener | None = None, *, total: int = 0) -> Record:
        """Make the cell what ``prepared`` says; an interrupted run is repaired first.

        Raises:
            PreconditionFailed: a check fails, or another run holds the stack.
            Failed: AWS refused something; what was made is recorded, and the same call goes on there.
            Cancelled: somebody wished to stop.
        """
        self.refuse(prepared)
        state.make(self._account)
        backend = state.backend(self._account, endpoint=self._tools.endpoint)
        begun = self._write(backend, prepared, Stage.APPLYING)
        stack = self._stack(prepared.args, backend, self._run)
        if stack.pending():
            self._run.tell("an earlier run was interrupted; looking for what it was making")
            self._mend(stack, listener)
        outcome: Outcome = stack.up(listener, total=total)
        done = begun.at(self._tools.clock.now(), Stage.APPLIED, outputs=outcome.outputs)
        record.write(backend.objects, done)
        return done

    def repair(self, prepared: Prepared, listener: Listener | None = None) -> Repaired:
        """Adopt what an interrupted run made; see ``Stack.repair``."""
        backend = state.backend(self._account, endpoint=self._tools.endpoint)
        return self._mend(self._stack(prepared.args, backend, self._run), listener)

    def connected(self, applied: Record) -> Record:
        """Record that the cell's tunnel stands."""
        backend = state.backend(self._account, endpoint=self._tools.endpoint)
        done = applied.at(self._tools.clock.now(), Stage.CONNECTED)
        record.write(backend.objects, done)
        return done

    def _mend(self, stack: Stack, listener: Listener | None) -> Repaired:
        return stack.repair(AccountFinder(self._account, self._asked.name), listener)

    def _write(self, backend: Backend, prepared: Prepared, stage: Stage) -> Record:
        kept = prepared.record.outputs if prepared.record else {}
        begun = Record(
            cell=prepared.args.name,
            version=__version__,
            stage=stage,
            values=config.to_mapping(prepared.args),
            outputs=kept,
            actions=tuple(self._tools.actions(prepared.args)),
        ).at(self._tools.clock.now(), stage)
        record.write(backend.objects, begun)
        return begun

    def _stack(self, args: CellArgs, backend: Backend, run: Run) -> Stack:
        session = Session(in_region(run, args), self._tools.clock)
        return Stack.open(session, PROJECT, args.name, program(args), backend)


def check_step(now: str, wanted: str) -> None:
    """Refuse a step between Kubernetes versions that EKS does not make.

    Raises:
        PreconditionFailed: it is older, or more than one minor version newer (EKS user guide, "Update
            existing cluster to new Kubernetes version").
    """
    step = int(wanted.partition(".")[2]) - int(now.partition(".")[2])
    if step < 0:
        raise PreconditionFailed(f"the cluster has Kubernetes {now}; it cannot go back to {wanted}")
    if step > 1:
        following = f"1.{int(now.partition('.')[2]) + 1}"
        raise PreconditionFailed(
            f"the cluster has Kubernetes {now}; EKS goes one minor version at a time",
            hint=f"upgrade to {following} first",
        )


def check_engine(before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuse another engine for a cell that stands: no engine reads the volumes of another.

    Raises:
        PreconditionFailed: it is asked for.
    """
    usual = config.SETTINGS["engine"].default
    was, wanted = (str(said.get("engine", usual)) for said in (before, now))
    if was != wanted:
        raise PreconditionFailed(
            f"the cell's engine is `{was}`; its volumes are of no use to `{wanted}`",
            hint="make another cell for the other engine",
        )


def check_rules(args: CellArgs) -> Check:
    """Hold the cell that would be made to the rules of the policy pack, before anything of it exists."""
    found = violations(make_plan(args).recording, bundle(args).objects)
    if found:
        first = found[0]
        more = f" and {len(found) - 1} more" if len(found) > 1 else ""
        said = f"{first.name} breaks `{first.rule}`: {first.message}{more}"
        return Check("rules", Result.FAIL, said, "change the settings; the rules are in byoc/cell/rules.py")
    return Check("rules", Result.PASS, f"the cell keeps all {len(RULES) + len(STACK_RULES)}")


def in_region(run: Run, args: CellArgs) -> Run:
    """Return a run whose provider works in the cell's region, whatever the caller's environment says.

    Not by the stack's configuration: to read any of it the engine wants the key of secrets that the cell's
    stack does not have.
    """
    region = args.facts.region
    return replace(run, env={**run.env, "AWS_REGION": region, "AWS_DEFAULT_REGION": region})


def _buckets(args: CellArgs) -> tuple[str, ...]:
    mine = state.bucket_name(args.facts.account, args.facts.region)
    return (mine, *(arns.bucket_name(args, which) for which in arns.BUCKETS))


def _wish(args: CellArgs) -> Wish:
    return Wish(kubernetes=args.facts.kubernetes, zones=args.facts.zones, network=args.network)


def _throwaway(run: Run) -> tuple[Backend, Run]:
    """Return a state that is of no use after the run: a preview of what is not there needs none."""
    folder: Path = run.folder / "foresee"
    durable.make_folder(folder)
    phrase = run.folder / "phrase"
    durable.write_file(phrase, secrets.token_urlsafe(16))
    backend = Backend(f"file://{folder}", FolderObjects(folder), "passphrase")
    return backend, replace(run, env={**run.env, "PULUMI_CONFIG_PASSPHRASE_FILE": str(phrase)})
