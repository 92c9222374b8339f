"""Billing usage, from what cells have metered."""

from typing import Annotated, Final, get_args

from fastapi import APIRouter, Query
from starlette.responses import Response

from byoc.clock import stamp
from byoc.controlplane.api.calls import Caller, answer, documented
from byoc.controlplane.api.service import Aggregate
from byoc.errors import UsageError
from byoc.model.records import UsageRow
from byoc.wire.management import BillingUsage, MetricName, Usage
from byoc.wire.times import parse_moment

router = APIRouter(prefix="/v1/billing", tags=["billing"])

_DESCRIPTIONS: Final[dict[MetricName, str]] = {
    "ComputeCredit": "Compute credits used by running workspaces",
    "StorageAvgByte": "Average bytes stored",
}
_METRICS: Final = {name.lower(): name for name in _DESCRIPTIONS}
_AGGREGATES: Final[dict[str, Aggregate]] = {name: name for name in get_args(Aggregate)}
_MOST_PERIODS: Final = 100_000
_SECONDS: Final[dict[Aggregate, int]] = {"hour": 3600, "day": 86_400, "month": 28 * 86_400}


@router.get("/usage", **documented("Billing"))
async def usage(
    call: Caller,
    start_time: Annotated[str, Query(alias="startTime", json_schema_extra={"format": "date-time"})],
    end_time: Annotated[str, Query(alias="endTime", json_schema_extra={"format": "date-time"})],
    metric: Annotated[str, Query(description="ComputeCredit or StorageAvgByte; both if absent")] = "",
    aggregate_by: Annotated[str, Query(alias="aggregateBy", description="hour, day or month")] = "hour",
) -> Response:
    """Compute credits, and average bytes of volumes, per workspace and period."""
    start, end = parse_moment(start_time, "startTime"), parse_moment(end_time, "endTime")
    if end <= start:
        raise UsageError("endTime: must be after startTime")
    metrics = _metrics(metric)
    aggregate = _aggregate(aggregate_by or "hour")
    if (end - start).total_seconds() / _SECONDS[aggregate] > _MOST_PERIODS:
        raise UsageError("endTime: too many periods", hint="aggregate by day or month")
    asked = {"ComputeCredit": call.fleet.usage, "StorageAvgByte": call.fleet.stored}
    found = []
    for name in metrics:
        rows = await asked[name](call.by, start=start, end=end, aggregate=aggregate)
        found.append(_shape(name, rows))
    return answer({"billingUsage": found})


def _metrics(text: str) -> tuple[MetricName, ...]:
    if not text:
        return tuple(_DESCRIPTIONS)
    if text.lower() not in _METRICS:
        raise UsageError("metric: must be ComputeCredit or StorageAvgByte")
    return (_METRICS[text.lower()],)


def _aggregate(text: str) -> Aggregate:
    if text.lower() not in _AGGREGATES:
        raise UsageError("aggregateBy: must be hour, day or month")
    return _AGGREGATES[text.lower()]


def _shape(metric: MetricName, rows: list[UsageRow]) -> BillingUsage:
    figures = [_figure(row) for row in rows]
    return {"metric": metric, "description": _DESCRIPTIONS[metric], "usage": figures, "Usage": figures}


def _figure(row: UsageRow) -> Usage:
    return {
        "startTime": stamp(row.start),
        "endTime": stamp(row.end),
        "ownerId": row.owner_id,
        "resourceId": row.workspace_id,
        "resourceName": row.workspace_name,
        "resourceType": "Workspace",
        "value": row.value,
    }
