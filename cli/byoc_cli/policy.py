"""``byoc policy``: what the control plane may do in the cell. Never passes the control plane."""

import difflib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from byoc.clock import parse_stamp, stamp
from byoc.errors import Failed, Forbidden, UsageError
from byoc_cli.context import Context, of
from byoc_cli.inside import Inside, Where, at_a_cell, inside
from byoc_cli.output import Column, Format, View
from byoc_cli.tree import INSIDE, noun, verb

if TYPE_CHECKING:
    from byoc.dataplane.policy import Policy, Verdict
    from byoc.model.control import Request
    from byoc.model.verbs import Verb

RequestName = Annotated[str, typer.Argument(metavar="ID", help="Of the change, as requests lists it.")]
TERMS: Final = View(
    (
        Column("VERB", lambda each: each.verb.value),
        Column("ALLOWED", lambda each: each.answer),
        Column("FOR", lambda each: ", ".join(each.subjects) or "everybody"),
        Column("WINDOWS", lambda each: "; ".join(each.windows) or "always"),
        Column("MAX AGE", lambda each: each.max_age),
        Column("RATE", lambda each: each.rate),
        Column("RULE", lambda each: each.setting, spare=True),
    ),
    id=lambda each: str(each.verb.value),
    json=lambda each: _terms_json(each),  # noqa: PLW0108 - it is defined below
)
REQUESTS: Final = View(
    (
        Column("ID", lambda row: row[0].id),
        Column("STATE", lambda row: row[1]),
        Column("WOULD DO", lambda row: ", ".join(row[0].verbs)),
        Column("OF", lambda row: f"{row[0].kind} {row[0].name}"),
        Column("NEW VALUES", lambda row: "; ".join(map(str, row[0].asks)) or None),
        Column("ASKED BY", lambda row: row[0].sub),
        Column("SINCE", lambda row: stamp(row[0].since)),
        Column("UNTIL", lambda row: stamp(row[0].until)),
        Column("ANSWERED BY", lambda row: row[0].by, spare=True),
    ),
    id=lambda row: str(row[0].id),
    json=lambda row: _request_json(row),  # noqa: PLW0108 - it is defined below
)
VERDICT: Final = View(
    (
        Column("verb", lambda each: each.verb.value),
        Column("as", lambda each: each.sub),
        Column("at", lambda each: stamp(each.at)),
        Column("answer", lambda each: each.answer),
        Column("because", lambda each: each.verdict.reason),
        Column("rule", lambda each: each.verdict.rule),
        Column("line of the policy", lambda each: each.verdict.setting or "none: always so"),
    ),
    id=lambda each: each.answer,
    json=lambda each: {
        "verb": each.verb.value,
        "as": each.sub,
        "at": stamp(each.at),
        "answer": each.answer,
        "rule": each.verdict.rule,
        "reason": each.verdict.reason,
        "line": each.verdict.setting,
    },
)


@dataclass(frozen=True, slots=True)
class Explained:
    """The policy's answer to one question."""

    verb: "Verb"
    sub: str
    at: datetime
    verdict: "Verdict"

    @property
    def answer(self) -> str:
        """The answer in a word or two."""
        if not self.verdict.allowed:
            return "no"
        return "yes, once it is approved" if self.verdict.approval else "yes"


@dataclass(frozen=True, slots=True)
class _Held:
    policy: "Policy"
    problem: str
    within: Inside


def add(app: typer.Typer) -> None:
    """Add the noun to the program."""
    policies = noun("Say what the control plane may do in the cell.")
    app.add_typer(policies, name="policy", rich_help_panel=INSIDE)
    for name, command in (
        ("show", show),
        ("check", check),
        ("set", set_policy),
        ("explain", explain),
        ("requests", requests),
        ("approve", approve),
        ("refuse", refuse),
    ):
        verb(policies, name)(command)


@at_a_cell
def show(
    ctx: typer.Context,
    *,
    where: Where,
) -> None:
    """Show what each verb may be done under, by the policy in force."""
    from byoc.dataplane.explain import every  # noqa: PLC0415 - slow to import

    given = of(ctx)
    held = _held(given, where)
    given.out.rows(TERMS, every(held.policy), empty="there are no verbs")
    if given.format is not Format.JSON:
        given.out.note(f"\npolicy {held.policy.digest()[:12]} of the cell in {held.within.papers.place}")
    _warn(given, held)


def check(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A policy.")],
) -> None:
    """Read a policy as a cell would, and say what is wrong with it; changes nothing."""
    given = of(ctx)
    policy = _read(file)
    facts = {"file": str(file), "digest": policy.digest(), "policy": policy.settings()}
    given.out.done(f"{file} is a policy ({policy.digest()[:12]})", facts, policy.digest())


@at_a_cell
def set_policy(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A policy.")],
    *,
    where: Where,
) -> None:
    """Put a policy in force, if a cell can read it; it counts from the next request on."""
    from byoc.model.papers import Paper  # noqa: PLC0415 - only this command needs it
    from byoc.wire.control import edit  # noqa: PLC0415 - slow to import

    given = of(ctx)
    policy, text = _read(file), _text(file)
    way = inside(given, where)
    edit(way.papers, Paper.POLICY, lambda _: text)
    facts = {"digest": policy.digest(), "cell": way.papers.place}
    given.out.done(f"policy {policy.digest()[:12]} is in force", facts, policy.digest())


