"""Values to text and back."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from byoc.ids import GroupID, WorkspaceID
from byoc.model.report import Phase, Reason, WorkspaceReport
from byoc.model.size import LADDER, MULTIPLIERS
from byoc.model.spec import (
    AutoScale,
    AutoSuspend,
    Desired,
    GroupSpec,
    Sensitivity,
    SuspendType,
    UpdateWindow,
    WorkspaceSpec,
)
from byoc.store import rows

MOMENTS = st.datetimes(
    min_value=datetime(1970, 1, 1), max_value=datetime(9000, 1, 1), timezones=st.just(UTC)  # noqa: DTZ001
)  # fmt: skip
NUMBERS = st.integers(0, 2**31)
IDS = st.uuids().map(str)
SPECS = st.builds(
    WorkspaceSpec,
    id=IDS.map(WorkspaceID),
    group_id=IDS.map(GroupID),
    generation=NUMBERS,
    name=st.text(min_size=1),
    size=st.sampled_from(LADDER),
    scale_factor=st.sampled_from(MULTIPLIERS),
    cache_config=st.sampled_from(MULTIPLIERS),
    desired=st.sampled_from(Desired),
    desired_generation=NUMBERS,
    auto_suspend=st.builds(AutoSuspend, st.sampled_from(SuspendType), NUMBERS),
    auto_scale=st.builds(AutoScale, st.sampled_from(MULTIPLIERS), st.sampled_from(Sensitivity)),
    enable_kai=st.booleans(),
)
GROUPS = st.builds(
    GroupSpec,
    id=IDS.map(GroupID),
    generation=NUMBERS,
    name=st.text(min_size=1),
    desired=st.sampled_from(Desired),
    desired_generation=NUMBERS,
    password_version=NUMBERS,
    firewall_ranges=st.lists(st.text()).map(tuple),
    allow_all_traffic=st.booleans(),
    update_window=st.none() | st.builds(UpdateWindow, st.integers(0, 6), st.integers(0, 23)),
)
REPORTS = st.builds(
    WorkspaceReport,
    id=st.just(WorkspaceID("w")),
    generation=NUMBERS,
    observed_generation=NUMBERS,
    digest=st.text(),
    phase=st.sampled_from(Phase),
    reason=st.sampled_from(Reason),
    since=MOMENTS,
    progress=st.none() | st.integers(0, 100),
    endpoint=st.none() | st.text(),
    auto_suspended_at=st.none() | MOMENTS,
    last_resumed_at=st.none() | MOMENTS,
    password_version=NUMBERS,
    spec=st.none(),
)


@given(SPECS)
def test_a_workspace_spec_reads_back_equal(spec: WorkspaceSpec) -> None:
    assert rows.load_workspace(rows.dump_workspace(spec)) == spec


@given(GROUPS)
def test_a_group_spec_reads_back_equal(spec: GroupSpec) -> None:
    assert rows.load_group(rows.dump_group(spec)) == spec


@given(REPORTS)
def test_a_report_reads_back_equal(report: WorkspaceReport) -> None:
    assert rows.load_report("w", rows.dump_report(report)) == report


@given(MOMENTS, MOMENTS)
def test_moments_read_back_exactly_and_compare_as_numbers(one: datetime, other: datetime) -> None:
    assert rows.to_moment(rows.to_number(one)) == one
    assert (rows.to_number(one) < rows.to_number(other)) is (one < other)


def test_a_moment_of_another_zone_is_the_same_moment() -> None:
    moment = datetime(2030, 1, 1, tzinfo=UTC)
    elsewhere = moment.astimezone(tz=datetime.strptime("+0530", "%z").tzinfo)
    assert rows.to_number(elsewhere) == rows.to_number(moment)
    assert rows.to_moment(rows.to_number(elsewhere)).utcoffset() == timedelta(0)


def test_the_text_of_a_spec_names_its_fields() -> None:
    # A field that a later version adds must not shift those before it.
    spec = WorkspaceSpec(WorkspaceID("w"), GroupID("g"), 1, "n", "S-00")
    assert '"size":"S-00"' in rows.dump_workspace(spec)
