"""Sections on what a cell in AWS is made of, from the recorded program and the tables beside it."""

import inspect
import re
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from typing import Final

from byoc.cell import endpoints
from byoc.cell.config import SETTINGS
from byoc.cell.cost import prices
from byoc.cell.part import Part
from byoc.cell.protection import TABLE
from byoc.cell.recorder import Registered
from byoc.cell.rules import RULES, STACK_RULES
from docs.sections.example import VARIANTS, args, plan, variant
from docs.sections.page import code, table

_SHOWN: Final = ("S-00", "S-0", "S-1", "S-2", "S-4")


def resources() -> str:
    """Return every resource of the default cell, by component."""
    found = plan()
    says = {one.__name__: _purpose(one) for one in _below(Part)}
    counts = Counter((_component(each), _type(each)) for each in found.resources)
    rows = [
        (component, f"`{kind}`", number, code(_names(component, kind)))
        for (component, kind), number in sorted(counts.items())
    ]
    parts = [(name, says[name], sum(row[2] for row in rows if row[0] == name)) for name in _components()]
    return (
        f"{len(found.resources)} resources. "
        f"ZONE stands for each availability zone, TYPE for each type of machine for workspaces.\n\n"
        + table(("component", "is", "resources"), parts)
        + "\n"
        + table(("component", "type", "number", "names in the program"), rows)
    )


def _below(kind: type[Part]) -> Iterator[type[Part]]:
    for each in kind.__subclasses__():
        yield each
        yield from _below(each)


def _components() -> list[str]:
    return sorted({_component(each) for each in plan().resources})


def _component(each: Registered) -> str:
    return each.parent.split("::")[2].rpartition("$")[2].removeprefix("byoc:cell:")


def _purpose(component: type) -> str:
    return (inspect.getdoc(component) or "").splitlines()[0].rstrip(".")


def _type(each: Registered) -> str:
    module, _, name = each.kind.rpartition(":")
    return f"{module.partition('/')[0]}:{name}"


def _names(component: str, kind: str) -> list[str]:
    found = (each.name for each in plan().resources if (_component(each), _type(each)) == (component, kind))
    return list(dict.fromkeys(map(_alike, found)))


def _alike(name: str) -> str:
    for zone in args().facts.zones:
        name = name.replace(zone, "ZONE")
    for kind in args().nodes.workspace_types:
        name = name.replace(kind, "TYPE").replace(kind.replace(".", "-"), "TYPE")
    return name


def open_ports() -> str:
    """Return every rule of the default cell that lets something in."""
    rows = [
        (port.group, f"{port.protocol} {port.ports}", port.source, "yes" if port.public else "no", port.why)
        for port in plan().open_ports
    ]
    return table(("group", "port", "from", "the internet", "why"), rows)


def public_addresses() -> str:
    """Return what of the default cell the internet could see."""
    rows = [(one.what, f"`{one.name}`", one.why) for one in plan().public_addresses]
    return table(("what", "name", "why"), rows)


def interface_endpoints() -> str:
    """Return the endpoints of AWS's services in the VPC."""
    always = [(f"`{service}`", "always", why) for service, why in endpoints.INTERFACE.items()]
    closed = [
        (f"`{service}`", "where the subnets have no other way out", why)
        for service, why in endpoints.WITHOUT_NAT.items()
    ]
    return table(("service", "made", "who needs it"), [*always, *closed])


def options() -> str:
    """Return what the larger choices make of a cell."""
    rows = []
    for name, settings in VARIANTS.items():
        found = variant(settings)
        low, high = found.cost.total
        addresses = len(found.public_addresses)
        rows.append((name, len(found.resources), addresses, _money(low, high)))
    return table(("choice", "resources", "public addresses", "a month, without a workspace"), rows)


def stack_settings() -> str:
    """Return every setting of a stack."""
    rows = (
        (f"`{name}`", one.kind, "needed" if one.default is None else _default(one.default), one.help)
        for name, one in SETTINGS.items()
    )
    return table(("setting", "kind", "default", "is"), rows)


def _default(value: object) -> str:
    if isinstance(value, list):
        return code(map(str, value)) or "none"
    return f"`{value}`" if value not in ("", {}) else "none"


def protection() -> str:
    """Return what becomes of resources when the program changes, or the cell is destroyed."""
    rows = (
        (
            f"`{name}*`" if name.endswith("-") else f"`{name}`",
            "yes" if row.protect else "",
            "yes" if row.retain else "",
            f"`{row.within}`" if row.within else "",
            code(row.ignore),
            row.why,
        )
        for name, row in TABLE.items()
    )
    return table(("resource", "protect", "retain", "deleted with", "ignored changes", "why"), rows)


def cost() -> str:
    """Return the estimate for the default cell with no workspace in it."""
    found, known = plan().cost, prices()
    low, high = found.total
    rows = [
        (
            line.item,
            f"{_number(line.quantity)} {line.unit}",
            f"{line.unit_price}",
            _money(line.low, line.high),
            line.why,
        )
        for line in found.fixed
    ]
    sources = [known["machines"]["source"], *(one["source"] for one in known["prices"].values())]
    listed = "\n".join(f"- {source}" for source in dict.fromkeys(sources))
    return (
        f"Prices of {known['asOf']}, in {known['region']}, in {known['currency']}; {known['note']}. "
        f"In all **{_money(low, high)} a month** without a workspace.\n\n"
        + table(("what", "how much", "each", "a month", "the range depends on"), rows)
        + f"\nSources:\n\n{listed}\n"
    )


def sizes() -> str:
    """Return what a workspace adds."""
    rows = (
        (f"`{one.size}`", _money(*one.running), _money(*one.suspended))
        for one in plan().cost.sizes
        if one.size in _SHOWN
    )
    return table(("size", "running, a month", "suspended, a month"), rows)


def _money(low: Decimal, high: Decimal) -> str:
    return f"{low:,.2f}" if low == high else f"{low:,.2f} to {high:,.2f}"


def _number(value: Decimal) -> str:
    return re.sub(r"\.0+$", "", f"{value:f}")


def rules() -> str:
    """Return what no cell may be."""
    return table(("rule", "says"), _rules())


def _rules() -> Iterator[tuple[str, str]]:
    for rule in (*RULES, *STACK_RULES):
        yield f"`{rule.name}`", rule.description
