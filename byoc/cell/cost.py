"""What a cell costs a month, from a dated table of list prices (``prices.json`` beside this file). Pure.

Shown by the plan and by bootstrap before anything is made. What depends on use is a range and is called
one; what the table has no price for is named, never guessed. Money is in US dollars.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from functools import cache
from importlib.resources import files
from typing import Any, Final

from byoc.cell import endpoints
from byoc.cell.args import CellArgs, GivenVpc, Nat, NewVpc
from byoc.model.size import SIZES, Size

_CENT: Final = Decimal("0.01")
_GIB: Final = 2**30


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that costs, by the month.

    Attributes:
        quantity: how many of ``unit``; in a range, the higher number.
        low: dollars a month at least.
        high: dollars a month at most; the same as ``low`` where use does not matter.
        why: what a range depends on; empty where there is none.
    """

    item: str
    quantity: Decimal
    unit: str
    unit_price: Decimal
    low: Decimal
    high: Decimal
    why: str = ""


@dataclass(frozen=True, slots=True)
class SizeCost:
    """What one workspace of a size adds, at scale factor 1; each pair is a range in dollars a month."""

    size: str
    running: tuple[Decimal, Decimal]
    suspended: tuple[Decimal, Decimal]


@dataclass(frozen=True, slots=True)
class Cost:
    """An estimate.

    Attributes:
        fixed: what the cell costs with no workspace in it.
        sizes: what a workspace adds.
        unpriced: instance types that the table does not know; the sums are without them.
    """

    region: str
    fixed: tuple[Line, ...]
    sizes: tuple[SizeCost, ...]
    unpriced: tuple[str, ...]

    @property
    def total(self) -> tuple[Decimal, Decimal]:
        """Dollars a month with no workspace: at least, at most."""
        return sum((one.low for one in self.fixed), Decimal(0)), sum(
            (one.high for one in self.fixed), Decimal(0)
        )

    def to_mapping(self) -> dict[str, Any]:
        """Return the estimate as JSON, with the table's date, sources and assumptions."""
        table = prices()
        low, high = self.total
        return {
            "currency": table["currency"],
            "asOf": table["asOf"],
            "pricesOf": table["region"],
            "region": self.region,
            "note": table["note"],
            "monthly": _range(low, high),
            "fixed": [_line(one) for one in self.fixed],
            "workspaces": [
                {"size": one.size, "running": _range(*one.running), "suspended": _range(*one.suspended)}
                for one in self.sizes
            ],
            "unpriced": list(self.unpriced),
            "ranges": {name: _plain(one) for name, one in table["ranges"].items()},
            "sources": [table["machines"]["source"], *(one["source"] for one in table["prices"].values())],
        }


@cache
def prices() -> Mapping[str, Any]:
    """Return the table of prices."""
    text = files("byoc.cell").joinpath("prices.json").read_text(encoding="utf-8")
    table: dict[str, Any] = json.loads(text, parse_float=Decimal)
    return table


def estimate(args: CellArgs) -> Cost:
    """Return what the cell that ``args`` describes would cost."""
    known = prices()["machines"]["types"]
    types = dict.fromkeys((args.nodes.system_type, *args.nodes.workspace_types))
    return Cost(
        region=args.facts.region,
        fixed=tuple(_fixed(args)),
        sizes=tuple(_sizes(args.nodes.workspace_types)),
        unpriced=tuple(each for each in types if each not in known),
    )


def _fixed(args: CellArgs) -> Iterator[Line]:
    zones = len(args.network.subnets) if isinstance(args.network, GivenVpc) else len(args.facts.zones)
    yield _hourly("cluster's control plane", 1, "eksClusterHour")
    yield from _machines(args)
    gateways = _gateways(args, zones)
    if gateways:
        yield _hourly("NAT gateways", gateways, "natGatewayHour")
        yield _hourly("public addresses of NAT gateways", gateways, "publicIPv4Hour")
        yield _ranged("traffic through NAT", "natGatewayGB", "natGatewayGB")
    made = len(endpoints.missing(args)) + bool(args.gateway.endpoint_service)
    if made:
        yield _hourly(f"interface endpoints, {made} in {zones} zones", made * zones, "interfaceEndpointHour")
        yield _ranged("traffic through endpoints", "interfaceEndpointGB", "interfaceEndpointGB")
    if not args.key_arn:
        yield _monthly("encryption key", 1, "kmsKeyMonth")
    yield _monthly("private DNS zone", 1, "route53ZoneMonth")
    yield _ranged("flow logs and the cluster's logs", "logsGB", "logsGB")
    yield _ranged("buckets", "s3GBMonth", "s3GB")


