"""One run of ``byoc bootstrap``: the account, the engine, and what is shown of them."""

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from byoc.errors import ByocError, UsageError
from byoc.model.check import Result
from byoc_cli.applying import applying
from byoc_cli.context import Context
from byoc_cli.engines import engine_check, engine_run, hostname, state_endpoint
from byoc_cli.output import Format

if TYPE_CHECKING:
    from byoc.bootstrap.engine.session import Run as EngineRun
    from byoc.bootstrap.engine.stack import Plan
    from byoc.bootstrap.flow import Asked, Bootstrap, Prepared
    from byoc.bootstrap.record import Record

CHANGES: Final = 10
"""Exit code of ``--dry-run --exit-code`` where something would change."""
_STYLES: Final = {
    Result.PASS: "32;1",
    Result.WARN: "33;1",
    Result.FAIL: "31;1",
    Result.UNKNOWN: "33;1",
    Result.SKIP: "2",
}
_WORD: Final = 9
_NAME: Final = 22


class Run:
    """One run of the command: the account, the engine, and what is shown of them."""

    def __init__(self, given: Context, asked: "Asked", profile: str | None, *, install: bool) -> None:
        self._given = given
        self._asked = asked
        self._install = install
        self._profile = profile
        self._account = given.account(str(asked.settings["region"]), profile)
        self._made: Bootstrap | None = None
        self._found: EngineRun | None = None
        self._said: dict[str, Any] = {}
        """With JSON: what was found on the way, printed as one object at the end."""

    # --- steps ---------------------------------------------------------------------------

    def look(self, *, only: bool, exit_code: bool) -> int:
        """Check the account and, unless ``only``, show what would be made; return the exit code."""
        if not only:
            self._engine()
        prepared = self.check(engine=only)
        self.refuse(prepared)
        code = 0 if only else self.foresee(prepared, exit_code=exit_code)
        if self._given.format is Format.JSON:
            self._given.out.json(self._said)
        return code

    def check(self, *, engine: bool = False) -> "Prepared":
        """Look at everything, on demand for the engine too, and print what was found."""
        prepared = self._bootstrap.prepare()
        if engine:
            prepared = replace(prepared, checks=(*prepared.checks, engine_check(self._given)))
        out = self._given.out
        if out.format is Format.TABLE:
            for check in prepared.checks:
                word = f"{check.result.value:<{_WORD}}"
                out.verdict(word, _STYLES[check.result], f"{check.name:<{_NAME}}{check.detail}", indent=_WORD)
        return prepared

    def refuse(self, prepared: "Prepared") -> None:
        """End here where a check fails; with JSON the checks are in the answer either way."""
        self._said["checks"] = [_check(one) for one in prepared.checks]
        try:
            self._bootstrap.refuse(prepared)
        except ByocError:
            if self._given.format is Format.JSON:
                self._given.out.json(self._said)
            raise

    def foresee(self, prepared: "Prepared", *, exit_code: bool) -> int:
        """Print what would be made."""
        self._bootstrap.download(prepared)
        plan = self._bootstrap.foresee(prepared)
        self._show(prepared, plan)
        return CHANGES if exit_code and plan.total else 0

    def make(self, *, yes: bool, patience: float) -> None:
        """Do all of it."""
        connection = self._given.connection()  # asked for now, and not after 20 minutes of applying
        self._given.client(connection).whoami()
        self._engine()  # before anybody reads a plan that nothing could carry out
        prepared = self.check()
        self.refuse(prepared)
        self._bootstrap.download(prepared)
        total = 0
        if prepared.record is None:
            plan = self._bootstrap.foresee(prepared)
            self._show(prepared, plan)
            self._agree(prepared, yes=yes)
            total = plan.total
        with applying(self._given.out) as listener:
            applied = self._bootstrap.apply(prepared, listener, total=total)
        cell = asyncio.run(self._join(applied, connection.url, connection.token, patience))
        self._bootstrap.connected(applied)
        answer = {**self._said, "cellID": cell, "name": applied.cell, "outputs": dict(applied.outputs)}
        self._given.out.done(f"cell {applied.cell} is connected", answer, cell)
        self._given.out.note(f"\nNext: {self._given.program} group create demo --region {applied.cell}")

    def upgrade(self, *, yes: bool, dry_run: bool, patience: float) -> None:
        """Show what is new, then take the cell there."""
        connection = self._given.connection()
        self._engine()
        prepared = self.check()
        self.refuse(prepared)
        self._bootstrap.download(prepared)
        plan = self._bootstrap.foresee(prepared)
        self._show(prepared, plan)
        self._show_permissions(prepared)
        if dry_run or not plan.total:
            if self._given.format is Format.JSON:
                self._given.out.json(self._said)
            return
        self._agree(prepared, yes=yes)
        with applying(self._given.out) as listener:
            done = self._bootstrap.apply(prepared, listener, total=plan.total)
        asyncio.run(self._join(done, connection.url, connection.token, patience))
        self._bootstrap.connected(done)
        answer = {**self._said, "name": done.cell, "version": done.version, "outputs": dict(done.outputs)}
        self._given.out.done(f"cell {done.cell} is at byoc {done.version}", answer, done.cell)

    # --- parts ---------------------------------------------------------------------------

    @property
    def _bootstrap(self) -> "Bootstrap":
        if self._made is None:
            from byoc.bootstrap.flow import Bootstrap, Tools  # noqa: PLC0415 - loads boto3 and Pulumi
            from byoc.cell.permissions import needed  # noqa: PLC0415

            tools = Tools(
                run=self._engine,
                hostname=hostname(),
                clock=self._given.clock,
                actions=needed,
                endpoint=state_endpoint(self._given),
            )
            self._made = Bootstrap(self._account, self._asked, tools)
        return self._made

    def _engine(self) -> "EngineRun":
        if self._found is None:
            name, profile = self._asked.name, self._profile
            self._found = engine_run(self._given, name, profile=profile, install=self._install)
        return self._found

    def _agree(self, prepared: "Prepared", *, yes: bool) -> None:
        if yes:
            return
        facts = prepared.args.facts
        does = "changes" if prepared.record else "makes"
        what = f"this {does} cell {prepared.args.name} in account {facts.account}, {facts.region}"
        if not self._given.interactive:
            raise UsageError(what, hint="to go on without a question, add --yes")
        self._given.confirm(prepared.args.name, None, what)

    def _show(self, prepared: "Prepared", plan: "Plan") -> None:
        from byoc.cell.plan import make_plan  # noqa: PLC0415 - loads Pulumi

        foretold, out = make_plan(prepared.args), self._given.out
        low, high = foretold.cost.total
        self._said |= {
            "changes": dict(plan.counts), "parts": foretold.counts, "cost": foretold.cost.to_mapping(),
        }  # fmt: skip
        if out.format is Format.JSON:
            return
        out.text("")
        out.grid(("PART", "RESOURCES"), [*foretold.counts.items(), ("all", len(foretold.resources))])
        said = ", ".join(f"{number} to {op}" for op, number in plan.counts.items() if op != "same")
        out.text(f"\nchanges: {said or 'none'}")
        out.text(f"cost without a workspace: USD {low} to {high} a month (`byoc cell plan` has the table)")

    def _show_permissions(self, prepared: "Prepared") -> None:
        more, fewer = self._bootstrap.permission_diff(prepared)
        self._said["permissions"] = {"added": more, "removed": fewer}
        if self._given.format is Format.JSON:
            return
        changes = [("+", action) for action in more] + [("-", action) for action in fewer]
        self._given.out.text("\npermissions: " + ("as before" if not changes else ""))
        for sign, action in changes:
            self._given.out.text(f"  {sign} {action}")

    async def _join(self, applied: "Record", url: str, token: str, patience: float) -> str:
        from byoc.bootstrap.function import Function  # noqa: PLC0415 - loads boto3
        from byoc.bootstrap.join import Joining, join  # noqa: PLC0415
        from byoc.bootstrap.reached import ReachedCluster  # noqa: PLC0415
        from byoc.cell import config  # noqa: PLC0415
        from byoc.cell.outputs import CellOutputs  # noqa: PLC0415
        from byoc.client import AsyncClient  # noqa: PLC0415

        joining = Joining(
            name=applied.cell, region=self._account.region, timeout=patience, tell=self._given.out.note
        )
        function = CellOutputs.from_mapping(applied.outputs).installer_function
        installer = (
            Function(self._account, function)
            if function
            else ReachedCluster(self._account, config.from_mapping(applied.values))
        )
        client = AsyncClient(url, token, clock=self._given.clock)
        return await join(joining, installer, client.cells, self._given.clock)


def _check(check: Any) -> dict[str, str]:
    return {
        "name": check.name,
        "result": check.result.value,
        "detail": check.detail,
        "action": check.action,
    }
