"""``byoc access``: the customer's kill switch. Never passes the control plane."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Final

import typer

from byoc.clock import stamp
from byoc.errors import StillPending
from byoc.model.control import Access, Standing
from byoc.model.papers import Paper
from byoc_cli.context import Context, of
from byoc_cli.inside import Inside, Where, at_a_cell, await_word, inside
from byoc_cli.output import Column, Format, View, cell_text
from byoc_cli.tree import INSIDE, noun, verb

Reason = Annotated[str, typer.Option("--reason", help="Why; it is put on record.")]
_SERVING: Final = frozenset({"running", "updating"})


@dataclass(frozen=True, slots=True)
class Proof:
    """What was laid down, and what the cell says of it.

    Attributes:
        said: the cell's own word; None where it never said any.
        alive: whether an agent works in the cell; None where only the cell's word tells.
        stale: the word is older than the question.
    """

    access: Access
    said: Standing | None
    alive: bool | None
    stale: bool

    @property
    def done(self) -> bool:
        """Whether the cell has carried out what was laid down, or cannot but begin with it."""
        if self.alive is False:
            return True
        return self.said is not None and self.said.heard == self.access.at and not self.stale

    @property
    def away(self) -> bool:
        """Whether no agent works, so that nothing reaches in whatever is laid down."""
        return self.alive is False

    @property
    def sessions(self) -> int | None:
        """How many tunnels stand; None where nobody says."""
        if self.away:
            return 0
        return self.said.sessions if self.said else None

    @property
    def serving(self) -> list[Any]:
        """The workspaces whose SQL is served."""
        return [one for one in self.said.workspaces if one.phase in _SERVING] if self.said else []

    @property
    def can(self) -> str:
        """What the control plane can still do in the cell."""
        if self.away:
            later = "it stays kept out" if self.access.revoked else "what the policy allows"
            return f"nothing: no agent runs; once one does, {later}"
        if not self.done:
            return "not known: the cell has not said yet that it has carried this out"
        if self.access.revoked:
            return "nothing: no tunnel stands, and every verb is refused"
        return "what the policy allows: `byoc policy show`"


PROOF: Final = View(
    (
        Column("access", lambda found: _access(found.access)),
        Column("since", lambda found: stamp(found.access.at) if found.access.at else None),
        Column("by", lambda found: found.access.by),
        Column("reason", lambda found: found.access.reason),
        Column("carried out", lambda found: found.done),
        Column("agent", lambda found: {True: "runs", False: "does not run", None: "not known"}[found.alive]),
        Column("tunnel", lambda found: "none" if found.away or not found.said else _tunnel(found.said)),
        Column("tunnels that stand", lambda found: found.sessions),
        Column("open streams", lambda found: 0 if found.away else found.said.streams if found.said else None),
        Column(
            "forwarded services",
            lambda found: 0 if found.away else found.said.forwards if found.said else None,
        ),
        Column("verbs", lambda found: _verbs(found)),  # noqa: PLW0108 - it is defined below
        Column("last command", lambda found: _last(found.said)),
        Column("ledger's copies", lambda found: _copies(found.said)),
        Column("databases", lambda found: _served(found)),  # noqa: PLW0108
        Column("control plane can do", lambda found: found.can),
        Column("as of", lambda found: stamp(found.said.at) if found.said else None),
    ),
    id=lambda found: "revoked" if found.access.revoked else "open",
    json=lambda found: _json(found),  # noqa: PLW0108
)


def add(app: typer.Typer) -> None:
    """Add the noun to the program."""
    switch = noun("Keep the control plane out of the cell, and prove it.")
    app.add_typer(switch, name="access", rich_help_panel=INSIDE)
    for name, command in (("status", status), ("revoke", revoke), ("restore", restore)):
        verb(switch, name)(command)


@at_a_cell
def revoke(
    ctx: typer.Context,
    reason: Reason,
    *,
    where: Where,
) -> None:
    """Close the tunnel and refuse every verb, also after a restart; workspaces keep serving SQL."""
    _turn(of(ctx), where, reason, revoked=True)


@at_a_cell
def restore(
    ctx: typer.Context,
    reason: Reason = "",
    *,
    where: Where,
) -> None:
    """Let the control plane in again; the policy stays as it is."""
    _turn(of(ctx), where, reason, revoked=False)


@at_a_cell
def status(
    ctx: typer.Context,
    *,
    where: Where,
) -> None:
    """Show from the cell's side whether the control plane is kept out, and what it can still do."""
    given = of(ctx)
    way = inside(given, where)
    asked = given.clock.now()
    way.papers.ring()
    proof = _wait(given, way, asked, lambda found: not found.stale)
    given.out.item(PROOF, proof)
    if given.format is Format.TABLE and proof.serving:
        rows = [(one.name, one.phase, cell_text(stamp(one.since)), one.endpoint) for one in proof.serving]
        given.out.note("")
        given.out.grid(("WORKSPACE", "PHASE", "SINCE", "ENDPOINT"), rows)


