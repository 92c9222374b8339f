"""The figures of a real engine: each statement is counted where it belongs, failures too."""

import contextlib

from byoc import sql
from byoc.dataplane.local.runtime import LocalRuntime
from byoc.errors import UsageError
from byoc.model.metrics import Metric
from byoc.model.spec import WorkspaceSpec


async def values(runtime: LocalRuntime, spec: WorkspaceSpec) -> dict[Metric, float]:
    return {sample.metric: sample.value for sample in await runtime.metrics(spec.id)}


async def test_reads_and_writes_are_counted_with_their_outcome_and_their_rows(
    runtime: LocalRuntime, running: WorkspaceSpec, admin: sql.Session
) -> None:
    before = await values(runtime, running)
    list(admin.run("use cluster; create table t (a int); insert into t values (1), (2), (3)"))
    list(admin.run("update t set a = a + 10 where a < 3; select a from t; select 1"))
    for wrong in ("select nope from t", "insert into t values (1, 2)", "insert into nowhere values (1)"):
        with contextlib.suppress(UsageError):
            admin.execute(wrong)
    after = await values(runtime, running)
    counted = {metric: after[metric] - before[metric] for metric in after}
    assert counted[Metric.SUCCESSFUL_READ_QUERIES] == 2
    assert counted[Metric.FAILED_READ_QUERIES] == 1
    assert counted[Metric.ROWS_RETURNED_BY_READS] == 4
    assert counted[Metric.SUCCESSFUL_WRITE_QUERIES] == 2
    assert counted[Metric.FAILED_WRITE_QUERIES] == 2
    assert counted[Metric.ROWS_AFFECTED_BY_WRITES] == 5
    assert counted[Metric.EXECUTION_TIME_OF_WRITE] > 0
    assert counted[Metric.EXECUTION_TIME_OF_READS] > 0
    assert after[Metric.THREADS_CONNECTED] == before[Metric.THREADS_CONNECTED] == 1


async def test_of_an_unused_engine_only_the_proof_of_the_new_password_is_counted(
    runtime: LocalRuntime, running: WorkspaceSpec
) -> None:
    found = await values(runtime, running)
    used = {Metric.SUCCESSFUL_READ_QUERIES, Metric.FAILED_READ_QUERIES, Metric.ROWS_RETURNED_BY_READS}
    used |= {Metric.SUCCESSFUL_WRITE_QUERIES, Metric.FAILED_WRITE_QUERIES, Metric.ROWS_AFFECTED_BY_WRITES}
    proof = {Metric.SUCCESSFUL_READ_QUERIES: 1, Metric.ROWS_RETURNED_BY_READS: 1}
    assert {metric: found[metric] for metric in used} == dict.fromkeys(used, 0) | proof


async def test_work_shows_as_processor_time_and_growing_data_as_disk(
    runtime: LocalRuntime, running: WorkspaceSpec, admin: sql.Session
) -> None:
    before = await values(runtime, running)
    list(admin.run("use cluster; create table big (a longblob)"))
    for _ in range(4):
        admin.execute("insert into big values (repeat('x', 4000000))")
    admin.execute("select benchmark(3000000, sha1('x'))")
    after = await values(runtime, running)
    assert after[Metric.CPU_USAGE_SECONDS_TOTAL] > before[Metric.CPU_USAGE_SECONDS_TOTAL]
    assert after[Metric.DISK_USED_B] > before[Metric.DISK_USED_B] + 4_000_000
    assert after[Metric.MEM_USED_B] > 0


async def test_an_unknown_account_counts_as_an_aborted_login(
    runtime: LocalRuntime, running: WorkspaceSpec, port: int
) -> None:
    before = await values(runtime, running)
    with contextlib.suppress(Exception):
        sql.connect(port=port, user="nobody", password="wrong")
    after = await values(runtime, running)
    assert after[Metric.ABORTED_CONNECTS] == before[Metric.ABORTED_CONNECTS] + 1