@at_a_cell
def explain(
    ctx: typer.Context,
    verb: Annotated[str, typer.Argument(metavar="VERB", help="Such as workspace.resize.")],
    subject: Annotated[
        str, typer.Option("--as", metavar="SUB", help="Who asks, as the provider names them.")
    ],
    at: Annotated[str | None, typer.Option("--at", metavar="TIME", help="When. [default: now]")] = None,
    *,
    where: Where,
) -> None:
    """Say whether somebody may do something, and which line says so; exit 7 if not."""
    from byoc.dataplane.policy import decide  # noqa: PLC0415 - slow to import

    given = of(ctx)
    asked, moment = _verb(verb), _moment(given, at)
    held = _held(given, where)
    found = Explained(asked, subject, moment, decide(held.policy, asked, subject, moment, moment))
    given.out.item(VERDICT, found)
    _warn(given, held)
    if not found.verdict.allowed:
        raise Forbidden(f"no: {found.verdict.reason}", hint=f"the line that decided: {found.verdict.setting}")


@at_a_cell
def requests(
    ctx: typer.Context,
    *,
    where: Where,
) -> None:
    """List the changes that wait for approval in the cell; an answered one stays until it is delivered."""
    from byoc.wire.control import requests as read  # noqa: PLC0415 - slow to import

    given = of(ctx)
    way, now = inside(given, where), given.clock.now()
    found = [(one, _stage(one, now)) for one in read(way.papers)]
    given.out.rows(REQUESTS, found, empty="no change waits for approval")


@at_a_cell
def approve(
    ctx: typer.Context,
    name: RequestName,
    *,
    where: Where,
) -> None:
    """Let one change happen: this object, this generation, this content; within a day of its coming."""
    _answer(of(ctx), name, where, approved=True)


@at_a_cell
def refuse(
    ctx: typer.Context,
    name: RequestName,
    *,
    where: Where,
) -> None:
    """End one change: the control plane is told no, and puts back what was before."""
    _answer(of(ctx), name, where, approved=False)


def _answer(given: Context, name: str, where: Where, *, approved: bool) -> None:
    from byoc.wire.control import answer  # noqa: PLC0415 - slow to import

    way, now = inside(given, where), given.clock.now()
    found = answer(way.papers, name, approved=approved, by=way.who, now=now)
    asks = f" ({'; '.join(map(str, found.asks))})" if found.asks else ""
    what = f"{', '.join(found.verbs)} of {found.kind} `{found.name}`, generation {found.generation}{asks}"
    then = "it happens when the control plane delivers it anew" if approved else "it is put back"
    word = "approved" if approved else "refused"
    given.out.done(f"{word}: {what}; {then}", _request_json((found, found.stage.value)), found.id)


def _stage(request: "Request", now: datetime) -> str:
    return "expired" if request.stage == "waiting" and now >= request.until else request.stage.value


def _held(given: Context, where: Where) -> _Held:
    """Return the policy in force, and what is wrong with a newer one."""
    from byoc.dataplane.policy import in_force  # noqa: PLC0415 - slow to import
    from byoc.model.papers import Paper  # noqa: PLC0415

    way = inside(given, where)
    text = way.papers.read(Paper.POLICY).text
    policy, problem = in_force(text, lambda: way.papers.read(Paper.ACCEPTED).text)
    return _Held(policy, problem, way)


def _warn(given: Context, held: _Held) -> None:
    if held.problem:
        given.out.note(f"the newest text is not in force, the one before it is: {held.problem}")


def _read(file: Path) -> "Policy":
    from byoc.dataplane.policy import parse_policy  # noqa: PLC0415 - slow to import

    return parse_policy(_text(file), file.name)


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise Failed(f"cannot read {file}: {reason}") from error


def _verb(text: str) -> "Verb":
    from byoc.model.verbs import Verb  # noqa: PLC0415 - slow to import

    try:
        return Verb(text)
    except ValueError as error:
        near = difflib.get_close_matches(text, list(Verb), n=1)
        hint = f"did you mean {near[0]}?" if near else ", ".join(Verb)
        raise UsageError(f"`{text[:64]}` is no verb", hint=hint) from error


def _moment(given: Context, at: str | None) -> datetime:
    if at is None:
        return given.clock.now()
    try:
        return parse_stamp(at).astimezone(UTC)
    except ValueError as error:
        raise UsageError(f"--at: `{at[:64]}` is no time", hint="such as 2030-01-01T22:00:00Z") from error


def _terms_json(each: Any) -> dict[str, Any]:
    return {
        "verb": each.verb.value,
        "answer": each.answer,
        "rule": each.setting,
        "for": list(each.subjects),
        "windows": list(each.windows),
        "maxAge": each.max_age,
        "rate": each.rate or None,
    }


def _request_json(row: "tuple[Request, str]") -> dict[str, Any]:
    from byoc.wire.cell import encode  # noqa: PLC0415 - slow to import

    shaped: dict[str, Any] = encode(row[0])
    return shaped | {"stage": row[1], "until": stamp(row[0].until)}