def _machines(args: CellArgs) -> Iterator[Line]:
    count = Decimal(args.nodes.system_count)
    known = prices()["machines"]["types"].get(args.nodes.system_type)
    if known:
        price = Decimal(known["hour"])
        month = _cents(count * price * _hours())
        yield Line(f"system machines, {args.nodes.system_type}", count, "machines", price, month, month)
    yield _monthly("disks of system machines", args.nodes.system_count * args.nodes.disk_gib, "gp3GBMonth")


def _gateways(args: CellArgs, zones: int) -> int:
    if not isinstance(args.network, NewVpc):
        return 0
    return {Nat.NONE: 0, Nat.SINGLE: 1, Nat.PER_ZONE: zones}[args.network.nat]


def _sizes(types: Iterable[str]) -> Iterator[SizeCost]:
    known = prices()["machines"]["types"]
    machines = [known[each] for each in types if each in known]
    for size in SIZES.values():
        suspended = _volume(size)
        if machines:
            low, high = _running(size, machines)
            yield SizeCost(size.name, (low + suspended[0], high + suspended[1]), suspended)


def _running(size: Size, machines: list[Any]) -> tuple[Decimal, Decimal]:
    """Return the least: the share of a machine; and the most: whole machines of its own."""
    memory = Decimal(size.memory_bytes) / _GIB
    share = prices()["ranges"]["machineShare"]
    least = min(Decimal(each["hour"]) / each["memoryGib"] for each in machines) * memory / share["low"]
    most = min(
        (memory / (each["memoryGib"] * share["high"])).to_integral_value(ROUND_CEILING) * each["hour"]
        for each in machines
    )
    return _cents(least * _hours()), _cents(most * _hours())


def _volume(size: Size) -> tuple[Decimal, Decimal]:
    stored = prices()["ranges"]["volumePerMemory"]
    month = Decimal(size.memory_bytes) / _GIB * _price("gp3GBMonth")
    return _cents(month * stored["low"]), _cents(month * stored["high"])


def _hourly(item: str, quantity: int, price: str) -> Line:
    month = _cents(quantity * _price(price) * _hours())
    return Line(item, Decimal(quantity), "an hour", _price(price), month, month)


def _monthly(item: str, quantity: int, price: str) -> Line:
    month = _cents(quantity * _price(price))
    return Line(item, Decimal(quantity), "a month", _price(price), month, month)


def _ranged(item: str, price: str, of: str) -> Line:
    known = prices()["ranges"][of]
    low, high = (_cents(_price(price) * known[end]) for end in ("low", "high"))
    return Line(item, Decimal(known["high"]), known["unit"], _price(price), low, high, known["why"])


def _price(name: str) -> Decimal:
    return Decimal(prices()["prices"][name]["price"])


def _hours() -> Decimal:
    return Decimal(prices()["hoursPerMonth"])


def _cents(amount: Decimal) -> Decimal:
    return Decimal(amount).quantize(_CENT)


def _range(low: Decimal, high: Decimal) -> dict[str, float]:
    return {"low": float(low), "high": float(high)}


def _plain(one: Mapping[str, Any]) -> dict[str, Any]:
    return {key: float(value) if isinstance(value, Decimal) else value for key, value in one.items()}


def _line(line: Line) -> dict[str, Any]:
    said: dict[str, Any] = {
        "item": line.item,
        "quantity": float(line.quantity),
        "unit": line.unit,
        "unitPrice": float(line.unit_price),
        "monthly": _range(line.low, line.high),
    }
    return said | ({"range": line.why} if line.why else {})
