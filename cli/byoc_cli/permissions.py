"""``byoc cell permissions``: what making a cell takes, and what each of its roles may do; asks nobody."""

import gc
import gzip
import json
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from byoc.errors import UsageError
from byoc_cli.context import Context, of
from byoc_cli.output import Format, Output
from byoc_cli.plan import Config, Facts, Name, Region, settings_in

if TYPE_CHECKING:
    from byoc.cell.granted import Difference
    from byoc.cell.trail import Observed

CHANGES: Final = 10
"""Exit code of ``--diff`` where something differs, and of ``--observed`` where something was missing."""

Account = Annotated[str | None, typer.Option("--account", help="The AWS account, twelve digits.")]
Mode = Annotated[
    str | None,
    typer.Option(
        "--mode", metavar="new-vpc|existing-vpc|existing-iam", help="What the cell may make for itself."
    ),
]
Diff = Annotated[
    Path | None,
    typer.Option("--diff", metavar="OLD", help="Compare with an earlier output (JSON); 10 = differs."),
]
Trail = Annotated[
    Path | None,
    typer.Option(
        "--observed", metavar="CLOUDTRAIL", help="Compare with an export of CloudTrail, or a folder."
    ),
]
Principal = Annotated[
    str | None,
    typer.Option("--principal", metavar="ARN", help="With --observed: who ran bootstrap; part of the ARN."),
]


def permissions(
    ctx: typer.Context,
    *,
    mode: Mode = None,
    name: Name = None,
    region: Region = None,
    account: Account = None,
    facts: Facts = None,
    config: Config = None,
    diff: Diff = None,
    observed: Trail = None,
    principal: Principal = None,
) -> None:
    """Print the policies that bootstrap needs, and those of each role that the cell makes.

    Derived from the program; no credentials, and nobody is asked. Read them before anything is made.
    """
    given = of(ctx)
    if diff and observed:
        raise UsageError("--diff and --observed are two questions", hint="ask one at a time")
    if principal and not observed:
        raise UsageError("--principal goes with --observed")
    flags = {"name": name, "region": region, "account": account}
    settings = {
        **(settings_in(facts) if facts else {}),
        **(settings_in(config) if config else {}),
        **{key: value for key, value in flags.items() if value is not None},
    }
    said, assumed = _report(settings, mode)
    if diff:
        raise typer.Exit(_compare(given, settings_in(diff), said))
    if observed:
        raise typer.Exit(_observe(given, said, observed, principal or ""))
    _show(given.out, said, assumed)


def _report(settings: Mapping[str, Any], mode: str | None) -> tuple[dict[str, Any], tuple[str, ...]]:
    # Loading the provider's library makes a million objects that stay: looking for garbage costs a tenth.
    gc.disable()
    try:
        from byoc.cell.assume import complete  # noqa: PLC0415 - only this command reads the table
        from byoc.cell.granted import report  # noqa: PLC0415 - loads Pulumi
        from byoc.cell.modes import stand_in  # noqa: PLC0415 - loads Pulumi

        wanted = stand_in(settings, mode) if mode else settings
        args, assumed = complete(wanted)
        stood_in = tuple(name for name in ("vpc", "roles") if name in wanted and name not in settings)
        return report(args), (*assumed, *stood_in)
    finally:
        gc.enable()


def _show(out: Output, said: Mapping[str, Any], assumed: tuple[str, ...]) -> None:
    if out.format is Format.JSON:
        out.json({**said, "assumed": sorted(assumed)})
        return
    if out.format is Format.NAME:
        out.text("\n".join(each["name"] for each in said["policies"]))
        return
    out.text(f"cell {said['cell']} in {said['region']}, account {said['account']}, {said['mode']}\n")
    for each in said["policies"]:
        _document(out, each["name"], each["purpose"], each["document"])
    for role in said["roles"].values():
        managed = f"; with {', '.join(role['managed'])}" if role["managed"] else ""
        _document(out, f"role {role['name']}", f"{role['purpose']}{managed}", role["document"])
    if isinstance(said["boundary"], Mapping):
        _document(out, "boundary", "the most that any role of the cell can ever do", said["boundary"])
    if assumed:
        out.note(f"\nassumed, because nobody said: {', '.join(sorted(assumed))}")
    out.note(said["label"])


def _document(out: Output, name: str, purpose: str, document: Any) -> None:
    out.text(f"\n# {name}: {purpose}\n")
    out.text(f"{json.dumps(document, indent=1)}\n" if document else "# nothing besides\n")


def _compare(given: Context, old: Mapping[str, Any], said: Mapping[str, Any]) -> int:
    from byoc.cell.granted import differences  # noqa: PLC0415 - loaded already

    found = differences(old, said)
    if given.format is Format.JSON:
        given.out.json(
            [
                {
                    "holder": each.holder,
                    "added": list(each.added),
                    "removed": list(each.removed),
                    "limits": each.limits,
                }
                for each in found
            ]
        )
    else:
        given.out.text("\n".join(_lines(found)) or "no difference")
    return CHANGES if found else 0


def _lines(found: "list[Difference]") -> Iterator[str]:
    for each in found:
        yield f"{each.holder}:"
        yield from (f"  + {action}" for action in each.added)
        yield from (f"  - {action}" for action in each.removed)
        if each.limits:
            yield "  the same actions, on other resources or under other conditions"


def _observe(given: Context, said: Mapping[str, Any], path: Path, principal: str) -> int:
    from byoc.cell.trail import compare, events  # noqa: PLC0415 - loaded already

    calls = [event for text in _exports(path) for event in events(text)]
    found = compare(said, calls, principal=principal)
    if given.format is Format.JSON:
        given.out.json([_plain(each) for each in found])
    else:
        given.out.text("\n".join(_told(found)) or "no call of the cell's is in it")
    return CHANGES if any(each.missing for each in found) else 0


def _plain(each: "Observed") -> dict[str, Any]:
    return {
        "holder": each.holder,
        "events": each.events,
        "missing": list(each.missing),
        "denied": list(each.denied),
        "unused": list(each.unused),
    }


def _told(found: "list[Observed]") -> Iterator[str]:
    for each in found:
        yield f"{each.holder}: {each.events} calls"
        yield from (f"  seen, not granted: {action}" for action in each.missing)
        yield from (f"  denied: {action}" for action in each.denied)
        yield from (f"  granted, not seen: {action}" for action in each.unused)


def _exports(path: Path) -> Iterator[str]:
    """Return the text of each file of an export; a trail's bucket holds them compressed, in folders."""
    files = sorted(each for each in path.rglob("*.json*") if each.is_file()) if path.is_dir() else [path]
    if not files:
        raise UsageError(f"{path} holds no export of CloudTrail")
    for each in files:
        try:
            data = each.read_bytes()
            yield (gzip.decompress(data) if each.suffix == ".gz" else data).decode("utf-8")
        except OSError as error:
            raise UsageError(f"{each} cannot be read: {error.strerror or error}") from error
        except (UnicodeDecodeError, EOFError, zlib.error) as error:
            raise UsageError(f"{each} is no export of CloudTrail") from error
