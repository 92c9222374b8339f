"""Our SQL sessions against the real server."""

import pytest

from byoc import sql
from byoc.dataplane.runtime import Secrets
from byoc.errors import NotAuthenticated, Unreachable, UsageError
from byoc.sql import Result


def test_each_statement_answers_in_turn(admin: sql.Session) -> None:
    with admin:
        results = list(
            admin.run(
                "use cluster; create table t (a int, b varchar(9)) -- a; comment\n;"
                "insert into t values (1, 'x;y'), (2, null); update t set a = a + 10; select a, b from t"
            )
        )
    assert [result.affected for result in results[:4]] == [0, 0, 2, 2]
    assert results[4] == Result(("a", "b"), ((11, "x;y"), (12, None)), 2)


def test_a_procedure_answers_all_its_results(admin: sql.Session) -> None:
    with admin:
        results = list(
            admin.run(
                "use cluster;\ndelimiter //\n"
                "create procedure p() begin select 1 as one; select 2 as two; end //\n"
                "delimiter ;\ncall p(); select 3 as three"
            )
        )
    assert [result.columns for result in results if result.columns] == [("one",), ("two",), ("three",)]


def test_the_first_error_ends_the_run_and_keeps_what_was_done(admin: sql.Session) -> None:
    with admin:
        done = []
        with pytest.raises(UsageError, match="SQL error 1146"):
            done.extend(admin.run("create database one; select * from one.nothing; create database two"))
        names = {name for (name,) in admin.execute("show databases").rows}
    assert "one" in names
    assert "two" not in names


def test_values_are_quoted(admin: sql.Session) -> None:
    with admin:
        assert admin.execute("select %s, %s", ("it's \\ ; 密", 7)).rows == (("it's \\ ; 密", 7),)


def test_a_wrong_password_is_not_authenticated(port: int) -> None:
    with pytest.raises(NotAuthenticated):
        sql.connect(port=port, password="wrong")


def test_a_slow_answer_is_waited_for_unless_told_otherwise(port: int, secrets: Secrets) -> None:
    with sql.connect(port=port, password=secrets.password, timeout=0.3) as patient:
        assert patient.execute("select sleep(0.5)").rows == ((0,),)
    with (
        sql.connect(port=port, password=secrets.password, answer_timeout=0.2) as hasty,
        pytest.raises(Unreachable),
    ):
        hasty.execute("select sleep(5)")


def test_a_killed_connection_is_unreachable(admin: sql.Session) -> None:
    with admin, pytest.raises(Unreachable):
        list(admin.run("kill connection_id(); select 1"))
