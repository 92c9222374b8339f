"""Names and text of metrics, read back by the parsers that others use."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as prometheus

from byoc.model.metrics import EXPLANATIONS, Metric, Sample, text_of, total

KNOWN = (
    "cpu_usage_seconds_total",
    "cpu_resource_limits",
    "mem_used_b",
    "mem_total_b",
    "disk_used_b",
    "disk_total_b",
    "failed_write_queries",
    "successful_write_queries",
    "failed_read_queries",
    "successful_read_queries",
    "rows_affected_by_writes",
    "rows_returned_by_reads",
    "execution_time_of_write",
    "execution_time_of_reads",
    "threads_connected",
    "max_connections",
    "threads_running",
    "max_connection_threads",
    "ready_queue",
    "aborted_connects",
    "connections",
)


def test_there_are_exactly_the_metrics_that_dashboards_of_the_service_use() -> None:
    assert {metric.public_name for metric in Metric} == {f"singlestoredb_cloud_{name}" for name in KNOWN}
    assert len(Metric) == 21
    assert set(EXPLANATIONS) == set(Metric)


samples = st.lists(
    st.builds(
        Sample,
        st.sampled_from(Metric),
        st.floats(0, 1e15),
        st.text(string.printable, min_size=1, max_size=20).filter(lambda text: "\r" not in text),
    ),
    unique_by=lambda sample: (sample.metric, sample.node),
)


@pytest.mark.parametrize("parse", [openmetrics, prometheus])
@given(samples=samples)
def test_what_is_written_is_read_back_by_both_formats(parse: object, samples: list[Sample]) -> None:
    read = {
        (family.name, sample.labels["node"], sample.labels["extractor"]): sample.value
        for family in parse(text_of(samples))
        for sample in family.samples
    }
    assert read == {(s.metric.public_name, s.node, "byoc"): s.value for s in samples}


def test_no_name_is_given_another_ending() -> None:
    text = text_of([Sample(Metric.CPU_USAGE_SECONDS_TOTAL, 1.5, "n"), Sample(Metric.CONNECTIONS, 3, "n")])
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert lines == [
        'singlestoredb_cloud_cpu_usage_seconds_total{extractor="byoc",node="n"} 1.5',
        'singlestoredb_cloud_connections{extractor="byoc",node="n"} 3',
    ]
    assert text.endswith("# EOF\n")


def test_a_sum_is_over_all_nodes_and_nothing_counted_is_no_zero() -> None:
    read = [Sample(Metric.CONNECTIONS, 2, "a"), Sample(Metric.CONNECTIONS, 3, "b")]
    assert total(read, Metric.CONNECTIONS) == 5
    assert total(read, Metric.READY_QUEUE) is None