def _turn(given: Context, where: Where, reason: str, *, revoked: bool) -> None:
    from byoc.wire.control import set_access  # noqa: PLC0415 - slow to import

    way = inside(given, where)
    access = Access(revoked, way.who, given.clock.now(), reason)
    # Stored before anything else: whatever happens to this command, the cell keeps to it.
    set_access(way.papers, access)
    proof = _wait(given, way, None, lambda found: found.done)
    word = "revoked" if revoked else "restored"
    if not proof.done:
        raise StillPending(
            f"access is {word} and stored, but the cell has not said yet that it has carried it out",
            hint="byoc access status",
        )
    how = "no agent runs; the next one begins with it" if proof.away else proof.can
    given.out.done(
        f"access is {word}; the control plane can do {how}" if not proof.away else f"access is {word}: {how}",
        _json(proof),
        word,
    )


def _wait(given: Context, way: Inside, asked: datetime | None, enough: Callable[[Proof], bool]) -> Proof:
    """Return what the cell says once it is ``enough``, or when it has been waited for long enough."""
    from byoc.wire.control import standing  # noqa: PLC0415 - slow to import

    def look() -> Proof:
        said = standing(way.papers)
        stale = asked is not None and (said is None or said.at < asked)
        return Proof(_laid_down(way.papers.read(Paper.ACCESS).text, said), said, way.alive(), stale)

    return await_word(given, way, look, lambda proof: proof.away or enough(proof))


def _laid_down(text: str, said: Standing | None) -> Access:
    """Return what counts; as in the cell, a paper that is gone restores nothing."""
    from byoc.wire.control import read_access  # noqa: PLC0415 - slow to import

    if text.strip() or said is None or not said.revoked:
        return read_access(text)
    reason = f"it was before, and {Paper.ACCESS} is gone; `byoc access restore` lets it in again"
    return Access(revoked=True, at=said.heard, reason=reason)


def _access(access: Access) -> str:
    return "revoked" if access.revoked else "open"


def _tunnel(said: Standing) -> str:
    return f"{said.tunnel}: {said.reason}" if said.reason and said.reason != said.tunnel else said.tunnel


def _verbs(found: Proof) -> str:
    said = found.said
    if found.away:
        return "none: no agent runs"
    if said is None:
        return "not known"
    if said.refusing_since is None:
        return "let in, as the policy allows"
    return f"refused since {stamp(said.refusing_since)} ({said.refused} so far)"


def _last(said: Standing | None) -> str | None:
    if said is None or said.last_command_at is None:
        return "none since the agent began"
    return f"{stamp(said.last_command_at)}: {said.last_command}"


def _copies(said: Standing | None) -> str | None:
    if said is None or not said.copied:
        return None
    if said.copies_late_since is None:
        return "in time"
    return f"late: nothing written since {stamp(said.copies_late_since)} is in the bucket"


def _served(found: Proof) -> str | None:
    if found.said is None:
        return None
    serving, all_ = len(found.serving), len(found.said.workspaces)
    if found.away:
        return f"not known: no agent runs; when it last looked, {serving} of {all_} workspaces served SQL"
    return f"{serving} of {all_} workspaces serve SQL"


def _json(found: Proof) -> dict[str, Any]:
    from byoc.wire.cell import encode  # noqa: PLC0415 - slow to import

    return {
        "access": encode(found.access),
        "carriedOut": found.done,
        "agentRuns": found.alive,
        "sessions": found.sessions,
        "controlPlaneCan": found.can,
        "cell": encode(found.said) if found.said is not None else None,
    }
