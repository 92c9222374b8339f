"""What a server's answers mean as metrics."""

from dataclasses import replace

from byoc.dataplane.counting import Answers, Statements, metrics
from byoc.model.metrics import Metric

BARE = Answers({"Aborted_connects": 2, "Connections": 9}, connected=3, running=1, most=(64, 64))


def test_failures_are_taken_off_what_succeeded_and_ours_off_everything() -> None:
    found = metrics(
        replace(
            BARE,
            by_kind={
                "select": Statements(10, 2, 3e9, 0, 40),
                "insert": Statements(4, 1, 1e9, 7, 0),
                "update_multi": Statements(1, 0, 1e9, 2, 0),
                "create_table": Statements(5, 5, 1e9, 9, 9),
            },
            by_us={"select": Statements(6, 1, 1e9, 0, 30)},
            our_connections=4,
        )
    )
    assert (found[Metric.SUCCESSFUL_READ_QUERIES], found[Metric.FAILED_READ_QUERIES]) == (3, 1)
    assert (found[Metric.SUCCESSFUL_WRITE_QUERIES], found[Metric.FAILED_WRITE_QUERIES]) == (4, 1)
    assert (found[Metric.ROWS_RETURNED_BY_READS], found[Metric.ROWS_AFFECTED_BY_WRITES]) == (10, 9)
    assert (found[Metric.EXECUTION_TIME_OF_READS], found[Metric.EXECUTION_TIME_OF_WRITE]) == (2, 2)
    assert found[Metric.CONNECTIONS] == 5


def test_numbers_read_at_two_moments_never_go_below_zero() -> None:
    ours = Statements(7, 3, 9e9, 2, 50)
    found = metrics(
        replace(
            BARE, by_kind={"select": Statements(6, 2, 8e9, 1, 40)}, by_us={"select": ours}, our_connections=99
        )
    )
    assert min(found.values()) == 0


def test_a_server_that_counts_no_failures_claims_none() -> None:
    status = {**BARE.status, "Com_select": 5.0, "Com_insert": 2.0, "Com_update": 1.0}
    found = metrics(replace(BARE, status=status))
    assert (found[Metric.SUCCESSFUL_READ_QUERIES], found[Metric.SUCCESSFUL_WRITE_QUERIES]) == (5, 3)
    assert not {Metric.FAILED_READ_QUERIES, Metric.FAILED_WRITE_QUERIES} & found.keys()
    assert (found[Metric.THREADS_CONNECTED], found[Metric.THREADS_RUNNING]) == (3, 1)
